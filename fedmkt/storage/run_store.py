"""What a node remembers of a run between messages: sealed state, replies, others' heads.

Guarantee: all methods work inside the caller's transaction, so that a spend, the new state and
the reply become durable together; a reply, once stored, is never replaced, so that a retry sends
the same bytes and no mask is used for two messages.
Not guaranteed: secrecy; `state` must come sealed.
"""

import sqlalchemy as sa

from fedmkt.core.errors import AuditCut, RequestConflict
from fedmkt.identity.hash_chain import Head
from fedmkt.storage import tables


class RunStore:
    """Run states, replies and heads of one node."""

    def load(self, tx: sa.Connection, run: str) -> bytes | None:
        """Return the sealed state of `run`, None if there is none."""
        states = tables.run_states.c
        return tx.scalar(sa.select(states.sealed).where(states.run == run))

    def names(self, tx: sa.Connection) -> tuple[str, ...]:
        """Return the names of all runs that were opened here."""
        return tuple(tx.scalars(sa.select(tables.run_states.c.run)))

    def save(self, tx: sa.Connection, run: str, sealed: bytes) -> None:
        """Store the sealed state of `run` in place of the one before."""
        _put(tx, tables.run_states, {"run": run}, {"sealed": sealed})

    def reply(self, tx: sa.Connection, run: str, step: str) -> tuple[str, bytes] | None:
        """Return the request's hash and the reply given to `step`, None if it was not answered."""
        replies = tables.run_replies.c
        query = sa.select(replies.request_hash, replies.reply)
        row = tx.execute(query.where((replies.run == run) & (replies.step == step))).first()
        return None if row is None else (row.request_hash, row.reply)

    def remember_reply(
        self, tx: sa.Connection, run: str, step: str, request_hash: str, reply: bytes
    ) -> None:
        """Store the one reply to a step.

        Raises: RequestConflict, when the step was answered with other bytes or for another request.
        """
        earlier = self.reply(tx, run, step)
        if earlier is None:
            values = {"run": run, "step": step, "request_hash": request_hash, "reply": reply}
            tx.execute(sa.insert(tables.run_replies).values(values))
        elif earlier != (request_hash, reply):
            raise RequestConflict(step=step, run=run)

    def let_go(self, tx: sa.Connection, run: str, *, kept: tuple[str, ...]) -> None:
        """Empty the replies of a run that is over, but for the `kept` steps.

        That a step was answered, and for which request, stays known; an empty reply is none.
        """
        replies = tables.run_replies.c
        over = (replies.run == run) & replies.step.not_in(kept)
        tx.execute(sa.update(tables.run_replies).where(over).values(reply=b""))

    def remember_head(
        self,
        tx: sa.Connection,
        member: str,
        sequence: int,
        hash: str,  # noqa: A002
    ) -> Head:
        """Store the latest audit head seen of a member and return the one that now stands.

        An older head may come late and changes nothing: compare what is returned.
        Raises: AuditCut, when the member showed two different records under one number.
        """
        seen = self.heads(tx).get(member)
        if seen is not None and seen.sequence == sequence and seen.hash != hash:
            raise AuditCut(path=f"the audit log of {member}", record=sequence)
        if seen is not None and seen.sequence >= sequence:
            return seen
        _put(tx, tables.member_heads, {"member": member}, {"sequence": sequence, "hash": hash})
        return Head(sequence, hash)

    def heads(self, tx: sa.Connection) -> dict[str, Head]:
        """Return the latest audit head seen of each member."""
        rows = tx.execute(sa.select(tables.member_heads).order_by(tables.member_heads.c.member))
        return {row.member: Head(row.sequence, row.hash) for row in rows}


def _put(
    tx: sa.Connection, table: sa.Table, key: dict[str, object], values: dict[str, object]
) -> None:
    # Transactions of a node's store exclude each other, so nothing comes between these two.
    same = sa.and_(*(table.c[name] == value for name, value in key.items()))
    if tx.execute(sa.update(table).where(same).values(values)).rowcount == 0:
        tx.execute(sa.insert(table).values(key | values))
