"""A partner's side of an expansion: sums over scores it cannot read, and a student of its own.

Guarantee: what it makes of the noised sums ranks its own customers; ranks stay at its node, in size
bins. Sums that honest scores do not give are answered like others, and nothing is kept of them.
"""

import logging

import numpy as np

from fedmkt.contract.shared_permissions import terms_of
from fedmkt.core.errors import TotalsImplausible
from fedmkt.core.stages import CodeArray, IntArray
from fedmkt.data.aligned import load_aligned
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.alignments import customers_of
from fedmkt.node.answer import Answer
from fedmkt.node.customers import covered_customers
from fedmkt.node.expansion_data import Loaded, PricedExpansion, expansion_of
from fedmkt.node.home import NodeHome
from fedmkt.node.rounds import check_turn, entered, open_content, to_turn, turn
from fedmkt.node.shared_state import SharedState
from fedmkt.node.vertical_partner import SEARCHED_SIGMAS
from fedmkt.privacy.events import GaussianEvent
from fedmkt.security.inner_product import bins
from fedmkt.vertical.plan import student_release
from fedmkt.vertical.residuals import bin_sums
from fedmkt.vertical.student import fit_student, reach_bins, target_limit
from fedmkt.wire.shared import (
    DoneReply,
    ProductsRequest,
    SealedReply,
    StudentRequest,
)

_log = logging.getLogger(__name__)


def products(
    home: NodeHome,
    state: SharedState,
    request: ProductsRequest,
    priced: PricedExpansion,
    loaded: Loaded,
) -> Answer:
    """Add up encrypted scores a bin; send the sums re-randomised and masked."""
    job = expansion_of(state)
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


def learn(
    home: NodeHome,
    state: SharedState,
    request: StudentRequest,
    priced: PricedExpansion,
    loaded: Loaded,
) -> Answer:
    """Fit the student and rank this partner's own customers with it."""
    job, codes = expansion_of(state), loaded.rows.codes
    check_turn(state, "student", 0, expected=turn(state))
    event = student_release(job, bins=priced.binning.total).event
    assert isinstance(event, GaussianEvent)
    state = state.remembering(**to_turn("close", 0))
    try:
        sums = _unmasked(state, request, priced, codes, sigma=event.sigma)
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


def _unmasked(
    state: SharedState,
    request: StudentRequest,
    priced: PricedExpansion,
    codes: CodeArray,
    *,
    sigma: float,
) -> IntArray:
    """Return the noised sums of the owner's scores a bin. Raises: TotalsImplausible, SealBroken."""
    job = expansion_of(state)
    points = state.keys.open_from(job.owner, "noised/0", request.sealed)
    counts = bin_sums(np.ones(len(codes), dtype=np.int64), codes, priced.binning)
    furthest = counts * target_limit(job.clip) + SEARCHED_SIGMAS * sigma + 1
    return bins.unmasked_sums(
        points,
        bins=priced.binning.total,
        mask_seed=state.keys.derive_secret("products/0"),
        limit=furthest.astype(np.int64),
        round_number=1,
        member=job.owner,
    )


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
