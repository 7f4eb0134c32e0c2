"""A partner's side of a split training: activations of its customers out, a gradient back.

Guarantee: its network and columns stay here; what leaves are activations within the agreed bound,
with the agreed noise, sealed to the label owner; each customer's are counted, the holdout's once.
Not guaranteed: that activations tell the owner nothing about columns; they tell a lot. Nor that an
owner cannot steer them: it chooses the gradients, within their bound.
"""

from typing import Any

import numpy as np

from fedmkt.contract.split_job import SplitJob
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.answer import Answer
from fedmkt.node.closing import EXACT
from fedmkt.node.home import NodeHome
from fedmkt.node.rounds import check_turn, entered, to_turn, turn
from fedmkt.node.shared_state import SharedState
from fedmkt.node.split_data import (
    LoadedSplit,
    PricedSplit,
    most_shown,
    opened_numbers,
    sealed_numbers,
)
from fedmkt.vertical.split_network import activations, partner_round
from fedmkt.vertical.split_noise import noised
from fedmkt.vertical.split_shape import Part, bottom_shape, first_partner, part_from
from fedmkt.wire.shared import ActivationsRequest, SealedReply

STAGE = f"{EXACT} ShownActivations"


def first_memory(home: NodeHome, run: str, priced: PricedSplit) -> dict[str, Any]:
    """Return what a partner remembers before the first round."""
    secret = network_secret(home, run)
    part = first_partner(priced.shape, priced.job.model, secret)
    return {"part": part.to_plain(), **to_turn("activations", 0)}


def network_secret(home: NodeHome, run: str) -> bytes:
    """Return the bytes that a member's first parameters are made of; 32, its own."""
    source = home.noise.stream(f"{run}/networks/{home.member}")
    return source.words(4).astype("<u8").tobytes()


def shown_activations(
    home: NodeHome,
    state: SharedState,
    request: ActivationsRequest,
    priced: PricedSplit,
    loaded: LoadedSplit,
) -> Answer:
    """Take this partner's steps along the gradient, and send its activations."""
    job, index = priced.job, request.index
    check_turn(state, "activations", index, expected=turn(state))
    part = part_from(bottom_shape(priced.shape, job.model), state.memory["part"])
    if index == 0:
        state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    else:
        part = _after_gradient(state, request, part, job, loaded)
    inputs = loaded.first(loaded.rows(job, index))
    shown = noised(
        activations(part, inputs, job.model),
        sigma=job.model.activation_noise,
        source=home.noise.stream(f"{state.run}/activations/{index}/{home.member}"),
    )
    padded = loaded.padded(job, index)
    sealed = sealed_numbers(state, job.owner, f"activations/{index}", shown, padded=padded)
    last = index == job.model.rounds
    after = to_turn("close", 0) if last else to_turn("activations", index + 1)
    facts: dict[str, JSON] = {
        "round": index,
        "stages": STAGE,
        "activations": job.model.activations,
        "noise": job.model.activation_noise,
    }
    state = state.remembering(part=part.to_plain(), **after).passed(STAGE)
    return Answer(SealedReply(sealed=sealed), state, "released", facts, commits=(index,))


def _after_gradient(
    state: SharedState, request: ActivationsRequest, part: Part, job: SplitJob, loaded: LoadedSplit
) -> Part:
    """Return the network after the steps of the round before."""
    before, model = request.index - 1, job.model
    rows = loaded.rows(job, before)
    gradient = opened_numbers(
        state,
        job.owner,
        f"gradients/{before}",
        request.gradient,
        rows=rows,
        most=most_shown(model.gradient_bound, model.gradient_noise),
    )
    inputs = loaded.first(rows)
    return partner_round(part, inputs, np.asarray(gradient), model, number=before + 1)
