"""What the coordinator does while members find their shared customers: it carries sealed lists.

A list of each member goes around the ring of members, blinded by each in turn; the first party
compares the fully blinded lists. Exchanges for k members: open, blind, k - 1 hops, match, finish,
close. An overlap between two members: open, blind, one hop, count, close.
"""

from dataclasses import dataclass
from typing import ClassVar

from fedmkt.contract.vertical_jobs import AlignmentJob, OverlapJob
from fedmkt.coordinator.shared_run import SharedRun
from fedmkt.core.errors import AlignmentMismatch, MessageInvalid, OverlapTooSmall
from fedmkt.identity.hash_chain import JSON
from fedmkt.wire.shared import (
    BlindRequest,
    CountReply,
    CountRequest,
    FinishReply,
    FinishRequest,
    HopRequest,
    ListReply,
    MatchReply,
    MatchRequest,
)


@dataclass
class OverlapRun(SharedRun):
    """Counts what two members share; the first party counts."""

    kind: ClassVar[str] = "overlap"
    job: OverlapJob

    @staticmethod
    def exchanges(job: OverlapJob) -> int:  # noqa: ARG004
        """Return the number of exchanges."""
        return 5

    def carry_out(self) -> dict[str, JSON]:
        """Carry both lists across and back."""
        counter, other = self.job.members
        first = self.ask(
            "blind", dict.fromkeys(self.job.members, BlindRequest(bundles=self.bundles)), ListReply
        )
        hops = {
            counter: HopRequest(index=1, sealed=_for(first[other], counter)),
            other: HopRequest(index=1, sealed=_for(first[counter], other)),
        }
        passed = self.ask("hop/1", hops, ListReply)
        lists = {counter: _for(passed[other], counter), other: _for(passed[counter], counter)}
        counted = self.ask("count", {counter: CountRequest(sealed=lists)}, CountReply)
        return {"overlap": counted[counter].overlap}


@dataclass
class AlignmentRun(SharedRun):
    """Finds the customers all members share, in one row order."""

    kind: ClassVar[str] = "alignment"
    job: AlignmentJob

    @staticmethod
    def exchanges(job: AlignmentJob) -> int:
        """Return the number of exchanges."""
        return len(job.members) + 4

    def carry_out(self) -> dict[str, JSON]:
        """Carry the lists around the ring, then the links to everybody."""
        members = self.job.members
        replies = self.ask(
            "blind", dict.fromkeys(members, BlindRequest(bundles=self.bundles)), ListReply
        )
        for hop in range(1, len(members)):
            hops = {
                member: HopRequest(index=hop, sealed=_for(replies[self._before(member)], member))
                for member in members
            }
            replies = self.ask(f"hop/{hop}", hops, ListReply)
        first = members[0]
        # After the last hop, the list of a member is with the one before it in the ring.
        lists = {member: replies[self._before(member)].sealed for member in members}
        compared = {member: _part(parts, first) for member, parts in lists.items()}
        matched = self.ask("match", {first: MatchRequest(sealed=compared)}, MatchReply)
        witness = self._before(first)
        finishes = {
            member: FinishRequest(
                links=_part(matched[first].sealed, member),
                own=_part(lists[member], member),
                witness=_part(lists[first], witness) if member == witness else b"",
            )
            for member in members
        }
        finished = self.ask("finish", finishes, FinishReply)
        if len({reply.digest for reply in finished.values()}) != 1:
            raise AlignmentMismatch(
                alignment=self.talk.run, problem="members were shown different links"
            )
        self._check_minimum(finished)
        return {
            "overlap": {member: reply.overlap for member, reply in finished.items()},
            "sizes": {member: reply.size for member, reply in finished.items()},
            "digest": finished[first].digest,
        }

    def _check_minimum(self, finished: dict[str, FinishReply]) -> None:
        """Raise OverlapTooSmall if a dataset's minimum is not reached, as far as noise tells."""
        for party in self.job.parties:
            dataset = self.talk.contract.dataset(party.dataset)
            if dataset and finished[party.member].overlap < dataset.minimum_overlap:
                raise OverlapTooSmall(dataset=dataset.name, minimum=dataset.minimum_overlap)

    def _before(self, member: str) -> str:
        members = self.job.members
        return members[members.index(member) - 1]


def _for(reply: ListReply, member: str) -> bytes:
    return _part(reply.sealed, member)


def _part(sealed: dict[str, bytes], member: str) -> bytes:
    if member not in sealed:
        raise MessageInvalid(kind="list", problem=f"nothing in it is for {member}")
    return sealed[member]
