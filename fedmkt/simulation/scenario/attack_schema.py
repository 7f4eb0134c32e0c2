"""An attack as a scenario: which one, how large, with which seeds.

Guarantee: a file that parses is complete; what no runner takes is refused before anything runs.
Every attack meets its defence on and off in one run, so no key turns a defence off.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedmkt.contract.schema import Identifier, Name
from fedmkt.core.frozen import Frozen
from fedmkt.simulation.scenario.schema import Seed, Setting

_CUSTOMERS = "Customers of Adult that take part; with more of them each is hidden better."
_ROUNDS = "Rounds of the training."
Rule = Literal["bounded mean", "median", "trimmed mean", "Krum", "multi-Krum"]
RULES: tuple[Rule, ...] = ("bounded mean", "median", "trimmed mean", "Krum", "multi-Krum")


class NoisedPart(Frozen):
    """A training with DP-SGD, in one place: what is known is what it releases."""

    width: int = Field(default=16, ge=1, le=256, description="Units of the hidden layer.")
    steps: int = Field(default=30, ge=1, le=2_000, description="Steps of the training.")
    clip_norm: float = Field(
        default=1.0, gt=0, le=1e3, description="L2 norm that a customer's gradient is clipped to."
    )
    noise_multiplier: float = Field(
        default=8.0,
        ge=0.01,
        le=1e4,
        description="Noise of a step over the clip norm. The page says what epsilon it comes to.",
    )
    sampling_rate: float = Field(
        default=0.5, gt=0, le=1, description="Every customer's chance to be in a step."
    )
    learning_rate: float = Field(default=0.5, gt=0, le=10, description="Step size.")
    delta: float = Field(default=1e-5, gt=0, lt=0.01, description="The delta of epsilon.")


class MembershipPart(NoisedPart):
    """Who was in a training, told from the finished model's scores by shadow models (LiRA)."""

    kind: Literal["membership"]
    customers: int = Field(default=200, ge=20, le=20_000, description=_CUSTOMERS)
    models: int = Field(
        default=24,
        ge=8,
        le=1_000,
        description="Shadow models of each defence. More of them make a better attack.",
    )


class CanariesPart(NoisedPart):
    """A lower bound on epsilon from canaries that are in a training by the toss of a coin."""

    kind: Literal["canaries"]
    customers: int = Field(default=300, ge=1, le=20_000, description=_CUSTOMERS)
    canaries: int = Field(
        default=300,
        ge=10,
        le=20_000,
        description="Canaries, one parameter of the network each. More of them can show more.",
    )


class InversionPart(Frozen):
    """Rows read back from one update of a network."""

    kind: Literal["gradient_inversion"]
    partners: int = Field(
        default=3, ge=3, le=50, description="Partners whose updates are summed where masks are on."
    )
    rows: int = Field(
        default=2, ge=1, le=100, description="Rows of each partner that the update is made of."
    )
    batches: int = Field(
        default=20, ge=2, le=1_000, description="Updates that are attacked, each of other rows."
    )
    width: int = Field(default=64, ge=1, le=1_024, description="Units of the hidden layer.")
    trained_steps: int = Field(
        default=20,
        ge=0,
        le=1_000,
        description="Steps that the model was trained for, on other rows, before the update that "
        "is attacked. A first update, at 0, moves the output layer alone and gives no row away.",
    )
    clip_norm: float = Field(
        default=1.0, gt=0, le=1e3, description="L2 norm that a row's gradient is clipped to."
    )
    noise_multiplier: float = Field(
        default=1.0, ge=0.01, le=1e4, description="Noise of an update over the clip norm."
    )


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


class PoisoningPart(Frozen):
    """Hostile partners in a training of networks on Adult, against each rule."""

    partners: int = Field(default=10, ge=3, le=50, description="Partners, the hostile among them.")
    hostile: int = Field(default=3, ge=1, le=24, description="Partners that attack.")
    rows_each: int = Field(default=300, ge=10, le=3_000, description="Customers of each partner.")
    test_rows: int = Field(
        default=5_000, ge=100, le=10_000, description="Customers that figures are measured on."
    )
    rounds: int = Field(default=12, ge=1, le=500, description=_ROUNDS)
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


_ADULT_ROWS = 32_561


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


AttackPart = (
    MembershipPart
    | CanariesPart
    | InversionPart
    | InspectionPart
    | CollusionPart
    | LabelFlipsPart
    | TurnedUpdatesPart
    | BackdoorPart
    | FreeRidersPart
)
"""All attacks. Another one is a class here and a line in `attack_kinds.KINDS`."""


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
