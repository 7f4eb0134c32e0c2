"""What a run of any kind gives the node: prices before data are read, answers, and what it keeps.

Guarantee: none by itself. A program computes; `fedmkt.node.node` and `fedmkt.node.leaving` alone
reserve, commit, store and send, in that order.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from fedmkt.contract.collaboration import Dataset
from fedmkt.contract.job import HorizontalJob
from fedmkt.contract.vertical_jobs import SharedJob
from fedmkt.core.stages import Trust
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.home import NodeHome
from fedmkt.node.records import StepRecord
from fedmkt.privacy.events import Release
from fedmkt.privacy.ledger import Reservation
from fedmkt.wire.run import Body
from fedmkt.wire.steps import Request


class RunState(Protocol):
    """What a node remembers of a run between messages; kept sealed.

    stages: for each release made, the types it passed through; the receipt is drawn from them.
    """

    @property
    def job(self) -> HorizontalJob | SharedJob:
        """Return the job, as it is run."""
        ...

    @property
    def stages(self) -> tuple[str, ...]:
        """Return what each release passed through."""
        ...

    def to_bytes(self) -> bytes:
        """Return the bytes to seal."""
        ...


@dataclass(frozen=True, slots=True)
class Priced:
    """A job the contract allows, with everything it would release at this node, and what it costs.

    epsilon, delta: of all releases that carry noise. leaves: what leaves, in words, one a release.
    """

    job: HorizontalJob | SharedJob
    dataset: Dataset
    releases: tuple[Release, ...]
    epsilon: float
    delta: float
    leaves: tuple[str, ...]

    def reservation(self, run: str) -> Reservation:
        """Return what a run of this job asks of the ledger."""
        job = self.job
        return Reservation(
            run=run,
            job=job.name,
            dataset=self.dataset.name,
            purpose=job.purpose,
            requester=job.requester,
            releases=self.releases,
        )


@dataclass(frozen=True, slots=True)
class Stated:
    """What a receipt says of a job at one member: dataset, protection, and where epsilon holds."""

    dataset: str
    mode: str
    delta: float | None
    trust: Trust | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A step's outcome: reply, state to keep, releases to commit, audit record.

    commits: the releases that leave with the reply; the node commits them and writes them down.
    """

    body: Body
    state: RunState = field(repr=False)
    record: StepRecord
    facts: Mapping[str, JSON]
    commits: tuple[int, ...] = ()


JobT = TypeVar("JobT", bound=HorizontalJob | SharedJob)
PricedT = TypeVar("PricedT", bound=Priced)
StateT = TypeVar("StateT", bound=RunState)
DataT = TypeVar("DataT")


class Program(ABC, Generic[JobT, PricedT, StateT, DataT]):
    """One kind of run, at a node. Its functions neither send nor spend nor store.

    Of its kind are the job, what the job is once priced, the state between messages, and the data
    it loads.
    """

    @abstractmethod
    def price(self, home: NodeHome, job: JobT) -> PricedT:
        """Check a job against the contract and price its releases; no data are touched.

        Raises: a Refusal; JobInvalid.
        """

    @abstractmethod
    def stated(self, home: NodeHome, job: JobT) -> Stated:
        """Return what a receipt says of the job at this member."""

    @abstractmethod
    def load(self, home: NodeHome, priced: PricedT) -> DataT:
        """Read what the run needs of this node's data. Raises: DataError, Refusal."""

    def recheck(self, home: NodeHome, priced: PricedT, loaded: DataT) -> None:
        """Check that what `load` returned before may still be used. Raises: a Refusal, DataError.

        Most kinds of run have nothing to check: what they loaded stays what it was.
        """

    @abstractmethod
    def open(self, home: NodeHome, run: str, priced: PricedT, loaded: DataT) -> Answer:
        """Begin the run: make its keys."""

    @abstractmethod
    def step(
        self,
        home: NodeHome,
        state: StateT,
        request: Request,
        data: Callable[[], tuple[PricedT, DataT]],
    ) -> Answer:
        """Answer one request. data: gives the priced job and what `load` returned for it.

        Raises: ProtocolError, StepOutOfOrder for a request that this kind of run does not know.
        """

    @abstractmethod
    def state(self, data: bytes) -> StateT:
        """Read a state's bytes."""

    @abstractmethod
    def keep(self, home: NodeHome, run: str, state: StateT, *, finished: bool, model: bytes) -> str:
        """Keep what a closed run leaves at this node; return the hash of its model, "" for none.

        Raises: MessageInvalid for a model that does not belong to the run.
        """


# The kind of a run is known when it is read, so the table of programs cannot say it.
AnyProgram = Program[Any, Any, Any, Any]
