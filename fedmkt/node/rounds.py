"""What both sides of a run over aligned customers check and derive alike, round by round.

Guarantee: rounds follow one another; a member that holds another alignment than the others is found
before anything is computed; every secret of a round is derived for this round alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmkt.core.errors import AlignmentMismatch, MessageInvalid, StepOutOfOrder
from fedmkt.core.stages import IntArray
from fedmkt.identity.sealed import open_sealed, seal
from fedmkt.node.home import NodeHome
from fedmkt.node.shared_state import SharedState
from fedmkt.security.score_sum import ScoreContext, unmask_total

CONTENT = b"residuals"
WORD_BYTES = 4


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
    state: SharedState, data: bytes, index: int, *, rows: int, features: int, levels: int
) -> IntArray:
    """Return the sum of the partners' scores of a round, in steps, shape (rows,); at the owner.

    Args: data: the masked total. features: of all partners together. levels: a feature's.
    Raises: MessageInvalid, also for a total that no scores add up to, as where one partner's are
        missing, or another round's are shown: masks that stay on are uniform.
    """
    if len(data) != WORD_BYTES * rows:
        raise MessageInvalid(kind="scores", problem="not one number a customer")
    owner, publics = state.keys.member, state.keys.public_keys
    total = unmask_total(
        np.frombuffer(data, dtype="<u4").astype(np.uint32),
        owner=owner,
        secret=state.keys.secret,
        partners={name: public for name, public in publics.items() if name != owner},
        context=score_context(state, index),
    )
    # Every feature moves a score by half its levels at most, the offset as much once more.
    if total.size and np.abs(total).max() > features * (levels - 1):
        raise MessageInvalid(kind="scores", problem="they are no total of all partners' scores")
    return total


def seal_content(key: bytes, data: bytes) -> bytes:
    """Encrypt what goes to all partners alike, under a content key used once."""
    return seal(key, data, context=CONTENT)


def open_content(state: SharedState, owner: str, index: int, key: bytes, data: bytes) -> bytes:
    """Decrypt what the owner sent to all partners alike. Raises: SealBroken."""
    content_key = state.keys.open_from(owner, f"residuals/{index}", key)
    return open_sealed(content_key, data, context=CONTENT, what="residuals")
