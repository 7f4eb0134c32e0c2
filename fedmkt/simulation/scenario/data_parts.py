"""The part of a scenario that says which customers there are: bundled, of a file, or generated.

Guarantee: every key has a description, a type and a range; `fedmkt simulate --explain KEY` prints
them. Values that contradict each other are refused before anything runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from fedmkt.contract.schema import Name
from fedmkt.core.frozen import Frozen

if TYPE_CHECKING:
    from fedmkt.simulation.partitions.generator import GeneratorSettings


class GeneratorPart(Frozen):
    """A made-up table whose truth is known."""

    rows: int = Field(
        default=10_000,
        ge=100,
        le=10_000_000,
        description="Customers that the generator draws, all partners and the test rows together.",
    )
    parties: int = Field(
        default=3,
        ge=1,
        le=50,
        description="Groups of columns, each with an equal part in the target. Where partners know "
        "different columns, each knows a group.",
    )
    numbers: int = Field(
        default=3, ge=0, le=100, description="Number columns of each group, all of them useful."
    )
    levels: int = Field(
        default=1, ge=0, le=100, description="Category columns of each group, all of them useful."
    )
    correlation: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Correlation between the columns of different groups. At 1 all groups say the "
        "same.",
    )
    signal: float = Field(
        default=2.0,
        ge=0.01,
        le=20,
        description="Standard deviation of the true log-odds; larger values make the target easier "
        "to predict.",
    )
    interactions: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the true score that only two groups together tell.",
    )
    noise: float = Field(
        default=0.0,
        ge=0,
        le=5,
        description="Standard deviation of what moves the log-odds and stands in no column.",
    )
    positive_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of customers whose target is yes."
    )

    @model_validator(mode="after")
    def _columns(self) -> "GeneratorPart":
        if not self.numbers + self.levels:
            raise ValueError("numbers and levels cannot both be 0")
        return self

    @property
    def drawn(self) -> "GeneratorSettings":
        """Return what the table is drawn by. Raises: SettingInvalid."""
        # Imported here so that keys are listed and mistakes told at once.
        from fedmkt.simulation.partitions.generator import GeneratedParty, GeneratorSettings

        parties = tuple(
            GeneratedParty(
                f"party-{number}",
                share=1 / self.parties,
                numbers=self.numbers,
                levels=self.levels,
            )
            for number in range(1, self.parties + 1)
        )
        return GeneratorSettings(
            customers=self.rows,
            parties=parties,
            correlation=self.correlation,
            signal=self.signal,
            interactions=self.interactions,
            noise=self.noise,
            prevalence=self.positive_share,
        )


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
        description="Train on so many customers, drawn by the seed with yes and no in their "
        "shares. Default: all there are.",
    )
    test_share: float | None = Field(
        default=None,
        ge=0.01,
        le=0.9,
        description="Share of the customers, drawn by the seed, that no training uses and every "
        "figure is measured on, with yes and no in their shares. Default: the data set's own test "
        "rows if it has some, else 0.25.",
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
        if len(set(self.features)) != len(self.features):
            raise ValueError("features names a column twice")
        return self
