"""Collusion in the secure sum: what partners who put together all they know learn of the others.

A run of the state machines as they are, in one process. The colluding members and the coordinator
see every message, the opened sum and their own updates. The sum without their own is that over the
honest members. They take every mask they know off an honest member's message: its
own, whose seed opening a sum gives away, and those it shares with them. With two or more honest
members a mask between these stays; with one, the update lies open.

Guarantee: masks, shares, votes and opening are the deployed code.
Not guaranteed: protection of a single honest member. Nobody's sum protects it; its own noise does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import (
    FloatArray,
    IntArray,
    NoiselessUpdate,
    PrivateUpdate,
    RingArray,
)
from fedmkt.identity.keys import Identity
from fedmkt.security.secure_sum import collector, member, shamir
from fedmkt.security.secure_sum.masks import (
    KEY_BYTES,
    SumContext,
    add_masks,
    pair_mask_key,
    pair_sign,
    self_mask_key,
)
from fedmkt.security.secure_sum.messages import parse_unmask_reply
from fedmkt.security.secure_sum.opening import open_member
from fedmkt.security.secure_sum.ring import Ring
from fedmkt.security.secure_sum.state import MemberState
from fedmkt.simulation.attacks.result import AttackResult, series

_RING = Ring(64)
_RUN = "collusion"
_REQUEST = "request"
_Z95 = 1.959963984540054
Update = NoiselessUpdate | PrivateUpdate


@dataclass(frozen=True, slots=True)
class Opened:
    """One sum, and all that its colluding members and the coordinator know of it.

    masked: (length,), by member. seeds: of everybody's own mask, which opening a sum gives to the
    coordinator. secrets: mask keys of the colluding. context, public: what masks are bound to.
    """

    masked: Mapping[str, RingArray] = field(repr=False)
    total: IntArray = field(repr=False)
    seeds: Mapping[str, bytes] = field(repr=False)
    secrets: Mapping[str, bytes] = field(repr=False)
    public: Mapping[str, bytes] = field(repr=False)
    context: SumContext = field(repr=False)

    def stripped(self, honest: str) -> FloatArray:
        """Return a masked update without every mask that the colluding know, (length,)."""
        left = self.masked[honest].copy()
        streams = [(self_mask_key(self.context, honest, self.seeds[honest]), -1)]
        for name, secret in self.secrets.items():
            key = pair_mask_key(self.context, name, secret, honest, self.public[honest])
            streams.append((key, -pair_sign(honest, name)))
        add_masks(left, streams)
        return _RING.from_ring(left).astype(np.float64)


def run_sum(updates: Mapping[str, Update], colluding: Sequence[str] = ()) -> Opened:
    """Run one secure sum over these members' updates, nobody dropping out. Raises: TooFewMembers.

    Everybody follows the protocol; the colluding only put together what they see.
    """
    roster = tuple(sorted(updates))
    states, bundles, identities = _ready(roster)
    secrets = {name: states[name].sums[0].mask_secret for name in colluding}
    masked: dict[str, RingArray] = {}
    for name, update in updates.items():
        if isinstance(update, PrivateUpdate):
            states[name], hidden = member.mask(states[name], 0, update, request_hash=_REQUEST)
        else:
            states[name], hidden = member.mask_noiseless(
                states[name], 0, update, request_hash=_REQUEST
            )
        masked[name] = hidden.values
    transcript = collector.transcript(_RUN, 0, roster, masked, _REQUEST)
    votes, replies = {}, {}
    for name in roster:
        states[name], votes[name] = member.vote(states[name], 0, transcript, identities[name])
    for name in roster:
        states[name], replies[name] = member.unmask(states[name], 0, votes)
    some = states[roster[0]]
    return Opened(
        masked=masked,
        total=collector.combine(bundles, roster, 0, masked, transcript, replies),
        seeds=_seeds(roster, replies, some.threshold),
        secrets=secrets,
        public={name: some.peers[name].mask_keys[0] for name in roster},
        context=some.context(0),
    )


def _ready(
    roster: tuple[str, ...],
) -> tuple[dict[str, MemberState], dict[str, bytes], dict[str, Identity]]:
    """Return everybody after the two opening exchanges: states, signed bundles, identities."""
    identities = {name: Identity.generate() for name in roster}
    directory = {name: each.public for name, each in identities.items()}
    states: dict[str, MemberState] = {}
    bundles: dict[str, bytes] = {}
    sealed: dict[str, dict[str, bytes]] = {}
    for name in roster:
        states[name], bundles[name] = open_member(
            identity=identities[name], member=name, run=_RUN, roster=roster, sums=1, ring=_RING
        )
    for name in roster:
        states[name], sealed[name] = member.share(states[name], bundles, directory)
    for name in roster:
        inbox = {other: sealed[other][name] for other in roster if other != name}
        states[name] = member.receive_shares(states[name], inbox)
    return states, bundles, identities


def _seeds(roster: Sequence[str], replies: Mapping[str, bytes], needed: int) -> dict[str, bytes]:
    """Return everybody's seed, put together from shares as the coordinator does."""
    parsed = {
        1 + place: parse_unmask_reply(replies[name]) for place, name in enumerate(roster[:needed])
    }
    weights = shamir.weights_at_zero(sorted(parsed))
    seeds = {}
    for name in roster:
        numbers = {
            point: int.from_bytes(reply.seed_shares[name], "big") for point, reply in parsed.items()
        }
        seeds[name] = shamir.combine(numbers, weights).to_bytes(KEY_BYTES, "big")
    return seeds


def attack_collusion(
    updates: Mapping[str, Update],
    colluding: int,
    *,
    exact: Mapping[str, IntArray] | None = None,
    masks: bool = True,
    largest: float = math.inf,
    defence: str | None = None,
) -> AttackResult:
    """Have so many members collude against the others in one secure sum.

    Args: exact: the updates without noise, (length,) each, if what is to be learnt are these.
        masks: False to send updates as they are, for comparison. largest: what no update's entry
        passes; what is left and passes it can be no update, so the mean of the honest is guessed.
        defence: in words.
    Returns: the correlation, over the entries of the update, of what is left of an honest member's
        message with its update, both less the mean of the honest if there are two or more of these.
        Its 95% interval is Fisher's. By chance 0.
    Raises: SettingInvalid unless an honest member is left.
    """
    names = sorted(updates)
    if not 0 <= colluding < len(names):
        raise SettingInvalid(setting=f"{colluding} colluding", problem="leave an honest member")
    honest = names[colluding:]
    opened = run_sum(updates, names[:colluding])
    seen = opened.stripped(honest[0]) if masks else updates[honest[0]].values
    wanted = exact or {name: one.values for name, one in updates.items()}
    target = wanted[honest[0]].astype(np.float64)
    # The sum of the honest is theirs to know; only what goes beyond it is an attack.
    known = np.mean([wanted[name] for name in honest], axis=0)
    found = 0.0
    if np.abs(seen).max() <= largest:
        beyond = np.zeros_like(known) if len(honest) == 1 else known
        found = float(np.corrcoef(seen - beyond, target - beyond)[0, 1])
    low, high = _fisher(found, len(target))
    rest = opened.total - sum(updates[name].values for name in names[:colluding])
    off = float(np.linalg.norm(rest / len(honest) - target) / np.linalg.norm(target))
    return AttackResult(
        name="collusion in the secure sum",
        defence=defence or f"{colluding} of {len(names)} collude, {len(honest)} honest",
        figure="correlation with an honest member's own part",
        unit="",
        value=found,
        low=low,
        high=high,
        chance=0.0,
        series=(series("error of the best guess", [float(colluding)], [off]),),
        least=-1.0,
        most=1.0,
    )


def remaining_noise(
    shares: Mapping[str, PrivateUpdate],
    exact: Mapping[str, IntArray],
    colluding: int,
    *,
    l2_bound: float,
    stated: float,
) -> AttackResult:
    """Measure the noise that is left in an opened sum when members take their own shares off.

    Args: shares: each member's update with its share of the noise; exact: the same without.
        stated: the noise multiplier that the job counts on. l2_bound: of one customer, grid units.
    Returns: the noise multiplier of what is left: its standard deviation over the bound, with
        Gaussian 95% limits of a standard deviation. `chance` holds what the job states.
    Raises: SettingInvalid unless an honest member is left.
    """
    names = sorted(shares)
    if not 0 <= colluding < len(names):
        raise SettingInvalid(setting=f"{colluding} colluding", problem="leave an honest member")
    left = run_sum(shares).total.astype(np.float64)
    left -= sum(exact[name] for name in names)
    for name in names[:colluding]:
        left -= shares[name].values - exact[name]
    found = float(np.sqrt(np.mean(left**2)) / l2_bound)
    spread = _Z95 / math.sqrt(2 * len(left))
    return AttackResult(
        name="noise left to colluding members",
        defence=f"{colluding} of {len(names)} collude",
        figure="noise multiplier left",
        unit="",
        value=found,
        low=found / (1 + spread),
        high=found / max(1 - spread, 1e-9),
        chance=stated,
        series=(series("left", [float(colluding)], [found]),),
        least=0.0,
    )


def _fisher(correlation: float, count: int) -> tuple[float, float]:
    """Return Fisher's 95% limits. Source: Fisher 1921, Metron 1."""
    centre = math.atanh(min(max(correlation, -1 + 1e-12), 1 - 1e-12))
    half = _Z95 / math.sqrt(max(count - 3, 1))
    # A correlation of 1 has no transform; its interval still holds it.
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return min(low, correlation), max(high, correlation)
