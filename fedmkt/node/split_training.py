"""A split training, at a node: what it costs, and which side acts.

Guarantee: both sides read aligned customers only, in the common order, after checking that none of
them changed and that consent still covers the purpose.
Not guaranteed: a model to keep. Networks are let go when the run is closed; what is left are the
scores of the training's own customers, at the label owner.
"""

from collections.abc import Callable
from typing import Any

from fedmkt.contract.split_job import SplitJob
from fedmkt.node import split_owner, split_partner
from fedmkt.node.answer import Answer
from fedmkt.node.home import NodeHome
from fedmkt.node.joint_training import JointTraining, owns_labels
from fedmkt.node.shared_state import SharedState
from fedmkt.node.split_data import LoadedSplit, PricedSplit, load_split, price_split
from fedmkt.wire.shared import ActivationsRequest, GradientsRequest, ResultRequest
from fedmkt.wire.steps import Request


class SplitTraining(JointTraining[SplitJob, PricedSplit, LoadedSplit]):
    """Members hold different columns of the same customers, and a network each over their own."""

    def price(self, home: NodeHome, job: SplitJob) -> PricedSplit:
        """Check and price a job."""
        return price_split(home, job)

    def load(self, home: NodeHome, priced: PricedSplit) -> LoadedSplit:
        """Read the aligned customers' columns, and at the owner their labels."""
        return load_split(home, priced)

    def first_memory(
        self, home: NodeHome, run: str, priced: PricedSplit, loaded: LoadedSplit
    ) -> dict[str, Any]:
        """Return what this member remembers: its network, and at the owner randomised labels."""
        if home.member == priced.job.owner:
            return split_owner.first_memory(home, run, priced, loaded)
        return split_partner.first_memory(home, run, priced)

    def as_owner(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedSplit, LoadedSplit]],
    ) -> Answer | None:
        """Answer a request at the label owner."""
        match request:
            case GradientsRequest():
                return split_owner.gradients(home, state, request, *data())
            case ResultRequest():
                return split_owner.result(home, state, request, *data())
        return None

    def as_partner(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedSplit, LoadedSplit]],
    ) -> Answer | None:
        """Answer a request at a partner."""
        if isinstance(request, ActivationsRequest):
            return split_partner.shown_activations(home, state, request, *data())
        return None

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
        if finished and owns_labels(home, state):
            split_owner.keep(home, run, state)
        return ""
