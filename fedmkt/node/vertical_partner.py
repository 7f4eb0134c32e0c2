"""A partner's side of a vertical training: products of its columns with residuals it cannot read.

Guarantee: columns leave in two forms only: in products that are re-randomised and masked, so that
the label owner sees uniformly random points; and in scores, clipped and rounded a feature, which
reach the owner only as a total over all partners. (With one partner that total is its scores.)
It refuses sums that honest labels and noise do not give.
Not guaranteed: that totals tell the owner nothing about columns; they are counted, and capped.
"""

from typing import Any

import numpy as np

from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.core.stages import IntArray
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.answer import Answer
from fedmkt.node.closing import EXACT
from fedmkt.node.home import NodeHome
from fedmkt.node.model_parts import keep_part
from fedmkt.node.rounds import (
    check_turn,
    entered,
    masked_units,
    open_content,
    to_turn,
    turn,
)
from fedmkt.node.shared_state import SharedState
from fedmkt.node.vertical_data import Loaded, PricedTraining, part_of
from fedmkt.security.inner_product import bins
from fedmkt.vertical.party import PartyModel, begin, levels_of, step
from fedmkt.vertical.plan import limit_of, noise_sigma
from fedmkt.vertical.plausible import check_totals
from fedmkt.vertical.residuals import bin_sums
from fedmkt.wire.shared import ProductsRequest, ScoresReply, ScoresRequest, SealedReply

STAGE = f"{EXACT} MaskedTotals"
SEARCHED_SIGMAS = 16.0  # further than any noise goes but with probability below 2^-180


def first_memory(home: NodeHome, priced: PricedTraining, loaded: Loaded) -> dict[str, Any]:
    """Return what a partner remembers before the first round."""
    job = priced.job
    own = begin(
        loaded.rows.codes[: loaded.training(job)],
        priced.binnings[home.member],
        least=loaded.least_bin,
        dataset=priced.dataset.name,
    )
    first = "scores" if job.labels.mode == "shared_labels" else "products"
    return {"party": own.to_json(), **to_turn(first, 0)}


def products(
    home: NodeHome, state: SharedState, request: ProductsRequest, loaded: Loaded
) -> Answer:
    """Add up encrypted residuals a bin; send the sums re-randomised and masked."""
    job, index = _job(state), request.index
    check_turn(state, "products", index, expected=turn(state))
    if index == 0:
        state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    own = PartyModel.from_json(state.memory["party"])
    rows = loaded.training(job)
    data = open_content(state, job.owner, index, request.key, request.residuals)
    masked = bins.masked_products(
        data,
        own.merging.stand_ins(loaded.rows.codes[:rows]),
        own.merging.public,
        mask_seed=_mask_seed(state, index),
        member=job.owner,
    )
    sealed = state.keys.seal_to(job.owner, f"products/{index}", masked)
    facts: dict[str, JSON] = {"round": index, "bins": own.merging.public.total}
    state = state.remembering(**to_turn("scores", index))
    return Answer(SealedReply(sealed=sealed), state, "answered", facts)


def scores(
    home: NodeHome,
    state: SharedState,
    request: ScoresRequest,
    loaded: Loaded,
) -> Answer:
    """Take the masks off the noised sums, step, and send scores, masked for the total."""
    job, index = _job(state), request.index
    check_turn(state, "scores", index, expected=turn(state))
    own = PartyModel.from_json(state.memory["party"])
    shown = job.labels.mode == "shared_labels"
    if shown and index == 0:
        state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    sums = _shown_sums(state, request, own, loaded) if shown else _noised_sums(state, request, own)
    # Security: an owner that returns chosen numbers would read columns out of the scores.
    check_totals(sums, own, limit=limit_of(job), sigma=noise_sigma(job))
    own = step(own, sums, noise=noise_sigma(job), settings=job.model)
    model = job.model
    units = levels_of(own.model, loaded.rows.codes, limit=model.limit, levels=model.levels)
    masked = masked_units(state, units.astype(np.int64), job.owner, index, loaded.alignment.padded)
    last = index + 1 == job.model.rounds
    after = ("close", 0) if last else ("scores" if shown else "products", index + 1)
    state = state.remembering(party=own.to_json(), **to_turn(*after)).passed(STAGE)
    facts: dict[str, JSON] = {"round": index, "stages": STAGE}
    return Answer(ScoresReply(masked=masked), state, "released", facts, commits=(index,))


def keep(home: NodeHome, run: str, state: SharedState) -> str:
    """Keep this member's part of the model, if all its rounds were made."""
    job = _job(state)
    own = PartyModel.from_json(state.memory["party"])
    if own.round < job.model.rounds:
        return ""
    return keep_part(home, part_of(run, job, own.customers, own.model))


def _job(state: SharedState) -> VerticalJob:
    assert isinstance(state.job, VerticalJob)
    return state.job


def _mask_seed(state: SharedState, index: int) -> bytes:
    return state.keys.derive_secret(f"products/{index}")


def _search_limits(job: VerticalJob, own: PartyModel) -> IntArray:
    """Return how far from 0 an honest sum of each bin can be: rows at their limit, and noise."""
    rows = np.zeros(own.merging.public.total)
    rows[own.merging.firsts] = own.counts
    return (rows * limit_of(job) + SEARCHED_SIGMAS * noise_sigma(job) + 1).astype(np.int64)


def _noised_sums(state: SharedState, request: ScoresRequest, own: PartyModel) -> IntArray:
    """Take the masks off the noised sums. Raises: TotalsImplausible, SealBroken."""
    job, index = _job(state), request.index
    return bins.unmasked_sums(
        state.keys.open_from(job.owner, f"noised/{index}", request.sealed),
        bins=own.merging.public.total,
        mask_seed=_mask_seed(state, index),
        limit=_search_limits(job, own),
        round_number=index + 1,
        member=job.owner,
    )


def _shown_sums(
    state: SharedState, request: ScoresRequest, own: PartyModel, loaded: Loaded
) -> IntArray:
    job = _job(state)
    data = open_content(state, job.owner, request.index, request.key, request.residuals)
    units = np.frombuffer(data, dtype="<i4").astype(np.int64)
    codes = own.merging.stand_ins(loaded.rows.codes[: loaded.training(job)])
    return bin_sums(units, codes, own.merging.public)
