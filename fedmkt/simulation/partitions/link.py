"""The simulated clock: how long exchanges would take over given links.

Seconds of one exchange = fixed_s + requests * request_s + answer_s, where

    answer_s   the slowest among as many partners as the quorum wants, fastest first, of
               slowdown * (compute_s + 8 * (down_bytes + up_bytes) / (mbit_s * 1e6)
                           + round_trips * 2 * latency_ms / 1000)
    requests   that the SuperLink works on one after another, 17 a partner asked and 1 more
    request_s  its processor's time for one of them
    fixed_s    what an exchange costs whatever is sent, to whomever

Guarantee: pure; never less when partners, bytes, compute, slowdown, latency or requests are more or
the link is slower; a run's time is the sum over its exchanges. An upper bound within the model, as
requests and partners are not taken to overlap; partners have processors and links of their own.

For 3, 10 and 50 nodes without latency, 1 kB each, it gives 0.65, 1.6 and 7.0 s an exchange, where
docs/benchmarks.md measured 0.65 (0.77 in a training), 2.19 and 12.48 s with all nodes on the
SuperLink's own two cores.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray

# docs/benchmarks.md, "One exchange over a SuperLink": 645 ms for 1 kB to three nodes and back with
# the warm runner, 52 requests of about 8 ms each.
REQUEST_S = 0.008
REQUESTS_A_PARTNER = 17
FIXED_S = 0.645 - (3 * REQUESTS_A_PARTNER + 1) * REQUEST_S


@dataclass(frozen=True, slots=True)
class Link:
    """Every partner's link to the SuperLink, and what the SuperLink adds.

    mbit_s: 1e6 bits a second, alike down and up. latency_ms: one way. round_trips: waits for the
    other side one after another, at least the one for the message and its answer.

    Raises: SettingInvalid.
    """

    mbit_s: float
    latency_ms: float
    round_trips: int = 1
    request_s: float = REQUEST_S
    fixed_s: float = FIXED_S

    def __post_init__(self) -> None:
        if not 0 < self.mbit_s < np.inf:
            raise _invalid("mbit_s", "it must be a finite number more than 0")
        for name in ("latency_ms", "request_s", "fixed_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise _invalid(name, "it must be a finite number of at least 0")
        if self.round_trips < 1:
            raise _invalid("round_trips", "it must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class ExchangeLoad:
    """What one exchange asks of the partners that answer it; each of shape (partners,).

    slowdown: 1 for most, more for stragglers.
    """

    down_bytes: FloatArray
    up_bytes: FloatArray
    compute_s: FloatArray
    slowdown: FloatArray


@dataclass(frozen=True, slots=True)
class ExchangeTime:
    """Where the seconds of an exchange, or of several, go."""

    fixed_s: float = 0.0
    requests_s: float = 0.0
    answer_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Return the seconds until the quorum has answered."""
        return self.fixed_s + self.requests_s + self.answer_s

    def __add__(self, other: "ExchangeTime") -> "ExchangeTime":
        return ExchangeTime(
            self.fixed_s + other.fixed_s,
            self.requests_s + other.requests_s,
            self.answer_s + other.answer_s,
        )


def answer_seconds(load: ExchangeLoad, link: Link) -> FloatArray:
    """Return how long each partner takes, without the SuperLink's part, shape (partners,)."""
    transfer_s = 8 * (load.down_bytes + load.up_bytes) / (link.mbit_s * 1e6)
    waiting_s = link.round_trips * 2 * link.latency_ms / 1000
    return load.slowdown * (load.compute_s + transfer_s + waiting_s)


def exchange_time(
    load: ExchangeLoad, link: Link, *, quorum: int | None = None, requests: int | None = None
) -> ExchangeTime:
    """Return how long one exchange takes until the quorum, or everybody, has answered.

    requests: at the SuperLink; by default as measured for the partners of `load`. Give it where
    more were asked than answer.

    Raises: SettingInvalid (a quorum that is more than answer, or none).
    """
    seconds = np.sort(answer_seconds(load, link))
    wanted = seconds.size if quorum is None else quorum
    if not 1 <= wanted <= seconds.size:
        raise _invalid("quorum", f"it is {wanted}, and {seconds.size} partners answer")
    if requests is None:
        requests = expected_requests(seconds.size)
    return ExchangeTime(link.fixed_s, requests * link.request_s, float(seconds[wanted - 1]))


def expected_requests(asked: int) -> int:
    """Return the requests that a SuperLink works on in an exchange with `asked` partners."""
    return REQUESTS_A_PARTNER * asked + 1


def run_time(exchanges: Iterable[ExchangeTime]) -> ExchangeTime:
    """Return the sum over a run's exchanges."""
    return sum(exchanges, ExchangeTime())


def _invalid(field: str, problem: str) -> SettingInvalid:
    return SettingInvalid(setting=f"{field} of the link", problem=problem)
