"""The parts of a scenario: data, partition, participation, link, network and privacy.

Guarantee: every key has a description, a type and a range; `fedmkt simulate --explain KEY` prints
them. Values that contradict each other are refused before anything runs.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedmkt.contract.schema import Name
from fedmkt.core.frozen import Frozen

MOST_PARTNERS = 10_000


class GeneratorPart(Frozen):
    """A made-up table whose truth is known."""

    rows: int = Field(
        default=10_000,
        ge=100,
        le=10_000_000,
        description="Customers that the generator draws, all partners and the test rows together.",
    )
    features: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Feature columns that the generator makes, useful or not.",
    )
    informative: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="How many of the features the target depends on. The others are noise, which "
        "a good model ignores.",
    )
    signal: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Standard deviation of the true log-odds. At 0 nothing can be learnt; larger "
        "values make the target easier to predict.",
    )
    positive_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of customers whose target is yes."
    )

    @model_validator(mode="after")
    def _known_features(self) -> "GeneratorPart":
        if self.informative > self.features:
            raise ValueError("informative must be at most features")
        return self


class DataPart(Frozen):
    """Which customers there are."""

    kind: Literal["bundled", "file", "generated"] = Field(
        default="bundled",
        description="Where customers come from: a data set bundled with fedmkt, your own file, or "
        "a generator that knows the truth.",
    )
    set: Literal["adult", "bank_marketing"] = Field(
        default="adult",
        description="The bundled data set; read where kind = bundled. adult: who earns more than "
        "50K. bank_marketing: who takes a term deposit.",
    )
    path: Path | None = Field(
        default=None,
        description="Your table, CSV or Parquet, one row a customer; read where kind = file. A "
        "path that is not absolute counts from the scenario file's folder.",
    )
    schema_path: Path | None = Field(
        default=None,
        description="The declared schema of your table, TOML as in a contract. Without it bounds "
        "and categories are read off the table, which no deployment could do; target is then "
        "needed.",
    )
    generator: GeneratorPart = Field(
        default=GeneratorPart(),
        description="Settings of the generator; read where kind = generated.",
    )
    rows: int | None = Field(
        default=None,
        ge=100,
        le=100_000_000,
        description="Train on so many customers, drawn by the seed. Default: all there are.",
    )
    test_share: float | None = Field(
        default=None,
        ge=0.01,
        le=0.9,
        description="Share of the customers, drawn by the seed, that no training uses and every "
        "figure is measured on. Default: the data set's own test rows if it has some, else 0.25.",
    )
    target: Name | None = Field(
        default=None,
        description="The column to predict. Default: the one the schema declares.",
    )
    positive: str | bool | int | None = Field(
        default=None,
        description="The target's value that counts as yes; read where a file has no schema. "
        "Default: true, or 1.",
    )
    features: tuple[Name, ...] = Field(
        default=(),
        description="The columns to predict from. Default: all that the schema declares as "
        "features, without guarded ones.",
    )

    @model_validator(mode="after")
    def _complete(self) -> "DataPart":
        if self.kind == "file" and self.path is None:
            raise ValueError("kind = file needs path")
        if self.kind == "file" and self.schema_path is None and self.target is None:
            raise ValueError("a file without schema_path needs target")
        return self


class PartitionPart(Frozen):
    """Which partner has which customers."""

    kind: Literal["iid", "column", "dirichlet", "quantity", "vertical"] = Field(
        default="iid",
        description="How customers are dealt out. iid: at random, equally many. column: by a "
        "column's values, as by occupation. dirichlet: shares of yes and no differ. quantity: "
        "sizes differ. vertical: partners know different columns of the same customers.",
    )
    partners: int = Field(
        default=3, ge=2, le=MOST_PARTNERS, description="How many partners there are."
    )
    column: Name | None = Field(
        default=None,
        description="The column that decides; needed where kind = column. Where it has more "
        "values than there are partners, the commonest value goes to the emptiest partner, and "
        "so on.",
    )
    alpha: float = Field(
        default=0.5,
        gt=0,
        le=1e6,
        description="How alike partners are where kind = dirichlet: at 0.1 each has mostly one "
        "class, at 100 all are alike.",
    )
    skew: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="How much sizes differ where kind = quantity: the partner of rank r has "
        "customers in proportion to r to the power of -skew. 0: equally many.",
    )
    overlap: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the label owner's customers that each partner knows where kind = "
        "vertical.",
    )

    @model_validator(mode="after")
    def _complete(self) -> "PartitionPart":
        if self.kind == "column" and self.column is None:
            raise ValueError("kind = column needs column")
        return self


class ParticipationPart(Frozen):
    """Who takes part in a round, and who fails to."""

    share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the partners asked in each round, drawn by the seed.",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Chance that a partner that was asked does not answer in a round.",
    )
    straggler_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the partners that are slow, always the same ones.",
    )
    straggler_slowdown: float = Field(
        default=1.0,
        ge=1,
        le=1000,
        description="How many times longer a slow partner takes for its own work, on the "
        "simulated clock.",
    )


class LinkPart(Frozen):
    """Every partner's line, on the simulated clock."""

    mbit_s: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="Speed of every partner's line in megabits a second, each way. Default: no "
        "limit.",
    )
    latency_ms: float = Field(
        default=0.0,
        ge=0,
        le=60_000,
        description="Milliseconds until a message begins to arrive, each way.",
    )


class NetworkPart(Frozen):
    """A network trained by federated averaging and its kin."""

    family: Literal["network"] = Field(
        default="network", description="The family of models: additive, or network."
    )
    algorithm: Literal["fedavg", "fedprox", "fedsgd", "scaffold", "fedadam", "fedyogi"] = Field(
        default="fedavg",
        description="How partners' updates make one model. fedavg: mean of local trainings. "
        "fedprox: kept near the common model. fedsgd: one full-batch step a round. scaffold: "
        "drift corrected. fedadam, fedyogi: an adaptive step at the server.",
    )
    width: int = Field(default=64, ge=1, le=4096, description="Units of each hidden layer.")
    blocks: int = Field(default=2, ge=0, le=32, description="Residual blocks; 0 is a linear model.")
    rounds: int = Field(default=20, ge=1, le=10_000, description="Rounds of the training.")
    local_steps: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="Steps that a partner takes on its own rows in a round. fedsgd takes one.",
    )
    batch_size: int = Field(
        default=256, ge=1, le=1_000_000, description="Expected customers in a local step."
    )
    learning_rate: float = Field(
        default=0.05, gt=0, le=100, description="Step size of a partner's local steps."
    )
    server_learning_rate: float = Field(
        default=1.0, gt=0, le=100, description="Step size of the server on the partners' mean."
    )
    proximal: float = Field(
        default=0.01,
        ge=0,
        le=1000,
        description="How strongly fedprox pulls local models to the common one.",
    )
    clip: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="The most that one customer can move an update, in L2 norm, where there is "
        "noise.",
    )


class PrivacyPart(Frozen):
    """What the training may cost a customer, and who adds the noise."""

    trust: Literal["local", "distributed", "none"] = Field(
        default="none",
        description="Who adds the noise. local: each partner, so that each release is private by "
        "itself. distributed: all together, inside the secure sum. none: no noise.",
    )
    epsilon: Annotated[float, Field(ge=1e-3, le=100)] | None = Field(
        default=None,
        description="What the whole training may cost a customer; needed unless trust = none. "
        "Smaller is more private.",
    )
    delta: float = Field(
        default=1e-5,
        gt=0,
        lt=0.01,
        description="The small chance with which the bound of epsilon may not hold.",
    )

    @model_validator(mode="after")
    def _stated(self) -> "PrivacyPart":
        if self.trust == "none" and self.epsilon is not None:
            raise ValueError("trust = none has no epsilon; say trust = local")
        if self.trust != "none" and self.epsilon is None:
            raise ValueError(f"trust = {self.trust} needs epsilon")
        return self
