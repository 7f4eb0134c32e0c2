"""Spares a SuperLink's database: expired tasks are looked for once a second, not at every request.

Flower looks for them with two writes before almost everything it reads: each piece of a message
that a node fetches or sends waits for SQLite's one writer, and with some ten nodes that waiting is
most of what an exchange takes. A task expires after a minute without a sign of life.

Guarantee: a look that is due is made; one is due a second after the last. Who may do what does not
lean on it: Flower compares a task's token and its time at each request by itself.
Leans on Flower's internals: with a version that was not tested, all stays as it is.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from flwr.supercore.corestate.sql_corestate import SqlCoreState

from fedmkt.transport.tested import is_tested

LOOK_S = 1.0
_LOOKS = "_cleanup_expired_task_tokens"


def spare_database(installed: str | None = None) -> bool:
    """Have this process look for expired tasks once a second at most; return whether it will."""
    looks = getattr(SqlCoreState, _LOOKS, None)
    if not is_tested(installed) or looks is None:
        return False
    setattr(SqlCoreState, _LOOKS, at_most_every(LOOK_S, looks))
    return True


def at_most_every(
    seconds: float, call: Callable[[Any], None], now_s: Callable[[], float] = time.monotonic
) -> Callable[[Any], None]:
    """Return a function that makes the call unless one was begun less than `seconds` ago."""
    due, lock = now_s(), threading.Lock()

    def seldom(state: Any) -> None:
        nonlocal due
        with lock:
            if now_s() < due:
                return
            due = now_s() + seconds
        call(state)

    return seldom
