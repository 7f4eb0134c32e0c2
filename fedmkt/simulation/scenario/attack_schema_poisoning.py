"""Settings of hostile partners: label flips, turned updates, backdoors, free riders.

Guarantee: that of `attack_schema`.
"""

from typing import Literal

from pydantic import Field, model_validator

from fedmkt.core.frozen import Frozen

Rule = Literal["bounded mean", "median", "trimmed mean", "Krum", "multi-Krum"]
RULES: tuple[Rule, ...] = ("bounded mean", "median", "trimmed mean", "Krum", "multi-Krum")
_ADULT_ROWS = 32_561


class PoisoningPart(Frozen):
    """Hostile partners in a training of networks on Adult, against each rule."""

    partners: int = Field(default=10, ge=3, le=50, description="Partners, the hostile among them.")
    hostile: int = Field(default=3, ge=1, le=24, description="Partners that attack.")
    rows_each: int = Field(default=300, ge=10, le=3_000, description="Customers of each partner.")
    test_rows: int = Field(
        default=5_000, ge=100, le=10_000, description="Customers that figures are measured on."
    )
    rounds: int = Field(default=12, ge=1, le=500, description="Rounds of the training.")
    steps: int = Field(default=6, ge=1, le=100, description="A partner's steps in a round.")
    rules: tuple[Rule, ...] = Field(
        default=RULES,
        min_length=1,
        description="What is tried as a defence; the plain mean, which is none, always runs.",
    )

    @model_validator(mode="after")
    def _fits(self) -> "PoisoningPart":
        if 2 * self.hostile >= self.partners:
            raise ValueError("hostile partners must be fewer than half of all")
        krum = {"Krum", "multi-Krum"} & set(self.rules)
        if krum and self.partners < 2 * self.hostile + 3:
            raise ValueError("Krum needs three partners more than twice the hostile ones")
        if self.partners * self.rows_each + self.test_rows > _ADULT_ROWS:
            raise ValueError(f"partners and test together need more than {_ADULT_ROWS:,} rows")
        return self


class LabelFlipsPart(PoisoningPart):
    """Every yes becomes a no, and the other way round."""

    kind: Literal["label_flips"]


class TurnedUpdatesPart(PoisoningPart):
    """Updates are turned round and scaled."""

    kind: Literal["turned_updates"]
    scale: float = Field(
        default=5.0, gt=0, le=1e3, description="How much longer the turned update is made."
    )


class BackdoorPart(PoisoningPart):
    """Rows with a mark are taught to say yes."""

    kind: Literal["backdoor"]
    trigger: Literal["rare_category", "far_number"] = Field(
        default="rare_category",
        description="The mark. rare_category: a country that one customer has. far_number: the "
        "greatest capital loss.",
    )
    scale: float = Field(
        default=1.0,
        gt=0,
        le=1e3,
        description="How much longer the update is made; partners / hostile replaces the model "
        "under the plain mean, 1 hides among honest updates.",
    )


class FreeRidersPart(PoisoningPart):
    """Partners that take part without work."""

    kind: Literal["free_riders"]
    send: Literal["noise", "echo"] = Field(
        default="noise",
        description="What they send. noise: as long as the model's last move. echo: that move.",
    )
