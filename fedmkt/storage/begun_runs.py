"""How often each requester began runs at this node lately, and whether one more may begin.

Guarantee: within any window at most the allowed number of runs begins for one requester, in the
node's own store and so across restarts; a run that began before is not counted again. Whether it
then came to anything is the caller's, who counts before it decides.
A clock set back moves what it put into the future to the present: those runs count for one window
more and no longer, so a jump and its correction lock nobody out for good.
Not guaranteed: a clock set forward ends the window early.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from fedmkt.core.clock import Clock
from fedmkt.core.errors import RunsTooOften
from fedmkt.storage import tables
from fedmkt.storage.ledger_accounts import MICROSECOND

WINDOW = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BegunRuns:
    """The runs that requesters began at one node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def begin(
        self, tx: sa.Connection, run: str, requester: str, *, allowed: int
    ) -> RunsTooOften | None:
        """Count a run of `requester`, or return why it may not begin; a known run changes nothing.

        The refusal is returned, not raised: what a clock set back had moved is to be kept.
        """
        begun = tables.begun_runs.c
        now = (self._clock.now() - _EPOCH) // MICROSECOND
        if tx.scalar(sa.select(begun.run).where(begun.run == run)) is not None:
            return None
        ahead = sa.update(tables.begun_runs).where(begun.begun_at > now)
        tx.execute(ahead.values(begun_at=now))
        since = now - WINDOW // MICROSECOND
        query = sa.select(begun.begun_at).where(begun.requester == requester)
        recent = query.where(begun.begun_at > since).order_by(begun.begun_at.desc())
        # The run in whose place this one would come; those before it do not matter.
        oldest = tx.scalar(recent.offset(allowed - 1).limit(1))
        if oldest is not None:
            minutes = -((since - oldest) * MICROSECOND // timedelta(minutes=1))
            return RunsTooOften(requester=requester, allowed=allowed, minutes=minutes)
        row = {"run": run, "requester": requester, "begun_at": now}
        tx.execute(sa.insert(tables.begun_runs).values(row))
        return None
