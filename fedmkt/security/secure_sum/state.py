"""What a member must remember between two messages of a secure sum.

Guarantee: it prints, compares and pickles without its secrets; a secret is dropped from it as soon
as the step that needs it has been taken, so a used mask cannot be used again.
Not given: `to_bytes` is plaintext and must be sealed before it is stored; a store rolled back to
an older state is not noticed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NoReturn

from fedmkt.core.errors import MessageInvalid, StepOutOfOrder
from fedmkt.security.secure_sum.masks import SumContext
from fedmkt.security.secure_sum.messages import circle_hash, fields, threshold_of
from fedmkt.security.secure_sum.ring import Ring
from fedmkt.wire.canonical import encode


class Phase(StrEnum):
    """How far the two opening exchanges of a run have come."""

    KEYED = "keyed"
    SHARED = "shared"
    READY = "ready"


class _Secretive:
    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        # Security: `to_bytes` is the one way out, so that no queue or cache stores it unsealed.
        raise TypeError("the state of a secure sum is not pickled")


@dataclass(frozen=True, slots=True, repr=False)
class SumState(_Secretive):
    """One sum of a run: the member's own secrets, then what it answered.

    mask_secret, seed: empty once the mask is used. fingerprint, request_hash: of the masked input.
    vote: digest of the transcript voted for. key_shares, seed_shares: of every member, by name,
    empty once the sum is opened.
    """

    mask_secret: bytes = b""
    seed: bytes = b""
    fingerprint: bytes = b""
    request_hash: str = ""
    vote: bytes = b""
    survivors: tuple[str, ...] = ()
    opened: bool = False
    key_shares: Mapping[str, bytes] = field(default_factory=dict)
    seed_shares: Mapping[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        done = (("masked", self.fingerprint), ("voted", self.vote), ("opened", self.opened))
        steps = [name for name, is_done in done if is_done]
        return f"SumState({', '.join(steps) or 'fresh'}, secrets hidden)"


@dataclass(frozen=True, slots=True)
class Peer:
    """What a member knows of another (or of itself) from the checked bundles."""

    identity: str
    share_key: bytes
    mask_keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, repr=False)
class MemberState(_Secretive):
    """A member's side of all secure sums of one run.

    roster: everybody the run was opened with; circle: those of them who dealt shares, so who stand
    in its sums. bundle: hash of its own signed bundle; keys: hash of all bundles. share_secret and
    polynomial_seed are empty once used.
    """

    run: str
    member: str
    roster: tuple[str, ...]
    bits: int
    phase: Phase
    sums: tuple[SumState, ...]
    bundle: bytes
    share_secret: bytes
    polynomial_seed: bytes
    peers: Mapping[str, Peer] = field(default_factory=dict)
    keys: bytes = b""
    circle: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"MemberState(run={self.run!r}, member={self.member!r}, phase={self.phase.value}, "
            f"sums={len(self.sums)}, secrets hidden)"
        )

    @property
    def ring(self) -> Ring:
        """Return the ring this run computes in."""
        return Ring.of(self.bits)

    @property
    def threshold(self) -> int:
        """Return how many members must stand in a sum and open it."""
        return threshold_of(len(self.roster))

    def context(self, sum_index: int) -> SumContext:
        """Return what the masks of one sum are bound to."""
        return SumContext(self.run, sum_index, self.keys, circle_hash(self.run, self.circle))

    def sum_at(self, sum_index: int, step: str) -> SumState:
        """Return one sum's state. Raises: StepOutOfOrder before the opening or beyond the last."""
        if self.phase is not Phase.READY or not 0 <= sum_index < len(self.sums):
            raise StepOutOfOrder(step=f"{step} of sum {sum_index}", run=self.run)
        return self.sums[sum_index]

    def with_sum(self, sum_index: int, changed: SumState) -> "MemberState":
        """Return this state with one sum's state changed."""
        sums = (*self.sums[:sum_index], changed, *self.sums[sum_index + 1 :])
        return replace(self, sums=sums)

    def to_bytes(self) -> bytes:
        """Return the state, secrets included, for sealed storage and nothing else."""
        values = _plain(self)
        values["phase"] = self.phase.value
        values["sums"] = [_plain(each) for each in self.sums]
        values["peers"] = {name: _plain(peer) for name, peer in self.peers.items()}
        return encode(values)

    @classmethod
    def from_bytes(cls, data: bytes) -> "MemberState":
        """Return the state that `to_bytes` wrote. Raises: MessageInvalid."""
        try:
            values = fields(data, "member state", _SHAPE)
            values["phase"] = Phase(values["phase"])
            values["roster"] = tuple(values["roster"])
            values["circle"] = tuple(values["circle"])
            values["sums"] = tuple(
                SumState(**{**each, "survivors": tuple(each["survivors"])})
                for each in values["sums"]
            )
            values["peers"] = {
                name: Peer(**{**peer, "mask_keys": tuple(peer["mask_keys"])})
                for name, peer in values["peers"].items()
            }
            return cls(**values)
        except (KeyError, TypeError, ValueError):
            raise MessageInvalid(kind="member state", problem="it is incomplete") from None


_SHAPE: dict[str, type] = {
    "run": str,
    "member": str,
    "roster": list,
    "bits": int,
    "phase": str,
    "sums": list,
    "bundle": bytes,
    "share_secret": bytes,
    "polynomial_seed": bytes,
    "peers": dict,
    "keys": bytes,
    "circle": list,
}


def _plain(value: MemberState | SumState | Peer) -> dict[str, Any]:
    names = type(value).__dataclass_fields__
    plain = {name: getattr(value, name) for name in names}
    return {name: dict(v) if isinstance(v, Mapping) else v for name, v in plain.items()}
