"""A training over the columns of several members, at a node: what it costs, and which side acts.

Guarantee: both sides read aligned customers only, in the common order, after checking that none of
them changed and that consent still covers the purpose.
"""

from collections.abc import Callable
from typing import Any

from fedmkt.contract.shared_permissions import allow_shared, features_of, terms_of
from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.data.binning import binning_from_schema
from fedmkt.node import vertical_owner, vertical_partner
from fedmkt.node.ahead import forget
from fedmkt.node.alignments import aligned_rows, alignment_for
from fedmkt.node.answer import Answer
from fedmkt.node.home import NodeHome
from fedmkt.node.joint_training import JointTraining, owns_labels
from fedmkt.node.shared_state import SharedState, price_shared
from fedmkt.node.vertical_data import Loaded, PricedTraining
from fedmkt.privacy.events import Release
from fedmkt.vertical.plan import label_releases, score_releases
from fedmkt.wire.shared import (
    NoisedRequest,
    ProductsRequest,
    ResidualsRequest,
    ResultRequest,
    ScoresRequest,
)
from fedmkt.wire.steps import Request


class VerticalTraining(JointTraining[VerticalJob, PricedTraining, Loaded]):
    """Members hold different columns of the same customers; one of them holds the labels."""

    def price(self, home: NodeHome, job: VerticalJob) -> PricedTraining:
        """Check and price a job."""
        datasets = allow_shared(home.contract, job, member=home.member, now=home.clock.now())
        binnings = {
            member: binning_from_schema(
                datasets[member].table, features_of(job, member), max_bins=job.model.max_bins
            )
            for member in job.members
        }
        owner = home.member == job.owner
        bins = sum(binning.total for binning in binnings.values())
        releases: tuple[Release, ...] = (
            label_releases(job, bins=bins) if owner else score_releases(job)
        )
        base = price_shared(
            home,
            job,
            releases,
            claimed=job.labels.epsilon if owner else None,
            delta=job.labels.delta,
        )
        # Judged before anything is reserved: no budget waits for customers that are not there.
        alignment_for(home, job, base.dataset)
        return PricedTraining(
            job=job,
            dataset=base.dataset,
            releases=base.releases,
            epsilon=base.epsilon,
            delta=base.delta,
            leaves=base.leaves,
            binnings=binnings,
        )

    def load(self, home: NodeHome, priced: PricedTraining) -> Loaded:
        """Read the aligned customers' columns, and at the owner their labels."""
        job, dataset = priced.job, priced.dataset
        alignment = alignment_for(home, job, dataset)
        target = job.target if home.member == job.owner else None
        rows = aligned_rows(home, dataset, alignment, priced.binnings[home.member], target)
        return Loaded(alignment, rows, terms_of(dataset).least_bin)

    def first_memory(
        self, home: NodeHome, run: str, priced: PricedTraining, loaded: Loaded
    ) -> dict[str, Any]:
        """Return what this member remembers: its part, and at the owner randomised labels."""
        if home.member == priced.job.owner:
            return vertical_owner.first_memory(home, run, priced, loaded)
        return vertical_partner.first_memory(home, priced, loaded)

    def as_owner(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedTraining, Loaded]],
    ) -> Answer | None:
        """Answer a request at the label owner."""
        match request:
            case ResidualsRequest():
                return vertical_owner.residuals(home, state, request, data()[1])
            case NoisedRequest():
                return vertical_owner.noised(home, state, request, *data())
            case ResultRequest():
                return vertical_owner.result(state, request, *data())
        return None

    def as_partner(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedTraining, Loaded]],
    ) -> Answer | None:
        """Answer a request at a partner."""
        match request:
            case ProductsRequest():
                return vertical_partner.products(home, state, request, data()[1])
            case ScoresRequest():
                return vertical_partner.scores(home, state, request, data()[1])
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
        """Keep this member's part of a finished model."""
        forget(run)
        if not finished:
            return ""
        if owns_labels(home, state):
            return vertical_owner.keep(home, run, state)
        return vertical_partner.keep(home, run, state)
