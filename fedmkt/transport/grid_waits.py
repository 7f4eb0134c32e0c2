"""How long the coordinator's grid waits for what a node is still sending.

Guarantee: it looks again soon, and no longer than `pulling_until` says, also for a node that
announced a reply and never sends it. With a Flower that was not tested it waits as Flower does:
a second and more between looks, two hours in all.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from flwr.supercore.inflatable import inflatable_utils
from flwr.superlink.grid import http_grid

from fedmkt.transport.tested import is_tested

FIRST_WAIT_S, LONGEST_WAIT_S = 0.02, 0.25
GRID_PULLS = "pull_objects"

_until: ContextVar[float] = ContextVar("until", default=math.inf)


@contextmanager
def pulling_until(end: float) -> Iterator[None]:
    """Let no pull of this context wait beyond a time of the monotonic clock."""
    before = _until.set(end)
    try:
        yield
    finally:
        _until.reset(before)


def quicken_grid() -> None:
    """Have every grid of this process wait so."""
    if is_tested():
        setattr(http_grid, GRID_PULLS, _hurried)


def _hurried(object_ids: list[str], pull_object_fn: Callable[[str], bytes]) -> Any:
    left = _until.get() - time.monotonic()
    return inflatable_utils.pull_objects(
        object_ids,
        pull_object_fn,
        max_time=None if math.isinf(left) else max(0.0, left),
        initial_backoff=FIRST_WAIT_S,
        backoff_cap=LONGEST_WAIT_S,
    )
