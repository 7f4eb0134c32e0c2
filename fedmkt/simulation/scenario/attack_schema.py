"""An attack as a scenario: which one, how large, with which seeds.

Guarantee: a file that parses is complete; what no runner takes is refused before anything runs.
Every attack meets its defence on and off in one run, so no key turns a defence off.
"""

from typing import Annotated, Any

from pydantic import Field, model_validator

from fedmkt.contract.schema import Identifier
from fedmkt.core.frozen import Frozen
from fedmkt.simulation.scenario.attack_schema_networks import (
    CanariesPart,
    InversionPart,
    MembershipPart,
)
from fedmkt.simulation.scenario.attack_schema_poisoning import (
    BackdoorPart,
    FreeRidersPart,
    LabelFlipsPart,
    TurnedUpdatesPart,
)
from fedmkt.simulation.scenario.attack_schema_split import FeatureInversionPart, LabelInferencePart
from fedmkt.simulation.scenario.attack_schema_sums import CollusionPart, InspectionPart
from fedmkt.simulation.scenario.schema import Seed, Setting

AttackPart = (
    MembershipPart
    | CanariesPart
    | InversionPart
    | InspectionPart
    | CollusionPart
    | LabelInferencePart
    | FeatureInversionPart
    | LabelFlipsPart
    | TurnedUpdatesPart
    | BackdoorPart
    | FreeRidersPart
)
"""All attacks. Another one is a class, a line here and one in `attack_kinds.KINDS`."""


class AttackScenario(Frozen):
    """A named attack with its seeds."""

    name: Identifier = Field(
        description="What the scenario is called, in the results and on the report's page."
    )
    seeds: tuple[Seed, ...] = Field(
        default=(1, 2, 3),
        min_length=1,
        description="Each seed is a trial of its own, with its own customers, noise and attack.",
    )
    attack: Annotated[AttackPart, Field(discriminator="kind")] = Field(
        description="The attack, which meets its defence on and off."
    )

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key in (*Setting.model_fields, "sweep"):
                if key in value:
                    raise ValueError(f"{key} cannot stand beside [attack]; give one of them")
        return value

    @model_validator(mode="after")
    def _distinct(self) -> "AttackScenario":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ")
        return self
