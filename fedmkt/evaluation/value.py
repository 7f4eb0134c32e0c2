"""What one set of scores adds to another on the same customers, and what that is called.

Guarantee: a gain is judged on the same rows under both scores, so what both have in common does not
widen its interval; ties count one half. Intervals hold for rows drawn independently.
Not guaranteed: that a gain on these customers is one on others; nor that an interval covers what
training noise would change.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fedmkt.core.errors import OneClassOnly, SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import Z95, Interval

Target = NDArray[np.uint8]
Verdict = Literal["worth_it", "adds_nothing", "not_shown"]
NOTHING = 0.005
"""A gain of AUC below this is called nothing."""


def auc_gain(target: Target, before: FloatArray, after: FloatArray) -> Interval:
    """Return AUC(after) - AUC(before), paired, with DeLong's 95% interval.

    Args: target: (rows,), 0 or 1. before, after: (rows,) scores of the same rows.
    Raises: OneClassOnly.
    Source: DeLong et al. 1988, doi:10.2307/2531595, equations 3 to 5, by ranks as in Sun and Xu
    2014, doi:10.1109/LSP.2014.2337313.
    """
    yes_before, no_before = _placements(target, before)
    yes_after, no_after = _placements(target, after)
    yes, no = yes_after - yes_before, no_after - no_before
    value = float(yes.mean())
    spread = float(np.sqrt(_variance(yes) / len(yes) + _variance(no) / len(no)))
    return Interval(value, max(-1.0, value - Z95 * spread), min(1.0, value + Z95 * spread))


def lift_in_top(target: Target, scores: FloatArray, share: float = 0.1) -> Interval:
    """Return the share of positives in the top `share` over their share among all rows.

    Customers who tie at the edge count by the part of them that fits. The interval is Wilson's for
    the share in the top, over the prevalence taken as known.
    Raises: OneClassOnly; SettingInvalid for a share outside (0, 1].
    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    prevalence = float(np.mean(target > 0))
    if prevalence in (0.0, 1.0):
        raise OneClassOnly(target="target", dataset="of the evaluation")
    size = share * len(target)
    rate = _found(target, scores, share) / size
    centre = rate + Z95**2 / (2 * size)
    half = Z95 * float(np.sqrt(rate * (1 - rate) / size + Z95**2 / (4 * size**2)))
    scale = (1 + Z95**2 / size) * prevalence
    low, high = (centre - half) / scale, (centre + half) / scale
    value = rate / prevalence
    return Interval(value, min(value, max(0.0, low)), max(value, high))


def recall_at(target: Target, scores: FloatArray, share: float) -> float:
    """Return the share of all positives that are in the top `share` of rows.

    Ties as in `lift_in_top`. Raises: OneClassOnly; SettingInvalid for a share outside (0, 1].
    """
    positives = int(np.count_nonzero(target))
    if positives == 0:
        raise OneClassOnly(target="target", dataset="of the evaluation")
    return _found(target, scores, share) / positives


def verdict(gain: Interval) -> Verdict:
    """Return what a gain is called, by its interval.

    `worth_it` if it lies above 0 (however little that is: the figure says how much), else
    `adds_nothing` if it lies below .005, else `not_shown`.
    """
    if gain.low > 0:
        return "worth_it"
    return "adds_nothing" if gain.high < NOTHING else "not_shown"


def verdict_words(gain: Interval, who: str) -> str:
    """Return the verdict as a sentence."""
    figures = f"AUC {gain.value:+.3f}, 95% interval {gain.low:+.3f} to {gain.high:+.3f}"
    match verdict(gain):
        case "worth_it":
            return f"{who}: worth it. The gain is shown ({figures})."
        case "adds_nothing":
            return f"{who}: adds nothing. Any gain is below {NOTHING:g} ({figures})."
    return f"{who}: not shown. More customers would be needed to tell ({figures})."


def _placements(target: Target, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return, for each yes the share of no below it, for each no the share of yes above it."""
    yes, no = scores[target > 0], scores[target == 0]
    if not len(yes) or not len(no):
        raise OneClassOnly(target="target", dataset="of the evaluation")
    joint = np.asarray(rankdata(np.concatenate([yes, no])), dtype=np.float64)
    above = (joint[: len(yes)] - rankdata(yes)) / len(no)
    below = 1 - (joint[len(yes) :] - rankdata(no)) / len(yes)
    return above, below


def _found(target: Target, scores: FloatArray, share: float) -> float:
    """Return how many positives are in the top `share`; ties at the edge count in part."""
    if not 0 < share <= 1:
        raise SettingInvalid(setting="share", problem="it must be above 0 and at most 1")
    wanted = share * len(target)
    ordered = np.sort(scores)[::-1]
    edge = ordered[min(len(ordered), max(1, int(np.ceil(wanted)))) - 1]
    above, at = scores > edge, scores == edge
    room = (wanted - np.count_nonzero(above)) / np.count_nonzero(at)
    return float(np.count_nonzero(target[above]) + room * np.count_nonzero(target[at]))


def _variance(values: FloatArray) -> float:
    """Return the sample variance, 0 for a single value."""
    return float(values.var(ddof=1)) if values.size > 1 else 0.0
