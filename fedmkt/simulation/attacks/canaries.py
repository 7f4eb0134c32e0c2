"""The canary audit: how much of one customer a training's releases show, found in one training.

Each canary, a customer made up to be seen, is in the training by a fair coin. Who sees the releases
gives each canary a score, guesses those with the highest in and those with the lowest out, and
`one_run` makes of the right guesses a lower bound on epsilon.

Guarantee: for a training that keeps its (epsilon, delta), the bound is above epsilon in at most 5%
of all audits. How many guesses to make is fixed beforehand: each of `SHARES` gives a bound of its
own, with an equal part of the 5% (union bound), and the largest counts.
Not guaranteed: that a training below its statement keeps it. An audit misses what its canaries do
not touch (other customers, other releases), and noise that is short by a part: with half of the
noise missing the bound is mostly still below the stated epsilon. What it can find is coarse: no
noise, no clipping, a tenth of the noise, and that only where the statement is below its `reach`
and canaries are drawn in several steps: who is never drawn is not seen, with or without noise.
Source: Steinke, Nasr, Jagielski 2023, arXiv:2305.08846, algorithm 1; canaries that are gradients,
Nasr et al. 2023, arXiv:2302.07956.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.simulation.attacks.one_run import epsilon_bound
from fedmkt.simulation.attacks.result import AttackResult, BoolArray, series

SHARES = (0.1, 0.3, 1.0)
"""Of all canaries, how many are guessed."""
CONFIDENCE = 0.95


class Audited(Protocol):
    """A training that can be audited: what it states, and how it is run with canaries in it."""

    @property
    def what(self) -> str:
        """Return in words what is trained, by which terms, and which canaries it takes."""
        ...

    @property
    def epsilon(self) -> float:
        """Return the epsilon it states for one customer."""
        ...

    @property
    def delta(self) -> float:
        """Return the delta of that epsilon."""
        ...

    @property
    def canaries(self) -> int:
        """Return how many canaries there are."""
        ...

    def scores(self, present: BoolArray) -> FloatArray:
        """Train once with the canaries `present` (canaries,); return the score of each.

        What is released decides the scores, and what the auditor knows: the customers and all
        canaries, but not which of these are in.
        """
        ...


@dataclass(frozen=True, slots=True)
class CanaryAudit:
    """An audit: the lower bound, and the guesses it comes from."""

    result: AttackResult
    stated: float
    delta: float
    canaries: int
    guesses: int
    right: int

    @property
    def reach(self) -> float:
        """Return the bound that this audit would have given with every guess right."""
        return max(
            _bound(self.canaries, guesses, guesses, self.delta)
            for guesses in guess_counts(self.canaries)
        )

    @property
    def exceeds(self) -> bool:
        """Tell whether the bound shows that the stated epsilon does not hold."""
        return self.result.value > self.stated


def audit(audited: Audited, coins: BoolArray, *, defence: str) -> CanaryAudit:
    """Train once with the canaries whose coin is True, and return the bound on epsilon.

    Args: coins: (canaries,), fair, independent, and hidden from the scores.
    Returns: the figure is the lower bound; its interval is one-sided, from the bound on, at 95%.
        By chance it is 0. Raises: SettingInvalid.
    """
    if coins.shape != (audited.canaries,) or not audited.canaries:
        raise SettingInvalid(setting="coins", problem="one a canary is needed")
    scores = audited.scores(coins)
    counted = [(guesses, _right(scores, coins, guesses)) for guesses in guess_counts(coins.size)]
    bounds = [_bound(coins.size, made, right, audited.delta) for made, right in counted]
    best = int(np.argmax(bounds))
    result = AttackResult(
        name="canary audit",
        defence=defence,
        figure="lower bound on epsilon",
        unit="",
        value=bounds[best],
        low=bounds[best],
        high=float("inf"),
        chance=0.0,
        series=(
            series("in", scores[coins], np.ones(int(coins.sum()))),
            series("out", scores[~coins], np.zeros(int((~coins).sum()))),
            series("guesses", [float(made) for made, _ in counted], bounds),
        ),
        least=0.0,
    )
    guesses, right = counted[best]
    return CanaryAudit(result, audited.epsilon, audited.delta, coins.size, guesses, right)


def guess_counts(canaries: int) -> tuple[int, ...]:
    """Return how many canaries are guessed, in each of the ways that are tried."""
    return tuple(sorted({min(canaries, max(2, round(canaries * share))) for share in SHARES}))


def _bound(canaries: int, guesses: int, right: int, delta: float) -> float:
    """Return the bound of one of the ways to guess, with its part of the 5%."""
    confidence = 1 - (1 - CONFIDENCE) / len(guess_counts(canaries))
    return epsilon_bound(
        canaries=canaries, guesses=guesses, right=right, delta=delta, confidence=confidence
    )


def _right(scores: FloatArray, coins: BoolArray, guesses: int) -> int:
    """Return how many guesses are right: the highest scores as in, the lowest as out."""
    # A score that is not a number is a guess like any other; it must not choose its own place.
    order = np.argsort(-np.nan_to_num(scores, nan=0.0), kind="stable")
    inside, outside = (guesses + 1) // 2, guesses // 2
    lowest = order[len(order) - outside :]
    return int(coins[order[:inside]].sum() + (~coins[lowest]).sum())
