"""The label owner's side of a split training: activations in, gradients by them out.

Guarantee: with `split_label_private` labels leave in one form only: randomised once, before any
gradient is made, so all gradients together cost what that one release does. With
`split_shared_labels` gradients of exact labels are shown to partners, who read labels out of them;
the contract says so. This node sees each partner's activations of each customer.
"""

from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from fedmkt.contract.split_job import SplitJob
from fedmkt.core.errors import MessageInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.data.scaling import NumberArray
from fedmkt.evidence.value_report import value_report_from
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.answer import Answer
from fedmkt.node.home import NodeHome
from fedmkt.node.joint_training import drawn_labels, soft_labels
from fedmkt.node.model_parts import keep_table, keep_value
from fedmkt.node.rounds import check_turn, entered, to_turn, turn
from fedmkt.node.scoring import SCORES
from fedmkt.node.shared_state import SharedState
from fedmkt.node.split_data import (
    LoadedSplit,
    PricedSplit,
    most_shown,
    opened_numbers,
    sealed_numbers,
)
from fedmkt.node.split_partner import network_secret
from fedmkt.node.vertical_value import measured_value
from fedmkt.vertical.split_network import OwnerRows, owner_round, owner_scores
from fedmkt.vertical.split_noise import noised
from fedmkt.vertical.split_shape import (
    OwnerNetworks,
    bottom_shape,
    first_owner,
    part_from,
    top_shape,
)
from fedmkt.vertical.split_twin import SplitColumns, first_networks, train_split
from fedmkt.wire.shared import DoneReply, GradientsReply, GradientsRequest, ResultRequest

RANDOMISED = "RandomisedLabels ShownGradients"
SHOWN = "ShownGradients"


def first_memory(
    home: NodeHome, run: str, priced: PricedSplit, loaded: LoadedSplit
) -> dict[str, Any]:
    """Return what the owner remembers before the first round."""
    job = priced.job
    networks = first_owner(
        priced.shape, job.model, parties=len(job.parties), secret=network_secret(home, run)
    )
    memory = {**_kept(networks), **to_turn("gradients", 0)}
    if job.labels.epsilon is not None:
        labels = loaded.labels[: loaded.rows(job, 0)]
        memory |= drawn_labels(home, run, labels, job.labels.epsilon)
    return memory


def gradients(
    home: NodeHome,
    state: SharedState,
    request: GradientsRequest,
    priced: PricedSplit,
    loaded: LoadedSplit,
) -> Answer:
    """Take this owner's steps over the partners' activations, and send gradients by them."""
    job, index, model = priced.job, request.index, priced.job.model
    check_turn(state, "gradients", index, expected=turn(state))
    if index == 0:
        state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    seen = _seen(state, job, index, request.sealed, loaded)
    rows = OwnerRows(loaded.first(loaded.rows(job, index)), _target(state, job, loaded))
    networks, slopes = owner_round(_networks(state, priced), rows, seen, model, number=index + 1)
    sealed = {}
    for partner, slope in zip(job.partners, slopes, strict=True):
        source = home.noise.stream(f"{state.run}/gradients/{index}/{partner}")
        shown = noised(slope, sigma=model.gradient_noise, source=source)
        padded = loaded.padded(job, index)
        sealed[partner] = sealed_numbers(state, partner, f"gradients/{index}", shown, padded=padded)
    last = index + 1 == model.rounds
    after = to_turn("result", 0) if last else to_turn("gradients", index + 1)
    state = state.remembering(**_kept(networks), **after)
    reply = GradientsReply(sealed=sealed)
    facts: dict[str, JSON] = {"round": index, "noise": model.gradient_noise}
    if job.labels.mode == "split_label_private" and index:
        return Answer(reply, state, "answered", facts)
    stage = RANDOMISED if job.labels.mode == "split_label_private" else SHOWN
    facts |= {"stages": stage}
    return Answer(reply, state.passed(stage), "released", facts, commits=(index,))


def result(
    home: NodeHome,
    state: SharedState,
    request: ResultRequest,
    priced: PricedSplit,
    loaded: LoadedSplit,
) -> Answer:
    """Score all aligned customers with the last activations, and measure on the holdout."""
    job = priced.job
    check_turn(state, "result", 0, expected=turn(state))
    seen = _seen(state, job, job.model.rounds, request.parts, loaded)
    scores = owner_scores(_networks(state, priced), loaded.inputs, seen, job.model)
    value = measured_value(
        job, loaded.labels, scores, alone=lambda: _alone(home, state.run, priced, loaded)
    )
    state = state.remembering(
        value=value.document(),
        customer_keys=list(loaded.alignment.customer_keys),
        scores=scores.astype("<f8").tobytes(),
        **to_turn("close", 0),
    )
    return Answer(DoneReply(), state, "answered", {"rounds": job.model.rounds})


def keep(home: NodeHome, run: str, state: SharedState) -> None:
    """Keep the scores and the value report."""
    memory = state.memory
    if "value" not in memory:
        return
    keep_value(home, run, value_report_from(memory["value"]))
    score = np.frombuffer(memory["scores"], dtype="<f8")
    table = pl.DataFrame(
        {"customer": memory["customer_keys"], "score": score, "probability": expit(score)}
    )
    keep_table(home, SCORES, run, table.sort("score", descending=True))


def _kept(networks: OwnerNetworks) -> dict[str, Any]:
    return {"bottom": networks.bottom.to_plain(), "top": networks.top.to_plain()}


def _networks(state: SharedState, priced: PricedSplit) -> OwnerNetworks:
    job = priced.job
    return OwnerNetworks(
        part_from(bottom_shape(priced.shape, job.model), state.memory["bottom"]),
        part_from(top_shape(len(job.parties), job.model), state.memory["top"]),
    )


def _target(state: SharedState, job: SplitJob, loaded: LoadedSplit) -> FloatArray:
    """Return the labels that are trained on, (rows,): exact, or soft ones of randomised labels."""
    if job.labels.epsilon is None:
        return loaded.labels[: loaded.rows(job, 0)].astype(np.float64)
    return soft_labels(state.memory, job.labels.epsilon)


def _seen(
    state: SharedState, job: SplitJob, index: int, sealed: dict[str, bytes], loaded: LoadedSplit
) -> list[NumberArray]:
    """Return each partner's activations, in the order of the partners."""
    if set(sealed) != set(job.partners):
        raise MessageInvalid(kind="activations", problem="not one part for each partner")
    most = most_shown(job.model.activation_bound, job.model.activation_noise)
    rows, step = loaded.rows(job, index), f"activations/{index}"
    return [
        opened_numbers(state, partner, step, sealed[partner], rows=rows, most=most)
        for partner in job.partners
    ]


def _alone(home: NodeHome, run: str, priced: PricedSplit, loaded: LoadedSplit) -> FloatArray:
    """Return the scores of the same networks over the owner's columns alone, with its labels."""
    own = [SplitColumns(home.member, priced.shape, loaded.inputs)]
    networks = first_networks(own, priced.job.model, [network_secret(home, run)])
    twin = train_split(
        own, loaded.labels, priced.job.model, networks=networks, noise=home.noise.stream(run)
    )
    return twin.scores
