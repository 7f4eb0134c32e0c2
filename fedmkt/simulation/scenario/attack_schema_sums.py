"""Settings of attacks on the sums of an additive model: inspection, collusion.

Guarantee: that of `attack_schema`.
"""

from typing import Literal

from pydantic import Field, model_validator

from fedmkt.contract.schema import Name
from fedmkt.core.frozen import Frozen


class SumsPart(Frozen):
    """Opening sums of an additive model over Adult."""

    rows: int = Field(
        default=1_000,
        ge=10,
        le=3_000,
        description="Customers of each partner, as far as there are.",
    )
    max_bins: int = Field(
        default=16, ge=2, le=200, description="At most so many bins a number column."
    )
    epsilon: float = Field(
        default=1.0, ge=0.01, le=100, description="What the sums may cost a customer."
    )
    delta: float = Field(default=1e-5, gt=0, lt=0.01, description="The delta of epsilon.")


class InspectionPart(SumsPart):
    """What a partner's sums say of its customers, partners being groups of occupations."""

    kind: Literal["update_inspection"]
    feature: Name = Field(
        default="education", description="The column whose distribution at each partner is read."
    )


class CollusionPart(SumsPart):
    """What partners who put together all they know learn of another in a secure sum."""

    kind: Literal["collusion"]
    partners: int = Field(default=5, ge=3, le=50, description="Partners of the secure sum.")
    colluding: int | None = Field(
        default=None,
        ge=1,
        le=48,
        description="Partners that collude, two or more being honest. Left out: all but two.",
    )
    may_collude: int = Field(
        default=1,
        ge=0,
        le=48,
        description="Colluding partners that shared noise is made large enough for.",
    )

    @model_validator(mode="after")
    def _two_honest(self) -> "CollusionPart":
        if max(self.colluding or 1, self.may_collude) > self.partners - 2:
            raise ValueError("colluding and may_collude must leave two honest partners")
        return self
