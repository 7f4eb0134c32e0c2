"""Audience expansion, at a node: a partner learns a student of the joint model from noised sums.

Guarantee: the partner receives, once, for each bin of its own columns the sum of the clipped joint
scores of the aligned customers in it, with the job's noise; never a customer's joint score. What
it makes of it ranks its own customers; ranks stay at its node, in size bins.
Not guaranteed: that a student knows what the joint model knows; it has this partner's columns only.
"""

from collections.abc import Callable

import polars as pl

from fedmkt.contract.shared_permissions import allow_shared, terms_of
from fedmkt.contract.vertical_jobs import ExpansionJob
from fedmkt.core.errors import SeedTooSmall, StepOutOfOrder
from fedmkt.data.binning import binning_from_schema
from fedmkt.models.additive import AdditiveModel
from fedmkt.node import expansion_owner, expansion_partner
from fedmkt.node.alignments import AlignedProgram, aligned_rows, alignment_for
from fedmkt.node.answer import Answer
from fedmkt.node.expansion_data import Loaded, PricedExpansion, expansion_of
from fedmkt.node.home import NodeHome
from fedmkt.node.model_parts import ModelPart, keep_part, keep_table, part_for
from fedmkt.node.rounds import to_turn
from fedmkt.node.shared_state import SharedState, begin, opened, price_shared
from fedmkt.vertical.plan import student_release
from fedmkt.wire.shared import (
    NoisedRequest,
    ProductsRequest,
    ResidualsRequest,
    StudentRequest,
)
from fedmkt.wire.steps import Request

SEGMENTS = "segments"


class ExpansionProgram(AlignedProgram[ExpansionJob, PricedExpansion, Loaded]):
    """Teaches one partner to rank its own customers as the joint model would."""

    def price(self, home: NodeHome, job: ExpansionJob) -> PricedExpansion:
        """Check and price a job."""
        owner, partner = job.members
        datasets = allow_shared(home.contract, job, member=home.member, now=home.clock.now())
        binning = binning_from_schema(
            datasets[partner].table, job.parties[1].features, max_bins=job.max_bins
        )
        mine = home.member == owner
        base = price_shared(
            home,
            job,
            (student_release(job, bins=binning.total),) if mine else (),
            claimed=job.privacy.epsilon if mine else None,
            delta=job.privacy.delta,
        )
        alignment = alignment_for(home, job, base.dataset)
        least = max(terms_of(dataset).least_seed for dataset in datasets.values())
        # Privacy: judged by the released number, so the answer tells nothing new.
        if alignment.overlap < least:
            raise SeedTooSmall(dataset=base.dataset.name, minimum=least)
        part_for(home, job, job.model)
        return PricedExpansion(
            job=job,
            dataset=base.dataset,
            releases=base.releases,
            epsilon=base.epsilon,
            delta=base.delta,
            leaves=base.leaves,
            binning=binning,
        )

    def load(self, home: NodeHome, priced: PricedExpansion) -> Loaded:
        """Read the aligned customers: the owner's model columns, or the partner's features."""
        job, dataset = priced.job, priced.dataset
        alignment = alignment_for(home, job, dataset)
        part = part_for(home, job, job.model)
        owner = home.member == job.owner
        binning = part.model.binning if owner else priced.binning
        rows = aligned_rows(home, dataset, alignment, binning, None)
        return Loaded(alignment, rows, part if owner else None)

    def open(self, home: NodeHome, run: str, priced: PricedExpansion, loaded: Loaded) -> Answer:
        """Make this run's keys; state which alignment this member holds."""
        job = priced.job
        state, bundle = begin(home, run, job, {"alignment": loaded.alignment.digest})
        first = "residuals" if home.member == job.owner else "products"
        state = state.remembering(**to_turn(first, 0))
        return opened(bundle, state, priced.dataset.name, {"model": job.model})

    def step(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedExpansion, Loaded]],
    ) -> Answer:
        """Answer one request."""
        owner = home.member == expansion_of(state).owner
        match request:
            case ResidualsRequest() if owner:
                return expansion_owner.targets(home, state, request, data()[1])
            case NoisedRequest() if owner:
                return expansion_owner.noised(home, state, request, data()[0])
            case ProductsRequest() if not owner:
                return expansion_partner.products(home, state, request, *data())
            case StudentRequest() if not owner:
                return expansion_partner.learn(home, state, request, *data())
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
        """Keep the student at the partner, and its own customers by size bin."""
        memory, job = state.memory, expansion_of(state)
        if not finished or "student" not in memory:
            return ""
        student = AdditiveModel.from_json(memory["student"])
        ranked = {"customer": memory["customers"], "reach": memory["reach"]}
        keep_table(home, SEGMENTS, run, pl.DataFrame(ranked))
        return keep_part(
            home,
            ModelPart(
                run=run,
                alignment=job.alignment,
                owner=job.owner,
                members=job.members,
                target="joint score",
                levels=None,
                limit=job.clip,
                customers=int(memory["seed"]),
                model=student,
            ),
        )
