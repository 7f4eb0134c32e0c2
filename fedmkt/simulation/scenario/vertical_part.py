"""The part of a scenario that says which party knows which columns, and of whom.

Read where partition.kind = vertical. Guarantee: every key has a description, a type and a range.
What contradicts the other parts is refused by `vertical_checks`, before anything runs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedmkt.contract.schema import Identifier, Name
from fedmkt.contract.split_job import SplitSettings
from fedmkt.core.frozen import Frozen

Weight = Annotated[float, Field(ge=0, le=1000)]
Overlap = Annotated[float, Field(gt=0, le=1)]
Lean = Annotated[float, Field(ge=-1, le=1)]
_PARTIES = ("columns", "shares")


class VerticalPart(Frozen):
    """Which party knows which columns of the same customers."""

    columns: dict[Identifier, tuple[Name, ...]] = Field(
        default={},
        description="Each party's columns, without the target. Default: with adult a bank, a "
        "retailer and a map provider; not read where data.kind = generated.",
    )
    shares: dict[Identifier, Weight] = Field(
        default={},
        description="The parties of generated customers, each with its weight in the true score's "
        "variance: 2 counts twice as much as 1, 0 is for columns that say nothing. Default: those "
        "of data.generator, equally.",
    )
    owner: Identifier | None = Field(
        default=None,
        description="The party that knows the target and all customers. Default: the first one.",
    )
    overlaps: dict[Identifier, Overlap] = Field(
        default={},
        description="A partner's own overlap, in place of partition.overlap: the share of the "
        "owner's customers that it knows.",
    )
    lean: float = Field(
        default=0.0,
        ge=-1,
        le=1,
        description="How much partners know the good customers better: the correlation of being "
        "known with a yes. 0: not at all.",
    )
    leans: dict[Identifier, Lean] = Field(
        default={}, description="A partner's own lean, in place of vertical.lean."
    )
    mode: Literal["encrypted", "label_private"] = Field(
        default="encrypted",
        description="How labels are protected. encrypted: sums by protected inner products, with "
        "the owner's noise where there is an epsilon. label_private: labels randomised once. With "
        "family = split and no epsilon partners see exact gradients.",
    )
    score_levels: int = Field(
        default=33,
        ge=3,
        le=2**20 + 1,
        description="In how many even steps one column may move a score that the owner sees.",
    )
    score_limit: float = Field(
        default=4.0,
        ge=1e-3,
        le=16,
        description="How far one column may move a score that the owner sees, in log-odds.",
    )

    @model_validator(mode="before")
    @classmethod
    def _first_owns(cls, value: Any) -> Any:
        """Name the owner: the order of a table's keys is no part of what a trial stands for."""
        if not isinstance(value, Mapping) or value.get("owner") is not None:
            return value
        for key in _PARTIES:
            if isinstance(value.get(key), Mapping) and value[key]:
                return {**value, "owner": next(iter(value[key]))}
        return value


class SplitModel(SplitSettings):
    """A network of each party, joined at the label owner."""

    family: Literal["split"] = "split"
    holdout: float = Field(default=0.0, ge=0, le=0)
