"""What both sides of a run over aligned customers check and derive alike, round by round.

Guarantee: rounds follow one another; a member that holds another alignment than the others is found
before anything is computed; every secret of a round is derived for this round alone. What is sent a
customer is padded to the noised overlap that the alignment stated, so sizes tell no exact one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmkt.core.errors import AlignmentMismatch, MessageInvalid, StepOutOfOrder
from fedmkt.core.stages import IntArray
from fedmkt.identity.sealed import open_sealed, seal
from fedmkt.node.alignments import Alignment
from fedmkt.node.home import NodeHome
from fedmkt.node.shared_state import SharedState
from fedmkt.security.score_sum import ScoreContext, mask_scores, unmask_total

CONTENT = b"residuals"
WORD_BYTES = 4
LENGTH_BYTES = 8
_UNIFORM = 0.5  # share of rows out of range from which masks were left on


def entered(
    home: NodeHome, state: SharedState, bundles: Mapping[str, bytes], alignment: str, digest: str
) -> SharedState:
    """Return the state that knows everybody's keys, all of whom hold one alignment.

    Raises: AlignmentMismatch, and as `SharedState.knowing`.
    """
    state = state.knowing(home, bundles)
    stated = {peer.facts.get("alignment") for peer in state.keys.peers.values()}
    # Security: rows in another order would join customers to others' labels.
    if stated != {digest}:
        raise AlignmentMismatch(alignment=alignment, problem="members hold different ones")
    return state


def check_turn(state: SharedState, step: str, index: int, *, expected: tuple[str, int]) -> None:
    """Raise StepOutOfOrder unless `step` of round `index` is the one this node waits for."""
    if (step, index) != expected:
        raise StepOutOfOrder(step=f"{step}/{index}", run=state.run)


def turn(state: SharedState) -> tuple[str, int]:
    """Return the step and round this node waits for."""
    name, index = state.memory["turn"]
    return str(name), int(index)


def to_turn(name: str, index: int) -> dict[str, Any]:
    """Return the memory that this node waits for step `name` of round `index`."""
    return {"turn": [name, index]}


def score_context(state: SharedState, index: int) -> ScoreContext:
    """Return what the masks of a round's scores are bound to."""
    return ScoreContext(run=state.run, round=index, keys=state.keys.bundles_hash)


def opened_total(
    state: SharedState, data: bytes, index: int, alignment: Alignment, *, most: int
) -> IntArray:
    """Return the sum of the partners' scores of a round, in steps, shape (rows,); at the owner.

    Args: data: the masked total. most: how far from 0 honest scores can add up.
    Raises: MessageInvalid, also for a total that no scores add up to, as where one partner's are
        missing, or another round's are shown: masks that stay on are uniform.
    """
    if len(data) != WORD_BYTES * alignment.padded:
        raise MessageInvalid(kind="scores", problem="not one number a customer")
    owner, publics = state.keys.member, state.keys.public_keys
    total = unmask_total(
        np.frombuffer(data, dtype="<u4").astype(np.uint32),
        owner=owner,
        secret=state.keys.secret,
        partners={name: public for name, public in publics.items() if name != owner},
        context=score_context(state, index),
    )
    # Security: one row decides nothing, and padding is not looked at: an answer that depended on
    # either would tell a coordinator, who can alter words it cannot read, what stands in them.
    scores = total[: alignment.rows]
    if scores.size and np.mean(np.abs(scores) > most) > _UNIFORM:
        raise MessageInvalid(kind="scores", problem="they are no total of all partners' scores")
    return np.clip(scores, -most, most)


def most_steps(features: int, levels: int) -> int:
    """Return how far from 0 the scores of so many features can add up, in steps.

    Every feature moves a score by half its levels at most, the offset as much once more.
    """
    return features * (levels - 1)


def masked_units(state: SharedState, units: IntArray, owner: str, index: int, padded: int) -> bytes:
    """Return a partner's scores in steps, padded with zeros and masked for the total of all.

    As little-endian 32-bit words.
    """
    publics = state.keys.public_keys
    masked = mask_scores(
        np.concatenate([units, np.zeros(padded - len(units), dtype=np.int64)]),
        member=state.keys.member,
        secret=state.keys.secret,
        partners={name: key for name, key in publics.items() if name != owner},
        owner=(owner, publics[owner]),
        context=score_context(state, index),
    )
    return masked.astype("<u4").tobytes()


def seal_content(key: bytes, data: bytes, *, size: int) -> bytes:
    """Encrypt what goes to all partners alike, under a content key used once, padded to `size`."""
    return seal(key, padded_to(data, size), context=CONTENT)


def open_content(state: SharedState, owner: str, index: int, key: bytes, data: bytes) -> bytes:
    """Decrypt what the owner sent to all partners alike. Raises: SealBroken, MessageInvalid."""
    content_key = state.keys.open_from(owner, f"residuals/{index}", key)
    return unpadded(open_sealed(content_key, data, context=CONTENT, what="residuals"))


def padded_to(data: bytes, size: int) -> bytes:
    """Return data with its length before it and zeros behind it: `size` and 8 bytes in all."""
    assert len(data) <= size
    return len(data).to_bytes(LENGTH_BYTES, "big") + data + bytes(size - len(data))


def unpadded(data: bytes) -> bytes:
    """Return what `padded_to` was given. Raises: MessageInvalid."""
    length = int.from_bytes(data[:LENGTH_BYTES], "big")
    if not length <= len(data) - LENGTH_BYTES:
        raise MessageInvalid(kind="padded message", problem="it is shorter than it says")
    return data[LENGTH_BYTES : LENGTH_BYTES + length]
