"""Whole runs of the secure sum in memory, so that a test says only what it changes."""

from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from fedmkt.core.stages import IntArray, NoiselessUpdate, RingArray
from fedmkt.identity.keys import Identity
from fedmkt.security.secure_sum import collector, member, opening
from fedmkt.security.secure_sum.ring import Ring


class SecureSumRun:
    """All members and the coordinator of one run; every dict is keyed by member."""

    def __init__(
        self,
        members: int | tuple[str, ...] = 3,
        *,
        run: str = "run-1",
        sums: int = 2,
        bits: int = 64,
        identities: Mapping[str, Identity] | None = None,
        secrets: Mapping[str, opening._Secrets] | None = None,
    ) -> None:
        self.roster = (
            tuple(f"m{i}" for i in range(members)) if isinstance(members, int) else members
        )
        self.run, self.ring = run, Ring(bits)  # type: ignore[arg-type]
        self.identities = dict(identities or {n: Identity.generate() for n in self.roster})
        self.directory = {name: each.public for name, each in self.identities.items()}
        self.states: dict[str, member.MemberState] = {}
        self.bundles: dict[str, bytes] = {}
        self.sealed: dict[str, dict[str, bytes]] = {}
        self.circle = self.roster
        for name in self.roster:
            self.states[name], self.bundles[name] = opening._open(
                secrets[name] if secrets else opening._Secrets.fresh(sums),
                self.identities[name],
                name,
                run,
                self.roster,
                self.ring,
            )

    def share(self) -> "SecureSumRun":
        for name in self.roster:
            self.states[name], self.sealed[name] = member.share(
                self.states[name], self.bundles, self.directory
            )
        return self

    def inbox(self, name: str, absent: Iterable[str] = ()) -> dict[str, bytes]:
        senders = set(self.roster) - {name, *absent}
        return {sender: self.sealed[sender][name] for sender in sorted(senders)}

    def ready(self, absent: Iterable[str] = ()) -> "SecureSumRun":
        self.share()
        self.circle = tuple(name for name in self.roster if name not in absent)
        for name in self.circle:
            self.states[name] = member.receive_shares(self.states[name], self.inbox(name, absent))
        return self

    def updates(self, length: int = 7, size: int = 1000) -> dict[str, IntArray]:
        draw = np.random.default_rng(5)
        return {name: draw.integers(-size, size, length) for name in self.roster}

    def mask(
        self,
        sum_index: int,
        updates: Mapping[str, IntArray],
        *,
        absent: Iterable[str] = (),
        request: str = "request",
    ) -> dict[str, RingArray]:
        masked = {}
        for name in self.circle:
            if name not in absent:
                self.states[name], update = member.mask_noiseless(
                    self.states[name],
                    sum_index,
                    NoiselessUpdate(updates[name]),
                    request_hash=request,
                )
                masked[name] = update.values
        return masked

    def transcript(
        self, sum_index: int, masked: Mapping[str, RingArray], request: str = "request"
    ) -> bytes:
        return collector.transcript(self.run, sum_index, self.circle, masked, request)

    def vote(self, sum_index: int, transcript: bytes, names: Iterable[str]) -> dict[str, bytes]:
        votes = {}
        for name in names:
            self.states[name], votes[name] = member.vote(
                self.states[name], sum_index, transcript, self.identities[name]
            )
        return votes

    def unmask(
        self, sum_index: int, votes: Mapping[str, bytes], names: Iterable[str]
    ) -> dict[str, bytes]:
        replies = {}
        for name in names:
            self.states[name], replies[name] = member.unmask(self.states[name], sum_index, votes)
        return replies

    def combine(
        self,
        sum_index: int,
        masked: Mapping[str, RingArray],
        transcript: bytes,
        replies: Mapping[str, bytes],
    ) -> IntArray:
        return collector.combine(self.bundles, self.circle, sum_index, masked, transcript, replies)

    def whole_sum(
        self,
        sum_index: int,
        updates: Mapping[str, IntArray],
        *,
        unmasked: Iterable[str] = (),
        voteless: Iterable[str] = (),
        silent: Iterable[str] = (),
    ) -> IntArray:
        """One sum with members that drop out before their mask, vote or unmask reply."""
        masked = self.mask(sum_index, updates, absent=unmasked)
        transcript = self.transcript(sum_index, masked)
        votes = self.vote(sum_index, transcript, [n for n in masked if n not in voteless])
        replies = self.unmask(sum_index, votes, [name for name in votes if name not in silent])
        return self.combine(sum_index, masked, transcript, replies)


@pytest.fixture
def secure_sum_run() -> type[SecureSumRun]:
    return SecureSumRun
