"""The parts of a scenario beside its data: partition, participation, link, backend and privacy.

Guarantee: every key has a description, a type and a range; `fedmkt simulate --explain KEY` prints
them. Values that contradict each other are refused before anything runs.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from fedmkt.contract.schema import Name
from fedmkt.core.frozen import Frozen
from fedmkt.simulation.partitions.participation import Participation
from fedmkt.simulation.partitions.rows import ALPHAS, MOST_PARTNERS
from fedmkt.simulation.partitions.value_groups import PRESETS

if TYPE_CHECKING:
    from fedmkt.transport.backends import Backend


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
        "values than there are partners, the two rarest are put together, and so on. With kind = "
        "dirichlet its shares differ; by default the target's.",
    )
    alpha: float = Field(
        default=0.5,
        ge=ALPHAS[0],
        le=ALPHAS[1],
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
    groups: Literal["adult_by_occupation", "bank_by_job"] | None = Field(
        default=None,
        description="Written-out groups of a bundled table in place of column: Adult's occupations "
        "in seven groups (partners = 7), the bank's customers by their jobs (partners = 12).",
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
        if self.kind == "column" and (self.column is None) == (self.groups is None):
            raise ValueError("kind = column needs either column or groups")
        if self.groups is not None:
            if self.kind != "column":
                raise ValueError("groups need kind = column")
            named = len(PRESETS[self.groups].groups)
            if self.partners != named:
                raise ValueError(f"groups {self.groups} need partners = {named}")
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
        description="Chance of a partner to be slow in a round.",
    )
    straggler_slowdown: float = Field(
        default=1.0,
        ge=1,
        le=1000,
        description="How many times longer a slow partner takes, on the simulated clock.",
    )
    quorum: int = Field(
        default=1,
        ge=1,
        le=MOST_PARTNERS,
        description="Partners that must answer in a round, at most as many as it asks; with fewer "
        "a training ends there.",
    )

    @property
    def drawn(self) -> Participation:
        """Return what a round is drawn by."""
        return Participation(
            share=self.share,
            dropout=self.dropout,
            stragglers=self.straggler_share,
            slowdown=self.straggler_slowdown,
            quorum=self.quorum,
        )


class LinkPart(Frozen):
    """Every partner's line, on the simulated clock."""

    mbit_s: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="Speed of every partner's line in megabits a second, each way. With it the "
        "results have clock_s, the seconds a deployment would take. Default: no clock.",
    )
    latency_ms: float = Field(
        default=0.0,
        ge=0,
        le=60_000,
        description="Milliseconds until a message begins to arrive, each way.",
    )
    compute_s: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Seconds that a partner works in a round, on the simulated clock; a slow one "
        "takes longer.",
    )


class BackendPart(Frozen):
    """Where the nodes of protocol = full run; the results are the same."""

    kind: Literal["in_process", "workers", "ray"] = Field(
        default="in_process",
        description="in_process: threads of the trial's process. workers: processes of this "
        "machine. ray: Flower's own simulation, also over several machines; needs the extra "
        "`simulation`.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Processes that nodes run in. Default: as many as there are cores.",
    )

    @property
    def chosen(self) -> "Backend":
        """Return the backend."""
        # Flower's library takes seconds to load.
        from fedmkt.transport.backends import Backend

        return Backend(self.kind, self.workers)


class PrivacyPart(Frozen):
    """What the training may cost a customer, and who adds the noise."""

    trust: Literal["local", "distributed", "none"] = Field(
        default="none",
        description="Who adds the noise. local: each partner, so that each release is private by "
        "itself. distributed: all together, inside the secure sum. none: no noise.",
    )
    epsilon: Annotated[float, Field(ge=1e-3, le=100)] | None = Field(
        default=None,
        description="What the whole training may cost a customer; needed unless trust = none, "
        "where it is not read. Smaller is more private.",
    )
    delta: float = Field(
        default=1e-5,
        gt=0,
        lt=0.01,
        description="The small chance with which the bound of epsilon may not hold.",
    )

    @model_validator(mode="after")
    def _stated(self) -> "PrivacyPart":
        if self.trust != "none" and self.epsilon is None:
            raise ValueError(f"trust = {self.trust} needs epsilon")
        return self

    @property
    def budget(self) -> float | None:
        """Return the epsilon of a training, None where it is without noise."""
        return None if self.trust == "none" else self.epsilon
