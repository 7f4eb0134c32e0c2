"""Mean-like sums of updates that a few partners cannot move far: median, trimmed mean, Krum.

A partner is faulty if its update is not what the honest training would give, by malice or by
mistake. Every rule here states how many of n partners may be faulty.

Guarantee: with no more faulty partners than a rule allows, its result stays within the stated
distance of what honest partners sent, whatever the faulty ones sent. The order of the partners
changes no bit of a result. An update with a value that is no float32 (NaN, infinite, too large) is
left out and its place named; it counts as one of the faulty.
Not guaranteed: that a model is good or free of a backdoor. A faulty update that looks like an
honest one counts as one. Where honest updates differ much (each partner has other customers) the
stated distance is wide, and median and Krum are biased even where nobody is faulty.

Privacy: whoever computes these sees each update by itself. Nothing here works on masked sums.

Partners are not weighted by their rows, although a mean over customers would be. The number of
faulty partners is what the bounds count; with weights from the partners' own words one faulty
partner could call itself the majority.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import SettingInvalid, UpdatesTooFew
from fedmkt.core.stages import FloatArray

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """What a rule made of the updates.

    update: (parameters,). taken: the places of the updates that the result was made from.
    left_out: the places of those with a value that is no float32.
    """

    update: FloatArray = field(repr=False)
    taken: tuple[int, ...]
    left_out: tuple[int, ...]


def bounded_mean(updates: FloatArray, *, l2_bound: float) -> Combined:
    """Return the mean of the updates, each scaled to an L2 norm of at most `l2_bound`.

    Args: updates: (partners, parameters).
    Guarantee: f faulty of n move the result by at most 2 f l2_bound / n. No f is too large, but
    many rounds add up.
    Raises: SettingInvalid for a bound that is not above 0; UpdatesTooFew where none is usable.
    Source: Sun et al. 2019, arXiv:1911.07963, section 4.
    """
    if not 0 < l2_bound < np.inf:
        raise SettingInvalid(setting=f"the norm bound {l2_bound}", problem="it must be above 0")
    places, usable = _usable(updates, "the bounded mean", faulty=max(len(updates) - 1, 0), least=1)
    norms = np.linalg.norm(usable, axis=1)
    weights = l2_bound / np.maximum(norms, l2_bound)
    bounded = np.sort(usable * weights[:, None], axis=0)
    # One that was left out counts as zero: the mean is over all, so that the bound holds.
    return _combined(bounded.sum(axis=0) / len(updates), places, len(updates))


def median(updates: FloatArray) -> Combined:
    """Return the median of each parameter.

    Args: updates: (partners, parameters).
    Guarantee: with fewer than half of the partners faulty, each parameter lies between the least
    and the greatest that honest partners sent. Breakdown point: (n - 1) // 2 of n.
    Raises: UpdatesTooFew where no more than half are usable.
    Source: Yin et al. 2018, arXiv:1803.01498, definition 1.
    """
    faulty = max(len(updates) - 1, 0) // 2
    places, usable = _usable(updates, "the median", faulty=faulty, least=1)
    return _combined(np.median(usable, axis=0), places, len(updates))


def trimmed_mean(updates: FloatArray, *, faulty: int) -> Combined:
    """Return the mean of each parameter without its `faulty` least and greatest values.

    Args: updates: (partners, parameters). faulty: how many partners may be.
    Guarantee: with at most `faulty` partners faulty, each parameter lies between the least and the
    greatest that honest partners sent. Breakdown point: `faulty`, at most (n - 1) // 2 of n.
    Raises: SettingInvalid; UpdatesTooFew where n < 2 faulty + 1 or too many are not usable.
    Source: Yin et al. 2018, arXiv:1803.01498, definition 2, with beta = faulty / n.
    """
    places, usable = _usable(updates, "the trimmed mean", faulty=faulty, least=2 * faulty + 1)
    cut = _faulty_among(places, len(updates), faulty)
    inner = np.sort(usable, axis=0)[cut : len(places) - cut]
    # Rounding must not carry a mean of equal values out of their range.
    mean = np.clip(inner.mean(axis=0), inner[0], inner[-1])
    return _combined(mean, places, len(updates))


def krum(updates: FloatArray, *, faulty: int) -> Combined:
    """Return the one update that lies closest to its n - faulty - 2 nearest others.

    The case `keep` = 1 of `multi_krum`, whose guarantee and errors hold.
    Source: Blanchard et al. 2017, arXiv:1703.02757, section 4.
    """
    return multi_krum(updates, faulty=faulty, keep=1)


def multi_krum(updates: FloatArray, *, faulty: int, keep: int) -> Combined:
    """Return the mean of the `keep` updates with the least sums of squares to their neighbours.

    Args: updates: (partners, parameters). faulty: how many partners may be. keep: 1 to n - faulty.
    An update's neighbours are the n - faulty - 2 others nearest to it. Of equal sums, the update
    that comes first as bytes is taken, so that no place is preferred.
    Guarantee: with at most `faulty` partners faulty, each update taken lies within
    D sqrt((n - f - 2) / (n - 2 f - 1)) of an honest one, D being the largest distance between two
    honest updates. An honest sum is at most (n - f - 2) D^2, and the `keep` least are no larger; a
    faulty one among them has n - 2 f - 1 or more honest neighbours. Where some are left out, n and
    f are less by them. Breakdown point: `faulty`, at most (n - 3) // 2 of n.
    Raises: SettingInvalid; UpdatesTooFew where n < 2 faulty + 3 or too many are not usable.
    Source: Blanchard et al. 2017, arXiv:1703.02757, section 4 and, for several, section 6.
    """
    places, usable = _usable(updates, "Krum", faulty=faulty, least=2 * faulty + 3)
    left = _faulty_among(places, len(updates), faulty)
    if not 1 <= keep <= len(places) - left:
        problem = f"it must be between 1 and {len(places) - left}"
        raise SettingInvalid(setting=f"the {keep} updates to keep", problem=problem)
    sums = np.sort(square_distances(usable), axis=1)[:, 1 : len(places) - left - 1].sum(axis=1)
    order = sorted(range(len(places)), key=lambda place: (sums[place], usable[place].tobytes()))
    best = order[:keep]
    combined = _combined(usable[best].mean(axis=0), places, len(updates))
    return Combined(combined.update, tuple(sorted(places[best].tolist())), combined.left_out)


def square_distances(updates: FloatArray) -> FloatArray:
    """Return the squares of the L2 distances between updates, shape (partners, partners).

    Differences are taken first: |a|^2 + |b|^2 - 2ab loses small distances between long vectors.
    """
    distances = np.zeros((len(updates), len(updates)))
    for place, update in enumerate(updates):
        others = np.square(updates[place + 1 :] - update).sum(axis=1)
        distances[place, place + 1 :] = distances[place + 1 :, place] = others
    return distances


def _usable(
    updates: FloatArray, rule: str, *, faulty: int, least: int
) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the places of the usable updates, and those. Raises: SettingInvalid, UpdatesTooFew."""
    assert updates.ndim == 2, "one row a partner, one column a parameter"
    if faulty < 0:
        raise SettingInvalid(setting=f"{faulty} faulty partners", problem="it must be 0 or more")
    places = np.flatnonzero((np.abs(updates) <= LARGEST).all(axis=1))  # NaN compares false
    # More unusable than may be faulty: what the bound rests on is known to be wrong.
    needed = max(len(updates), least) - (faulty if len(updates) >= least else 0)
    if len(places) < needed:
        raise UpdatesTooFew(rule=rule, faulty=faulty, needed=needed, usable=len(places))
    return places, updates[places]


def _faulty_among(places: NDArray[np.intp], partners: int, faulty: int) -> int:
    """Return how many of the usable may be faulty: those left out are faulty already."""
    return faulty - (partners - len(places))


def _combined(update: FloatArray, places: NDArray[np.intp], partners: int) -> Combined:
    """Return a result made from the updates at `places`."""
    left_out = np.setdiff1d(np.arange(partners), places)
    return Combined(update, tuple(places.tolist()), tuple(left_out.tolist()))
