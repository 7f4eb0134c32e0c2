"""Tables with known truth: named parties' columns, a true score over them, and drawn targets.

The j-th numbers of two parties correlate by `correlation`, and so do their j-th levels; everything
else is independent. The true score is a sum of one function of each column, scaled so that each
party has its stated share of the sum's variance, and, where asked, products of one party's number
with another's, which no sum of functions of single columns can express.

Guarantee: correlation, shares and the score's variance are exact in the population (numbers are cut
at five standard deviations, which moves them by less than 1e-4); over the table's rows the mean
true probability is the prevalence to 1e-9. A party's columns depend on the seed, its name and its
own settings, not on the other parties. Customers, identifiers and targets are synthetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.optimize import brentq

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.simulation.partitions.truth import Truth, probabilities, scale_to_shares

TARGET, CUSTOMER = "target", "customer"
_CUT = 5.0  # standard deviations
_COMMON_NUMBER, _COMMON_LEVEL, _EFFECT, _PARTY, _TARGET = range(5)  # streams of one seed


@dataclass(frozen=True, slots=True)
class GeneratedParty:
    """A party's columns, and its share of the variance of the score's additive part."""

    name: str
    share: float
    numbers: int = 3
    levels: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns."""
        numbers = tuple(f"{self.name}_number_{place + 1}" for place in range(self.numbers))
        return (*numbers, *(f"{self.name}_level_{place + 1}" for place in range(self.levels)))


@dataclass(frozen=True, slots=True)
class GeneratorSettings:
    """What a generated table is to be.

    signal: standard deviation of the true score, in log odds. interactions: share of its variance.
    noise: standard deviation of what moves the log odds and no party sees. prevalence: share of
    positives. categories: of each level column, equally frequent. curved: every second number of a
    party counts by its square.

    Raises: SettingInvalid.
    """

    customers: int
    parties: tuple[GeneratedParty, ...]
    correlation: float = 0.0
    signal: float = 2.0
    interactions: float = 0.0
    noise: float = 0.0
    prevalence: float = 0.2
    categories: int = 4
    curved: bool = False

    def __post_init__(self) -> None:
        ranges = {
            "customers": (2, self.customers, np.inf),
            "correlation": (0, self.correlation, 1),
            "signal": (1e-6, self.signal, 20),
            "interactions": (0, self.interactions, 1),
            "noise": (0, self.noise, 5),
            "prevalence": (1e-4, self.prevalence, 1 - 1e-4),
            "categories": (2, self.categories, 100),
        }
        for field, (least, value, most) in ranges.items():
            if not least <= value <= most:
                raise _invalid(field, f"it must be from {least:g} to {most:g}")
        _check_parties(self)

    @property
    def schema(self) -> TableSchema:
        """Return the declared schema: public bounds, equally frequent categories."""
        columns = [
            Column(name=name, kind="number", unit="standard deviations", bounds=(-_CUT, _CUT))
            if place < party.numbers
            else Column(name=name, kind="category", categories=_categories(self))
            for party in self.parties
            for place, name in enumerate(party.columns)
        ]
        target = Column(name=TARGET, kind="category", use="target", categories=("no", "yes"))
        return TableSchema(customer_key=CUSTOMER, columns=(*columns, target), target_positive="yes")


@dataclass(frozen=True, slots=True, eq=False)
class GeneratedTable:
    """A generated table. columns: each party's, without customer key and target."""

    frame: pl.DataFrame
    schema: TableSchema
    columns: Mapping[str, tuple[str, ...]]
    truth: Truth


def generate(settings: GeneratorSettings, *, seed: int) -> GeneratedTable:
    """Return a table with its truth."""
    numbers = {party.name: _numbers(party, settings, seed) for party in settings.parties}
    levels = {party.name: _levels(party, settings, seed) for party in settings.parties}
    truth = _truth(settings, numbers, levels, seed)
    rng = _stream(seed, _TARGET)
    positive = rng.random(settings.customers) < truth.probability
    cells = {CUSTOMER: [f"synthetic-{n:07}" for n in range(1, settings.customers + 1)]}
    frame = pl.DataFrame(cells).hstack(
        [
            series
            for party in settings.parties
            for series in _series(party, numbers[party.name], levels[party.name], settings)
        ]
    )
    target = pl.Series(TARGET, np.where(positive, "yes", "no"))
    return GeneratedTable(
        frame.with_columns(target),
        settings.schema,
        {party.name: party.columns for party in settings.parties},
        truth,
    )


def _check_parties(settings: GeneratorSettings) -> None:
    """Raise: SettingInvalid, where the parties cannot have such columns or shares."""
    names = [party.name for party in settings.parties]
    if not names or len(set(names)) != len(names):
        raise _invalid("parties", "at least one is needed, and their names must differ")
    for party in settings.parties:
        if min(party.numbers, party.levels) < 0 or not party.columns:
            raise _invalid("parties", f"{party.name} needs at least one column")
        if settings.interactions and party.numbers < 2:
            raise _invalid("interactions", f"{party.name} needs two numbers for them")
    shares = [party.share for party in settings.parties]
    if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise _invalid("parties", "their shares must be from 0 to 1 and sum to 1")


def _stream(seed: int, *place: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


def _numbers(party: GeneratedParty, settings: GeneratorSettings, seed: int) -> FloatArray:
    """Return a party's numbers, standard normal up to the cut, (numbers, rows)."""
    rng = _stream(seed, _PARTY, 0, *party.name.encode())
    made = np.sqrt(1 - settings.correlation) * rng.standard_normal(
        (party.numbers, settings.customers)
    )
    for place in range(party.numbers):
        common = _stream(seed, _COMMON_NUMBER, place).standard_normal(settings.customers)
        made[place] += np.sqrt(settings.correlation) * common
    return np.asarray(np.clip(made, -_CUT, _CUT), dtype=np.float64)


def _levels(party: GeneratedParty, settings: GeneratorSettings, seed: int) -> IntArray:
    """Return a party's levels, each category as frequent, (levels, rows).

    A level is the common one with chance sqrt(correlation), else its own, so that two parties'
    levels have a common origin with chance `correlation`.
    """
    rng = _stream(seed, _PARTY, 1, *party.name.encode())
    shape = (party.levels, settings.customers)
    made, shared = rng.integers(0, settings.categories, shape), rng.random(shape)
    for place in range(party.levels):
        stream = _stream(seed, _COMMON_LEVEL, place)
        common = stream.integers(0, settings.categories, settings.customers)
        copied = shared[place] < np.sqrt(settings.correlation)
        made[place] = np.where(copied, common, made[place])
    return made


def _truth(
    settings: GeneratorSettings,
    numbers: Mapping[str, FloatArray],
    levels: Mapping[str, IntArray],
    seed: int,
) -> Truth:
    """Return scores and probabilities; the intercept is what gives the prevalence."""
    sums = np.sqrt(1 - settings.interactions) * settings.signal
    bearing = [party for party in settings.parties if party.share > 0]
    scales = scale_to_shares(
        _correlations(bearing, settings), np.array([party.share for party in bearing])
    )
    factors = {party.name: sums * a for party, a in zip(bearing, scales, strict=True)}
    parts = {
        party.name: factors.get(party.name, 0.0)
        * _effect(numbers[party.name], levels[party.name], settings, seed)
        for party in settings.parties
    }
    interaction = _interaction(settings, numbers)
    score = np.sum([*parts.values(), interaction], axis=0)
    score += _intercept(score, settings)
    return Truth(
        parts,
        interaction,
        score,
        probabilities(score, settings.noise),
        {party.name: party.share * (1 - settings.interactions) for party in settings.parties},
        settings.interactions,
    )


def _effect(
    numbers: FloatArray, levels: IntArray, settings: GeneratorSettings, seed: int
) -> FloatArray:
    """Return the sum of a party's functions, of variance 1 in the population, (rows,)."""
    total: FloatArray = np.zeros(settings.customers)
    for place, values in enumerate(numbers):
        squared = settings.curved and place % 2 == 1
        total += (values**2 - 1) / np.sqrt(2) if squared else values
    for place, codes in enumerate(levels):
        drawn = _stream(seed, _EFFECT, place).standard_normal(settings.categories)
        total += ((drawn - drawn.mean()) / drawn.std())[codes]
    return total / float(np.sqrt(len(numbers) + len(levels)))


def _correlations(parties: list[GeneratedParty], settings: GeneratorSettings) -> FloatArray:
    """Return the correlations of the parties' parts in the population, (parties, parties).

    Those of squares of normal numbers are the square of the numbers' correlation.
    """
    found = np.eye(len(parties))
    for a, one in enumerate(parties):
        for b, other in enumerate(parties[:a]):
            shared = min(one.numbers, other.numbers)
            squared = shared // 2 if settings.curved else 0
            straight = shared - squared + min(one.levels, other.levels)
            rho = settings.correlation
            sizes = len(one.columns) * len(other.columns)
            found[a, b] = found[b, a] = (straight * rho + squared * rho**2) / np.sqrt(sizes)
    return found


def _interaction(settings: GeneratorSettings, numbers: Mapping[str, FloatArray]) -> FloatArray:
    """Return products of each party's first number and the next party's second, (rows,).

    Numbers of unlike places are independent, so a product does not correlate with any function of
    one column; two products do by the square of the numbers' correlation.
    """
    total: FloatArray = np.zeros(settings.customers)
    if not settings.interactions:
        return total
    names = [party.name for party in settings.parties]
    for name, following in zip(names, [*names[1:], names[0]], strict=True):
        total += numbers[name][0] * numbers[following][1]
    variance = len(names) * (1 + (len(names) - 1) * settings.correlation**2)
    return total * float(settings.signal * np.sqrt(settings.interactions / variance))


def _intercept(score: FloatArray, settings: GeneratorSettings) -> float:
    """Return what to add to the score so that the mean probability is the prevalence."""

    def excess(intercept: float) -> float:
        mean = probabilities(score + intercept, settings.noise).mean()
        return float(mean - settings.prevalence)

    # Beyond these every probability is on one side: the log odds of 1e-4, plus all noise.
    far = 10 + 5 * settings.noise
    low, high = -float(score.max()) - far, -float(score.min()) + far
    return float(brentq(excess, low, high, xtol=1e-10))


def _series(
    party: GeneratedParty, numbers: FloatArray, levels: IntArray, settings: GeneratorSettings
) -> list[pl.Series]:
    """Return a party's columns for the frame."""
    words = pl.Series(_categories(settings))
    cells = [*(pl.Series(values) for values in numbers), *(words.gather(code) for code in levels)]
    return [cell.alias(name) for cell, name in zip(cells, party.columns, strict=True)]


def _categories(settings: GeneratorSettings) -> tuple[str, ...]:
    return tuple(f"level {code + 1}" for code in range(settings.categories))


def _invalid(field: str, problem: str) -> SettingInvalid:
    return SettingInvalid(setting=f"{field} of the generator", problem=problem)
