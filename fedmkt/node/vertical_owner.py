"""The label owner's side of a vertical training: residuals out encrypted, sums back noised.

Guarantee: labels leave in three forms only, by the job's mode: encrypted under a key of this round
that this node alone holds; in sums of which each carries the job's noise, this node's own block and
intercept included, since they feed everybody's next residuals; or randomised before anything else.
(`shared_labels` shows residuals to the partners, where the contract says so.)
It learns the sum of the partners' scores for each customer, once a round.
"""

import os
from typing import Any

import numpy as np

from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.core.errors import MessageInvalid
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.evidence.value_report import value_report_from
from fedmkt.identity.hash_chain import JSON
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.ahead import make_ahead, take
from fedmkt.node.answer import Answer
from fedmkt.node.home import NodeHome
from fedmkt.node.joint_training import drawn_labels, soft_labels
from fedmkt.node.model_parts import keep_part, keep_value
from fedmkt.node.rounds import (
    WORD_BYTES,
    check_turn,
    entered,
    most_steps,
    opened_total,
    seal_content,
    to_turn,
    turn,
)
from fedmkt.node.shared_state import SharedState
from fedmkt.node.vertical_data import Loaded, PricedTraining, part_of
from fedmkt.node.vertical_sums import noised_sums, stepped
from fedmkt.node.vertical_value import value_report
from fedmkt.security.inner_product import elgamal, opening
from fedmkt.vertical.party import PartyModel, begin, step_size
from fedmkt.vertical.residuals import residuals as hard_residuals
from fedmkt.vertical.residuals import soft_residuals
from fedmkt.wire.shared import (
    DoneReply,
    NoisedReply,
    NoisedRequest,
    ResidualsReply,
    ResidualsRequest,
    ResultRequest,
)

_RANDOMISED = "RandomisedLabels MaskedProducts"
_SHOWN = "ShownResiduals"


def first_memory(
    home: NodeHome, run: str, priced: PricedTraining, loaded: Loaded
) -> dict[str, Any]:
    """Return what the owner remembers before the first round."""
    job = priced.job
    rows = loaded.training(job)
    own = begin(
        loaded.rows.codes[:rows],
        priced.binnings[home.member],
        least=loaded.least_bin,
        dataset=priced.dataset.name,
    )
    memory = {
        "party": own.to_json(),
        "intercept": 0.0,
        "total": _to_bytes(np.zeros(loaded.count, dtype=np.int64)),
        **to_turn("residuals", 0),
    }
    if job.labels.mode == "label_private":
        assert job.labels.epsilon is not None
        memory |= drawn_labels(home, run, loaded.labels[:rows], job.labels.epsilon)
    return memory


def residuals(
    home: NodeHome, state: SharedState, request: ResidualsRequest, loaded: Loaded
) -> Answer:
    """Take in the partners' last scores and send this round's residuals, encrypted."""
    job, index = _job(state), request.index
    check_turn(state, "residuals", index, expected=turn(state))
    if index == 0:
        alignment = loaded.alignment
        state = entered(home, state, request.bundles, job.alignment, alignment.digest)
    else:
        state = _with_total(state, request.total, index - 1, loaded)
    units = _units(state, loaded)
    reply = _sealed(state, units, loaded, index)
    facts: dict[str, JSON] = {"round": index}
    if job.labels.mode == "shared_labels":
        state = stepped(state, job, units, loaded, noised=None, index=index)
        facts |= {"stages": _SHOWN}
        state = state.passed(_SHOWN).remembering(**_after(job, index))
        return Answer(reply, state, "released", facts, commits=(index,))
    state = state.remembering(**to_turn("noised", index))
    if job.labels.mode == "label_private" and index == 0:
        facts |= {"stages": _RANDOMISED}
        return Answer(reply, state.passed(_RANDOMISED), "released", facts, commits=(0,))
    return Answer(reply, state, "answered", facts)


def noised(
    home: NodeHome,
    state: SharedState,
    request: NoisedRequest,
    priced: PricedTraining,
    loaded: Loaded,
) -> Answer:
    """Take the key off the partners' products, add noise to all sums, and step with its own."""
    job, index = _job(state), request.index
    check_turn(state, "noised", index, expected=turn(state))
    if set(request.sealed) != set(job.partners):
        raise MessageInvalid(kind="noised", problem="not one part for each partner")
    units = _units(state, loaded)
    lengths = {member: priced.binnings[member].total for member in job.members}
    sums, noise, stage = noised_sums(home, state, job, units, loaded, lengths, index)
    key = _round_key(state, index)
    sealed = {}
    for partner in job.partners:
        data = state.keys.open_from(partner, f"products/{index}", request.sealed[partner])
        points = opening.open_noised(key, data, noise[partner], member=partner)
        sealed[partner] = state.keys.seal_to(partner, f"noised/{index}", points)
    state = stepped(state, job, units, loaded, noised=sums, index=index)
    state = state.remembering(**_after(job, index))
    facts: dict[str, JSON] = {"round": index, "sums": sum(lengths.values()) + 1}
    if stage is None:
        return Answer(NoisedReply(sealed=sealed), state, "answered", facts)
    facts |= {"stages": stage}
    return Answer(
        NoisedReply(sealed=sealed), state.passed(stage), "released", facts, commits=(index,)
    )


def result(
    state: SharedState, request: ResultRequest, priced: PricedTraining, loaded: Loaded
) -> Answer:
    """Take in the last scores and measure, on the holdout, what the partners' columns add."""
    job = _job(state)
    rounds = job.model.rounds
    check_turn(state, "result", 0, expected=turn(state))
    state = _with_total(state, request.total, rounds - 1, loaded)
    value = value_report(job, priced, loaded, _scores(state, loaded))
    state = state.remembering(value=value.document(), **to_turn("close", 0))
    return Answer(DoneReply(), state, "answered", {"rounds": rounds})


def keep(home: NodeHome, run: str, state: SharedState) -> str:
    """Keep the owner's part, the partners' last total, and the value report."""
    job, memory = _job(state), state.memory
    if "value" not in memory:
        return ""
    keep_value(home, run, value_report_from(memory["value"]))
    own = PartyModel.from_json(memory["party"])
    model = own.model
    whole = AdditiveModel(
        model.binning, memory["intercept"] + model.intercept, model.effects, model.task
    )
    return keep_part(
        home,
        part_of(run, job, own.customers, whole, _from_bytes(memory["total"]).astype(np.int32)),
    )


# --- one round --------------------------------------------------------------------------------


def _job(state: SharedState) -> VerticalJob:
    assert isinstance(state.job, VerticalJob)
    return state.job


def _after(job: VerticalJob, index: int) -> dict[str, Any]:
    """Return the turn after a round: the next one, or the result."""
    last = index + 1 == job.model.rounds
    return to_turn("result", 0) if last else to_turn("residuals", index + 1)


def _round_key(state: SharedState, index: int) -> elgamal.OwnerKey:
    return elgamal.OwnerKey.from_bytes(state.keys.derive_secret(f"elgamal/{index}"))


def _scores(state: SharedState, loaded: Loaded) -> FloatArray:
    """Return the owner's scores of all aligned customers, shape (rows,)."""
    job = _job(state)
    own = PartyModel.from_json(state.memory["party"])
    size = step_size(limit=job.model.limit, levels=job.model.levels)
    own_scores = state.memory["intercept"] + own.model.scores(loaded.rows.codes)
    return np.asarray(own_scores + _from_bytes(state.memory["total"]) * size)


def _units(state: SharedState, loaded: Loaded) -> IntArray:
    """Return this round's residuals of the training rows, in grid units."""
    job = _job(state)
    scores = _scores(state, loaded)[: loaded.training(job)]
    if job.labels.mode == "label_private":
        assert job.labels.epsilon is not None
        return soft_residuals(soft_labels(state.memory, job.labels.epsilon), scores)
    return hard_residuals(loaded.labels[: len(scores)], scores)


def _sealed(state: SharedState, units: IntArray, loaded: Loaded, index: int) -> ResidualsReply:
    """Return a round's residuals for all partners: encrypted, or shown where labels are shared."""
    job, content_key = _job(state), os.urandom(32)
    if job.labels.mode == "shared_labels":
        data, size = units.astype("<i4").tobytes(), WORD_BYTES * loaded.padded(job)
    else:
        key = _round_key(state, index)
        data = elgamal.encrypt(key, units, take(state.run, key, len(units)))
        size = elgamal.message_bytes(loaded.padded(job))
        if index + 1 < job.model.rounds:
            make_ahead(state.run, _round_key(state, index + 1), len(units))
    return ResidualsReply(
        residuals=seal_content(content_key, data, size=size),
        keys={
            partner: state.keys.seal_to(partner, f"residuals/{index}", content_key)
            for partner in job.partners
        },
    )


def _with_total(state: SharedState, data: bytes, index: int, loaded: Loaded) -> SharedState:
    job = _job(state)
    features = sum(len(party.features) for party in job.parties[1:])
    most = most_steps(features, job.model.levels)
    total = opened_total(state, data, index, loaded.alignment, most=most)
    return state.remembering(total=_to_bytes(total))


def _to_bytes(total: IntArray) -> bytes:
    return total.astype("<i4").tobytes()


def _from_bytes(data: bytes) -> IntArray:
    return np.frombuffer(data, dtype="<i4").astype(np.int64)
