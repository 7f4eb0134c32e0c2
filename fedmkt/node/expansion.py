"""Audience expansion, at a node: a partner learns a student of the joint model from noised sums.

Guarantee: the partner receives, once, for each bin of its own columns the sum of the clipped joint
scores of the aligned customers in it, with the job's noise; never a customer's joint score. What
it makes of it ranks its own customers; ranks stay at its node, in size bins.
Not guaranteed: that a student knows what the joint model knows; it has this partner's columns only.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from fedmkt.contract.shared_permissions import allow_shared, terms_of
from fedmkt.contract.vertical_jobs import ExpansionJob
from fedmkt.core.errors import SeedTooSmall, StepOutOfOrder, TotalsImplausible
from fedmkt.core.stages import IntArray, LocalUpdate
from fedmkt.data.aligned import AlignedRows, load_aligned
from fedmkt.data.binning import Binning, binning_from_schema
from fedmkt.identity.hash_chain import JSON
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.alignments import (
    AlignedProgram,
    Alignment,
    aligned_rows,
    alignment_for,
    customers_of,
)
from fedmkt.node.answer import Answer, Priced
from fedmkt.node.customers import covered_customers
from fedmkt.node.home import NodeHome
from fedmkt.node.model_parts import ModelPart, keep_part, keep_table, part_for
from fedmkt.node.rounds import check_turn, entered, open_content, seal_content, to_turn, turn
from fedmkt.node.shared_state import SharedState, begin, opened, price_shared
from fedmkt.node.vertical_partner import SEARCHED_SIGMAS
from fedmkt.privacy.events import GaussianEvent
from fedmkt.privacy.mechanisms import add_noise
from fedmkt.security.inner_product import bins, elgamal, opening
from fedmkt.vertical.party import step_size
from fedmkt.vertical.plan import student_release
from fedmkt.vertical.residuals import bin_sums
from fedmkt.vertical.student import (
    fit_student,
    reach_bins,
    student_bound,
    target_limit,
    target_units,
)
from fedmkt.wire.shared import (
    DoneReply,
    NoisedReply,
    NoisedRequest,
    ProductsRequest,
    ResidualsReply,
    ResidualsRequest,
    SealedReply,
    StudentRequest,
)
from fedmkt.wire.steps import Request

SEGMENTS = "segments"
_log = logging.getLogger(__name__)
_STAGE = "LocalUpdate PrivateUpdate MaskedProducts"


@dataclass(frozen=True, slots=True)
class PricedExpansion(Priced):
    """An expansion. binning: the partner's public bins."""

    job: ExpansionJob
    binning: Binning


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an expansion reads at a node. part: at the owner, its part of the joint model."""

    alignment: Alignment
    rows: AlignedRows
    part: ModelPart | None


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
        owner = home.member == _job(state).owner
        match request:
            case ResidualsRequest() if owner:
                return _targets(home, state, request, data()[1])
            case NoisedRequest() if owner:
                return _noised(home, state, request, data()[0])
            case ProductsRequest() if not owner:
                return _products(home, state, request, *data())
            case StudentRequest() if not owner:
                return _student(home, state, request, *data())
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
        memory, job = state.memory, _job(state)
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


def _job(state: SharedState) -> ExpansionJob:
    assert isinstance(state.job, ExpansionJob)
    return state.job


def _key(state: SharedState) -> elgamal.OwnerKey:
    return elgamal.OwnerKey.from_bytes(state.keys.derive_secret("elgamal/0"))


def _targets(
    home: NodeHome, state: SharedState, request: ResidualsRequest, loaded: Loaded
) -> Answer:
    """Send the clipped joint scores of the aligned customers, encrypted."""
    job = _job(state)
    check_turn(state, "residuals", request.index, expected=turn(state))
    state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    assert loaded.part is not None
    part = loaded.part
    joint = part.model.scores(loaded.rows.codes)
    if part.total is not None:
        joint = joint + part.total * step_size(limit=part.limit, levels=part.steps)
    # The intercept follows from noised sums, so the centre is a released number.
    units = target_units(joint, centre=part.model.intercept, clip=job.clip)
    key, content_key, partner = _key(state), os.urandom(32), job.partners[0]
    encrypted = elgamal.encrypt(key, units, elgamal.prepare(key, len(units)))
    reply = ResidualsReply(
        residuals=seal_content(
            content_key, encrypted, size=elgamal.message_bytes(loaded.alignment.padded)
        ),
        keys={partner: state.keys.seal_to(partner, "residuals/0", content_key)},
    )
    state = state.remembering(**to_turn("noised", 0))
    return Answer(reply, state, "answered", {"partner": partner})


def _products(
    home: NodeHome,
    state: SharedState,
    request: ProductsRequest,
    priced: PricedExpansion,
    loaded: Loaded,
) -> Answer:
    """Add up encrypted scores a bin; send the sums re-randomised and masked."""
    job = _job(state)
    check_turn(state, "products", request.index, expected=turn(state))
    state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    data = open_content(state, job.owner, 0, request.key, request.residuals)
    masked = bins.masked_products(
        data,
        loaded.rows.codes,
        priced.binning,
        mask_seed=state.keys.derive_secret("products/0"),
        member=job.owner,
    )
    sealed = state.keys.seal_to(job.owner, "products/0", masked)
    state = state.remembering(**to_turn("student", 0))
    return Answer(SealedReply(sealed=sealed), state, "answered", {"bins": priced.binning.total})


def _noised(
    home: NodeHome, state: SharedState, request: NoisedRequest, priced: PricedExpansion
) -> Answer:
    """Take the key off and put noise on."""
    job, partner = _job(state), _job(state).partners[0]
    check_turn(state, "noised", request.index, expected=turn(state))
    data = state.keys.open_from(partner, "products/0", request.sealed.get(partner, b""))
    zeros = np.zeros(priced.binning.total, dtype=np.int64)
    noise = add_noise(
        LocalUpdate(zeros, student_bound(len(job.parties[1].features), job.clip)),
        noise_multiplier=job.privacy.noise_multiplier,
        shares=1,
        trust="local",
        source=home.noise.stream(f"{state.run}/0/{home.member}"),
    ).values
    points = opening.open_noised(_key(state), data, noise, member=partner)
    sealed = state.keys.seal_to(partner, "noised/0", points)
    facts: dict[str, JSON] = {"stages": _STAGE}
    state = state.passed(_STAGE).remembering(**to_turn("close", 0))
    return Answer(NoisedReply(sealed={partner: sealed}), state, "released", facts, commits=(0,))


def _student(
    home: NodeHome,
    state: SharedState,
    request: StudentRequest,
    priced: PricedExpansion,
    loaded: Loaded,
) -> Answer:
    """Fit the student and rank this partner's own customers with it."""
    job, codes = _job(state), loaded.rows.codes
    check_turn(state, "student", 0, expected=turn(state))
    points = state.keys.open_from(job.owner, "noised/0", request.sealed)
    event = student_release(job, bins=priced.binning.total).event
    assert isinstance(event, GaussianEvent)
    counts = bin_sums(np.ones(len(codes), dtype=np.int64), codes, priced.binning)
    state = state.remembering(**to_turn("close", 0))
    try:
        sums: IntArray = bins.unmasked_sums(
            points,
            bins=priced.binning.total,
            mask_seed=state.keys.derive_secret("products/0"),
            limit=(counts * target_limit(job.clip) + SEARCHED_SIGMAS * event.sigma + 1).astype(
                np.int64
            ),
            round_number=1,
            member=job.owner,
        )
    except TotalsImplausible:
        # Privacy: whether a sum is plausible depends on this node's counts, so the answer is the
        # same either way; nothing is kept of sums that honest scores do not give.
        _log.warning("implausible sums; no student is kept")
        return Answer(DoneReply(), state, "answered", {"bins": priced.binning.total})
    student = fit_student(codes, priced.binning, sums, noise=event.sigma, settings=job)
    customers, reach = _ranked(home, priced, loaded, student)
    state = state.remembering(
        student=student.to_json(),
        customers=customers,
        reach=reach,
        seed=loaded.alignment.overlap,
    )
    return Answer(DoneReply(), state, "answered", {"bins": priced.binning.total})


def _ranked(
    home: NodeHome, priced: PricedExpansion, loaded: Loaded, student: AdditiveModel
) -> tuple[list[str], list[int]]:
    """Return own customers beyond the overlap, in size bins of their rank.

    Those who could have been aligned: under consent, each once, with an identifier.
    """
    job, dataset = priced.job, priced.dataset
    terms = terms_of(dataset)
    everybody = covered_customers(home, priced, tuple(one.key for one in terms.keys))
    aligned = set(loaded.alignment.customer_keys)
    others = [key for key in everybody.customer_keys if key not in aligned]
    rows = load_aligned(
        home.source(dataset.name),
        dataset.table,
        customers_of(home, dataset, job.alignment, others),
        coder=priced.binning,
        target=None,
        quality_floor=dataset.quality_floor,
    )
    reach = reach_bins(student.scores(rows.codes))
    # In the order of keys, so that the file's order ranks nobody within a bin.
    order = sorted(range(len(others)), key=lambda place: others[place])
    return [others[place] for place in order], [int(reach[place]) for place in order]
