"""How far this machine's clock is from the coordinator's.

A node signs the time with each request. A SuperLink takes none that is too far from its own clock,
and answers such a node as it answers a stranger; so a node looks for itself before it connects.

Guarantee: what is found is never more than the true difference, however slow the way is.
Not guaranteed: that one is found. The coordinator tells whole seconds, and tells them late.
"""

import ssl
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from fedmkt.core.clock import Clock
from fedmkt.core.errors import ClockSkewed

MOST_AHEAD, MOST_BEHIND = timedelta(seconds=5), timedelta(seconds=305)
"""What a SuperLink allows: Flower's tolerance for clocks, and that with its life of a signature."""
_TOLD_LATE = timedelta(seconds=2)  # the header has whole seconds, and is made once a second
_TIMEOUT_S = 5.0


def look_at_clock(address: str, context: ssl.SSLContext, clock: Clock) -> timedelta | None:
    """Return how far ahead this clock is of the coordinator's at HOST:PORT, negative if behind.

    None when the coordinator does not answer, or does not tell its time.
    """
    before = clock.now()
    try:
        answer = httpx.get(
            f"https://{address}/", verify=context, timeout=_TIMEOUT_S, trust_env=False
        )
        told = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    return least_skew(before, told, clock.now())


def least_skew(before: datetime, told: datetime, after: datetime) -> timedelta:
    """Return the least difference of two clocks that explains what was seen.

    Args: before, after: this clock when the other was asked, and when it had answered `told`.
    """
    if before > told + _TOLD_LATE:
        return before - (told + _TOLD_LATE)
    return min(timedelta(0), after - told)


def is_refused(skew: timedelta) -> bool:
    """Tell whether a SuperLink refuses a node whose clock is so far ahead (negative: behind)."""
    return not -MOST_BEHIND < skew < MOST_AHEAD


def require_clock(address: str, certificate: Path, clock: Clock) -> None:
    """Raise ClockSkewed where the coordinator at HOST:PORT would refuse this node for its clock.

    Args: certificate: the file that the coordinator is checked against. Where it cannot be read,
        nothing is found here; whoever connects says so.
    """
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError:
        return
    skew = look_at_clock(address, context, clock)
    if skew is not None and is_refused(skew):
        raise ClockSkewed(difference=in_words(skew))


def in_words(skew: timedelta) -> str:
    """Return a difference in words: "3 s ahead of", "200 s behind"."""
    seconds = skew.total_seconds()
    return f"{seconds:.0f} s ahead of" if seconds >= 0 else f"{-seconds:.0f} s behind"
