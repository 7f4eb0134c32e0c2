"""The simulated clock of a trial: how long its rounds would take over its partners' lines.

Guarantee: it follows from the scenario and the draws of participation alone, so equal seeds give
equal times. With protocol `full` a round is three exchanges (masks, votes, openings); with `lean`,
or where updates are seen, one.
Not guaranteed: that it is what a deployment takes; `partitions.link` says what is in the formula.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fedmkt.contract.network_settings import NetworkSettings
from fedmkt.core.stages import FloatArray
from fedmkt.simulation.partitions.link import (
    ExchangeLoad,
    Link,
    exchange_time,
    expected_requests,
)
from fedmkt.simulation.partitions.participation import RoundDraw
from fedmkt.simulation.scenario.schema import Setting

_SIGNED = 400  # bytes of a signature, a head and an envelope, about
_SHARE = 70  # bytes of a member's share in a vote's transcript or an opening, about


@dataclass
class Clock:
    """Adds up rounds as they are finished. down, up: bytes of a round's question and answer."""

    link: Link
    partners: int
    down: int
    up: int
    compute_s: float
    masked: bool
    draws: Callable[[int], RoundDraw] | None
    _passed: list[float] = field(default_factory=lambda: [0.0])

    def after(self, number: int) -> float:
        """Return the seconds passed after round `number`, counted from the first round's start."""
        while len(self._passed) <= number:
            self._passed.append(self._passed[-1] + self._round_s(len(self._passed)))
        return self._passed[number]

    def _round_s(self, number: int) -> float:
        asked, slowdown = self.partners, np.ones(self.partners)
        if self.draws is not None:
            drawn = self.draws(number)
            asked, slowdown = len(drawn.asked), np.array(list(drawn.slowdown.values()))
        seconds = self._exchange_s(asked, slowdown, self.down, self.up, self.compute_s)
        if self.masked:
            small = _SIGNED + _SHARE * self.partners
            seconds += 2 * self._exchange_s(asked, slowdown, small, small, 0.0)
        return seconds

    def _exchange_s(
        self, asked: int, slowdown: FloatArray, down: int, up: int, compute_s: float
    ) -> float:
        every = np.ones(slowdown.size)
        load = ExchangeLoad(
            down_bytes=down * every,
            up_bytes=up * every,
            compute_s=compute_s * every,
            slowdown=slowdown,
        )
        return exchange_time(load, self.link, requests=expected_requests(asked)).total_s


def clock_of(
    setting: Setting,
    partners: tuple[str, ...],
    sizes: tuple[int, int],
    draws: Callable[[int], RoundDraw] | None,
) -> Clock | None:
    """Return a trial's clock, None where no line is given. sizes: bytes of question and answer."""
    part = setting.link
    if part.mbit_s is None:
        return None
    seen = isinstance(setting.model, NetworkSettings) and setting.model.updates_seen
    return Clock(
        link=Link(mbit_s=part.mbit_s, latency_ms=part.latency_ms),
        partners=len(partners),
        down=sizes[0] + _SIGNED,
        up=sizes[1] + _SIGNED,
        compute_s=part.compute_s,
        masked=setting.protocol == "full" and not seen,
        draws=draws,
    )
