"""Who takes part in a round of a simulation: who is asked, who drops out, who is slow.

Guarantee: a round's draw depends on the seed, the round and the set of partners alone, not on
which other rounds were drawn, nor on the order in which partners are named.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from fedmkt.core.errors import NobodyLeft, SettingInvalid


@dataclass(frozen=True, slots=True)
class Participation:
    """How partners take part.

    share: of the partners that are asked in a round, drawn evenly without replacement, at least
    one. dropout: chance of each asked partner to give no answer. stragglers: chance of each to be
    `slowdown` times as slow in that round. quorum: answers a round needs.

    Raises: SettingInvalid.
    """

    share: float = 1.0
    dropout: float = 0.0
    stragglers: float = 0.0
    slowdown: float = 1.0
    quorum: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise _invalid("share", "it must be more than 0 and at most 1")
        for name, chance in (("dropout", self.dropout), ("stragglers", self.stragglers)):
            if not 0 <= chance <= 1:
                raise _invalid(name, "it must be from 0 to 1")
        if not 1 <= self.slowdown < np.inf:
            raise _invalid("slowdown", "it must be a finite number of at least 1")
        if self.quorum < 1:
            raise _invalid("quorum", "it must be at least 1")

    def asked(self, partners: int) -> int:
        """Return how many of so many partners a round asks."""
        return max(1, round(self.share * partners))


@dataclass(frozen=True, slots=True)
class RoundDraw:
    """Who was asked in a round, who of them answers, and how many times as slow each of these is.

    asked, answering: names in order of the alphabet. slowdown: of those answering, 1 for most.
    """

    round: int
    asked: tuple[str, ...]
    answering: tuple[str, ...]
    slowdown: Mapping[str, float]


def draw_round(
    partners: Collection[str], settings: Participation, *, seed: int, round_number: int
) -> RoundDraw:
    """Return who takes part in one round. Raises: NobodyLeft (fewer than the quorum)."""
    names = sorted(partners)  # a list: an array of strings would cut what ends in NUL
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(round_number,)))
    asked = np.sort(rng.permutation(len(names))[: settings.asked(len(names))])
    stays = rng.random(asked.size) >= settings.dropout
    slow = rng.random(asked.size) < settings.stragglers
    answering = asked[stays]
    if answering.size < settings.quorum:
        raise NobodyLeft(
            round=round_number, left=answering.size, asked=asked.size, quorum=settings.quorum
        )
    factors = np.where(slow[stays], settings.slowdown, 1.0)
    slowdown = dict(zip((names[k] for k in answering), factors.tolist(), strict=True))
    return RoundDraw(round_number, tuple(names[k] for k in asked), tuple(slowdown), slowdown)


def _invalid(field: str, problem: str) -> SettingInvalid:
    return SettingInvalid(setting=f"{field} of the participation", problem=problem)
