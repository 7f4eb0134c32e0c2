"""A split training, at a node: what it costs, and which side acts.

Guarantee: both sides read aligned customers only, in the common order, after checking that none of
them changed and that consent still covers the purpose.
Not guaranteed: a model to keep. Networks are let go when the run is closed; what is left are the
scores of the training's own customers, at the label owner.
"""

from collections.abc import Callable

from fedmkt.contract.split_job import SplitJob
from fedmkt.core.errors import StepOutOfOrder
from fedmkt.node import split_owner, split_partner
from fedmkt.node.alignments import AlignedProgram
from fedmkt.node.answer import Answer
from fedmkt.node.home import NodeHome
from fedmkt.node.shared_state import SharedState, begin, opened
from fedmkt.node.split_data import LoadedSplit, PricedSplit, load_split, price_split
from fedmkt.wire.shared import ActivationsRequest, GradientsRequest, ResultRequest
from fedmkt.wire.steps import Request


class SplitTraining(AlignedProgram[SplitJob, PricedSplit, LoadedSplit]):
    """Members hold different columns of the same customers, and a network each over their own."""

    def price(self, home: NodeHome, job: SplitJob) -> PricedSplit:
        """Check and price a job."""
        return price_split(home, job)

    def load(self, home: NodeHome, priced: PricedSplit) -> LoadedSplit:
        """Read the aligned customers' columns, and at the owner their labels."""
        return load_split(home, priced)

    def open(self, home: NodeHome, run: str, priced: PricedSplit, loaded: LoadedSplit) -> Answer:
        """Make this run's keys and networks; state which alignment this member holds."""
        job = priced.job
        state, bundle = begin(home, run, job, {"alignment": loaded.alignment.digest})
        memory = (
            split_owner.first_memory(home, run, priced, loaded)
            if home.member == job.owner
            else split_partner.first_memory(home, run, priced)
        )
        state = state.remembering(**memory)
        return opened(bundle, state, priced.dataset.name, {"alignment": job.alignment})

    def step(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedSplit, LoadedSplit]],
    ) -> Answer:
        """Answer one request."""
        assert isinstance(state.job, SplitJob)
        owner = home.member == state.job.owner
        match request:
            case GradientsRequest() if owner:
                return split_owner.gradients(home, state, request, *data())
            case ResultRequest() if owner:
                return split_owner.result(home, state, request, *data())
            case ActivationsRequest() if not owner:
                return split_partner.shown_activations(home, state, request, *data())
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
        """Keep the scores at the label owner; no network is kept."""
        assert isinstance(state.job, SplitJob)
        if finished and home.member == state.job.owner:
            split_owner.keep(home, run, state)
        return ""
