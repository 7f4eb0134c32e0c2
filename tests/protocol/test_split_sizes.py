"""What a split training sends is as long for every exact overlap that lies below one noised one."""

from types import SimpleNamespace

import numpy as np
import pytest
from protocol.test_split_messages import MEMBERS, SETTINGS, STATES

from fedmkt.contract.collaboration import Dataset
from fedmkt.contract.schema import Column, TableSchema
from fedmkt.contract.split_job import SplitJob
from fedmkt.models.network_shape import NetworkInputs, shape_from_schema
from fedmkt.node import split_owner, split_partner
from fedmkt.node.alignments import Alignment, Counts
from fedmkt.node.rounds import to_turn
from fedmkt.node.shared_state import SharedState
from fedmkt.node.split_data import LoadedSplit, PricedSplit, sealed_numbers
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.vertical.split_shape import first_owner, first_partner
from fedmkt.wire.shared import ActivationsRequest, GradientsReply, GradientsRequest, SealedReply

OWNER, *PARTNERS = MEMBERS
SCHEMA = TableSchema(
    customer_key="customer", columns=(Column(name="age", kind="integer", bounds=(0, 100)),)
)
SHAPE = shape_from_schema(SCHEMA, ("age",), width=1)
SECRET = bytes(32)
EXACT, NOISED = (12, 31), (40, 60)
TRAINING, LAST = 1, SETTINGS.rounds


def job() -> SplitJob:
    stated = STATES[OWNER].job
    assert isinstance(stated, SplitJob)
    return stated


def loaded_with(rows: int, padded: int) -> LoadedSplit:
    """Return what a node reads whose alignment has so many customers, and stated `padded`."""
    alignment = Alignment(
        run="aligned",
        purpose="prospecting",
        members=MEMBERS,
        dataset="customers",
        digest="d" * 64,
        overlap=padded,
        padded=padded,
        size=padded,
        fingerprint="",
        counts=Counts(rows=rows, duplicates=0, opted_out=0, unusable=0, offered=rows),
        customer_keys=tuple(str(row) for row in range(rows)),
    )
    inputs = NetworkInputs(
        np.linspace(-1, 1, rows * SHAPE.numbers, dtype=np.float32).reshape(rows, SHAPE.numbers),
        np.zeros((rows, 0), dtype=np.uint16),
    )
    return LoadedSplit(alignment, inputs, np.arange(rows, dtype=np.uint8) % 2)


def priced() -> PricedSplit:
    dataset = Dataset.model_construct(name="customers")
    return PricedSplit(job(), dataset, (), 0.0, 0.0, (), SHAPE)


def home_of(member: str) -> SimpleNamespace:
    """Return what these steps ask of a node's home: its name and its noise."""
    return SimpleNamespace(member=member, noise=ReproducibleNoise(0))


def numbers_from(sender: str, to: str, step: str, rows: int, *, padded: int) -> bytes:
    zeros = np.zeros((rows, SETTINGS.activations), dtype=np.float32)
    return sealed_numbers(STATES[sender], to, step, zeros, padded=padded)


def waiting(member: str, step: str, index: int, **memory: object) -> SharedState:
    return STATES[member].remembering(**memory, **to_turn(step, index))


def gradients_sent(rows: int, padded: int) -> set[int]:
    """Return the sizes of what an owner of so many customers sends in a round."""
    loaded = loaded_with(rows, padded)
    shown, step = loaded.rows(job(), TRAINING), f"activations/{TRAINING}"
    sealed = {one: numbers_from(one, OWNER, step, shown, padded=padded) for one in PARTNERS}
    networks = first_owner(SHAPE, SETTINGS, parties=len(MEMBERS), secret=SECRET)
    kept = {"bottom": networks.bottom.to_plain(), "top": networks.top.to_plain()}
    answer = split_owner.gradients(
        home_of(OWNER),
        waiting(OWNER, "gradients", TRAINING, **kept),
        GradientsRequest(index=TRAINING, sealed=sealed),
        priced(),
        loaded,
    )
    assert isinstance(answer.body, GradientsReply)
    assert set(answer.body.sealed) == set(PARTNERS)
    return {len(one) for one in answer.body.sealed.values()}


def activations_sent(rows: int, padded: int, *, index: int) -> set[int]:
    """Return the size of what a partner of so many customers sends in a round."""
    loaded, step = loaded_with(rows, padded), f"gradients/{index - 1}"
    gradient = numbers_from(OWNER, PARTNERS[0], step, loaded.rows(job(), index - 1), padded=padded)
    part = first_partner(SHAPE, SETTINGS, SECRET).to_plain()
    answer = split_partner.shown_activations(
        home_of(PARTNERS[0]),
        waiting(PARTNERS[0], "activations", index, part=part),
        ActivationsRequest(index=index, gradient=gradient),
        priced(),
        loaded,
    )
    assert isinstance(answer.body, SealedReply)
    return {len(answer.body.sealed)}


SENT = {
    "gradients": gradients_sent,
    "activations": lambda rows, padded: activations_sent(rows, padded, index=TRAINING),
    "last activations": lambda rows, padded: activations_sent(rows, padded, index=LAST),
}


@pytest.mark.parametrize("what", SENT)
def test_a_message_of_a_split_training_is_as_long_as_the_noised_overlap_alone_says(
    what: str,
) -> None:
    sizes = {padded: [SENT[what](rows, padded) for rows in EXACT] for padded in NOISED}
    for of_one_overlap in sizes.values():
        assert of_one_overlap[0] == of_one_overlap[1]
        assert len(of_one_overlap[0]) == 1
    # Otherwise a size that never moves would pass: it must carry the noised overlap.
    assert sizes[NOISED[0]] != sizes[NOISED[1]]
