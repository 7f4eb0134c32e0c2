"""An alignment, at a node: what it costs, whose customers take part, and what is kept.

Guarantee: consent is applied before anything is blinded, and looked at again when this member's own
list leaves and at the end. An alignment is kept where everybody finished it. What leaves in each
step: `alignment_steps`.
Not guaranteed: that a member brings its own customers only; it can put in identifiers it guesses.
Sizes are signed and runs are capped for that.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fedmkt.contract.vertical_jobs import AlignmentJob
from fedmkt.core.errors import (
    StepOutOfOrder,
)
from fedmkt.data.identifiers import Customers
from fedmkt.node import alignment_steps
from fedmkt.node.alignment_sizes import (
    dummies_for,
    overlap_moves,
    size_event,
    size_stage,
)
from fedmkt.node.alignment_steps import MEMBERSHIP, OVERLAP, SIZE
from fedmkt.node.alignments import Alignment, Counts, keep_alignment
from fedmkt.node.answer import Answer, Priced
from fedmkt.node.customers import (
    covered_customers,
    reading_of,
    still_covered,
    unchanged,
)
from fedmkt.node.home import NodeHome
from fedmkt.node.shared_state import SharedProgram, SharedState, begin, opened, price_shared
from fedmkt.privacy.events import ExactEvent, Release
from fedmkt.security.psi.group import BlindingKey
from fedmkt.wire.shared import (
    BlindRequest,
    FinishRequest,
    HopRequest,
    MatchRequest,
)
from fedmkt.wire.steps import Request


@dataclass(frozen=True, slots=True)
class AlignmentProgram(SharedProgram[AlignmentJob, Priced, Customers]):
    """Finds the customers all members share."""

    def price(self, home: NodeHome, job: AlignmentJob) -> Priced:
        """Check and price a job."""
        releases = (
            Release(SIZE, "size of this member's set", size_event(job, 1)),
            Release(
                OVERLAP,
                "size of the overlap",
                size_event(job, overlap_moves(job)),
            ),
            Release(MEMBERSHIP, "which customers are shared", ExactEvent("alignment", 1)),
        )
        return price_shared(
            home,
            job,
            releases,
            claimed=job.privacy.epsilon if job.privacy else None,
            delta=job.privacy.delta if job.privacy else 1e-5,
        )

    def load(self, home: NodeHome, priced: Priced) -> Customers:
        """Read the customers consent covers, each once."""
        job = priced.job
        assert isinstance(job, AlignmentJob)
        return covered_customers(home, priced, job.keys)

    def recheck(self, home: NodeHome, priced: Priced, loaded: Customers) -> None:
        """Check that everybody who was read still agrees. Raises: ConsentWithdrawn, DataError."""
        still_covered(home, priced, loaded)

    def open(self, home: NodeHome, run: str, priced: Priced, loaded: Customers) -> Answer:
        """Make this run's keys and state the size of this member's set, dummies included."""
        job = priced.job
        assert isinstance(job, AlignmentJob)
        dummies = dummies_for(home, run, "size", job, 1)
        rows = len(loaded.customer_keys) + dummies
        state, bundle = begin(home, run, job, {"rows": rows})
        state = state.remembering(
            key=BlindingKey.generate().to_bytes(), rows=rows, read=reading_of(loaded)
        )
        passed = state.passed(size_stage(job))
        return opened(bundle, passed, priced.dataset.name, {"rows": rows}, commits=1)

    def step(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[Priced, Customers]],
    ) -> Answer:
        """Answer one request."""
        match request:
            case BlindRequest():
                return alignment_steps.blind(home, state, request, unchanged(state, *data()))
            case HopRequest():
                return alignment_steps.hop(state, request)
            case MatchRequest():
                return alignment_steps.match(home, state, request)
            case FinishRequest():
                priced, customers = data()
                unchanged(state, priced, customers)
                return alignment_steps.finish(home, state, request, priced, customers)
        raise StepOutOfOrder(step=request.kind, run=state.run)

    def keep(
        self,
        home: NodeHome,
        run: str,
        state: SharedState,
        *,
        finished: bool,
        model: bytes,  # noqa: ARG002
    ) -> str:
        """Keep the alignment, if everybody finished it."""
        found = state.memory.get("alignment")
        if finished and found is not None:
            counts, keys = Counts(**found["counts"]), tuple(found["customer_keys"])
            members = state.job.members
            plain = {**found, "counts": counts, "customer_keys": keys, "members": members}
            keep_alignment(home, Alignment(**plain, run=run, purpose=state.job.purpose))
        return ""
