"""A scenario: what is simulated, with which seeds, swept over which values.

Guarantee: a scenario that parses is complete and free of contradictions in its first trial;
`trials.expand` checks all others before any of them runs.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from fedmkt.contract.job import AdditiveSettings
from fedmkt.contract.network_settings import NetworkSettings
from fedmkt.contract.schema import Identifier
from fedmkt.core.frozen import Frozen
from fedmkt.simulation.scenario.data_parts import DataPart
from fedmkt.simulation.scenario.parts import (
    BackendPart,
    LinkPart,
    ParticipationPart,
    PartitionPart,
    PrivacyPart,
)
from fedmkt.simulation.scenario.vertical_part import SplitModel, VerticalPart

Seed = Annotated[int, Field(ge=0, le=2**31)]
DEFAULT_FAMILY = "additive"
WHOLE = ("name", "seeds", "sweep")
"""What is of the scenario and not of a trial."""


class Setting(Frozen):
    """What one trial simulates: a scenario without its name, seeds and sweep."""

    data: DataPart = Field(default=DataPart(), description="Which customers there are.")
    partition: PartitionPart = Field(
        default=PartitionPart(), description="Which partner has which customers."
    )
    participation: ParticipationPart = Field(
        default=ParticipationPart(), description="Who takes part in a round, and who fails to."
    )
    link: LinkPart = Field(
        default=LinkPart(), description="Every partner's line, on the simulated clock."
    )
    model: Annotated[
        AdditiveSettings | NetworkSettings | SplitModel, Field(discriminator="family")
    ] = Field(default=AdditiveSettings(), description="The model and how it is trained.")
    privacy: PrivacyPart = Field(
        default=PrivacyPart(), description="What the training may cost a customer."
    )
    vertical: VerticalPart = Field(
        default=VerticalPart(), description="Who knows which columns, where kind = vertical."
    )
    protocol: Literal["full", "lean"] = Field(
        default="full",
        description="full: as deployed, with keys, signatures, masks, ledgers and audit logs; at "
        "least 3 partners, and at most some hundreds, since every two of them share a mask. lean: "
        "the same sums, noise and steps without any of that, for many partners.",
    )
    backend: BackendPart = Field(
        default=BackendPart(), description="Where nodes run with protocol = full."
    )
    compare: tuple[Literal["pooled", "alone"], ...] = Field(
        default=("pooled", "alone"),
        description="What is trained beside the joint model, without noise. pooled: one model on "
        "all rows in one place. alone: each partner's own model; left out above 20 partners.",
    )

    @model_validator(mode="before")
    @classmethod
    def _family(cls, value: Any) -> Any:
        model = value.get("model") if isinstance(value, dict) else None
        if isinstance(model, dict) and "family" not in model:
            return {**value, "model": {"family": DEFAULT_FAMILY, **model}}
        return value


class Scenario(Setting):
    """A named setting with its seeds and its sweep. The setting is the sweep's first one."""

    name: Identifier = Field(
        description="What the scenario is called, in the results and on the report's page."
    )
    seeds: tuple[Seed, ...] = Field(
        default=(1,),
        min_length=1,
        description="Each seed is a trial of its own, with its own noise and its own draws of "
        "customers. Intervals are over seeds, so give three or more.",
    )
    sweep: dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description='Keys and the values each is to take, as "privacy.epsilon" = [1, 3, 8]. '
        "Every combination of values is tried with every seed.",
    )

    @model_validator(mode="before")
    @classmethod
    def _first_of_sweep(cls, value: Any) -> Any:
        """Put each swept key's first value into the setting, which is complete only with it."""
        if not isinstance(value, dict) or not isinstance(value.get("sweep"), dict):
            return value
        sweep = flat(value["sweep"])
        first = {
            key: values[0]
            for key, values in sweep.items()
            if _is_list(values) and _section(key) not in WHOLE
        }
        return replaced(value, first) | {"sweep": sweep}

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("seeds must differ")
        return seeds

    @field_validator("sweep")
    @classmethod
    def _sweepable(cls, sweep: dict[str, tuple[JsonValue, ...]]) -> Any:
        for key, values in sweep.items():
            if _section(key) in WHOLE:
                raise ValueError(f"{key} cannot be swept over")
            if len({json.dumps(one) for one in values}) != len(values):
                raise ValueError(f"{key} names a value twice")
        return sweep


def flat(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return dotted keys: TOML reads an unquoted privacy.epsilon as tables within tables."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        place = f"{above}{key}"
        found |= flat(value, f"{place}.") if isinstance(value, Mapping) else {place: value}
    return found


def replaced(setting: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with some dotted keys set to others."""
    result = dict(setting)
    for key, value in values.items():
        first, _, rest = key.partition(".")
        if rest:
            below = result.get(first, {})
            value = replaced(below if isinstance(below, Mapping) else {}, {rest: value})
        result[first] = value
    return result


def _section(key: str) -> str:
    return key.partition(".")[0]


def _is_list(values: Any) -> bool:
    return isinstance(values, list | tuple) and bool(values)
