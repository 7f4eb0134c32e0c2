"""What one set of scores adds to another on the same customers, and what that is called.

Guarantee: a gain is judged on the same rows under both scores, so what both have in common does not
widen its interval; ties count one half. Intervals are 95% of rows drawn independently, by normal
approximation: they want some dozens of customers of each class.
Not guaranteed: that a gain on these customers is one on others; nor that an interval covers what
training noise would change.
"""

from typing import Literal

import numpy as np
from scipy.stats import rankdata

from fedmkt.core.errors import OneClassOnly, SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import Z95, Interval, Target

Verdict = Literal["worth_it", "adds_nothing", "not_shown"]
NOTHING = 0.005
"""A gain of AUC below this is called nothing."""
_NEAR = 0.2  # how near to the edge of the top, as a share of it, rows stand for those at the edge


def auc_gain(target: Target, before: FloatArray, after: FloatArray) -> Interval:
    """Return AUC(after) - AUC(before), paired, with DeLong's 95% interval.

    A single yes or no tells nothing of how far others would lie from it: the interval is then all
    of [-1, 1].
    Args: target: (rows,), 0 or 1. before, after: (rows,) scores of the same rows.
    Raises: OneClassOnly.
    Source: DeLong et al. 1988, doi:10.2307/2531595, equations 3 to 5, by ranks as in Sun and Xu
    2014, doi:10.1109/LSP.2014.2337313.
    """
    yes_before, no_before = _placements(target, before)
    yes_after, no_after = _placements(target, after)
    yes, no = yes_after - yes_before, no_after - no_before
    value = float(yes.mean())
    if min(len(yes), len(no)) < 2:
        return Interval(value, -1.0, 1.0)
    half = Z95 * float(np.sqrt(yes.var(ddof=1) / len(yes) + no.var(ddof=1) / len(no)))
    return Interval(value, max(-1.0, value - half), min(1.0, value + half))


def lift_in_top(target: Target, scores: FloatArray, share: float = 0.1) -> Interval:
    """Return the share of positives in the top `share` over their share among all rows.

    Customers who tie at the edge count by the part of them that fits. The interval is symmetric in
    the logarithm, by the delta method: with r the share of positives in the top, p among all rows
    and m at the top's edge, a row moves r by (top / share) (y - m) + m - r and p by y - p. Where
    all in the top are alike, Wilson's limits of r are taken in too.
    Raises: OneClassOnly; SettingInvalid for a share outside (0, 1].
    Source: van der Vaart 1998, Asymptotic Statistics, section 20.1 (delta method for functions of
    the distribution); Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    hits = (target > 0).astype(np.float64)
    prevalence = float(hits.mean())
    if prevalence in (0.0, 1.0):
        raise OneClassOnly(target="target", dataset="of the evaluation")
    top = _in_top(scores, share)
    rate = float(top @ hits) / float(top.sum())
    value = rate / prevalence
    unseen = Z95**2 / (float(top.sum()) + Z95**2)  # Wilson's limit of a share that was not met
    if rate == 0:
        return Interval(0.0, 0.0, unseen / prevalence)
    edge = _at_edge(hits, scores, share)
    moved = (top / share * (hits - edge) + edge - rate) / rate - (hits - prevalence) / prevalence
    factor = float(np.exp(Z95 * np.sqrt(np.mean(moved**2) / len(hits))))
    low = value / factor
    if rate > 1 - 1e-9:  # all but for rounding
        low = min(low, (1 - unseen) / prevalence)
    return Interval(value, low, value * factor)


def recall_at(target: Target, scores: FloatArray, share: float) -> float:
    """Return the share of all positives that are in the top `share` of rows.

    Ties as in `lift_in_top`. Raises: OneClassOnly; SettingInvalid for a share outside (0, 1].
    """
    hits = target > 0
    if not hits.any():
        raise OneClassOnly(target="target", dataset="of the evaluation")
    return float(_in_top(scores, share)[hits].sum()) / np.count_nonzero(hits)


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


def _in_top(scores: FloatArray, share: float) -> FloatArray:
    """Return how far each row is in the top `share`, (rows,): 1, 0, or a part of a tie's rows.

    Together they are share x rows. Raises: SettingInvalid for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise SettingInvalid(setting="share", problem="it must be above 0 and at most 1")
    wanted = share * len(scores)
    ordered = np.sort(scores)[::-1]
    edge = ordered[min(len(ordered), max(1, int(np.ceil(wanted)))) - 1]
    above, at = scores > edge, scores == edge
    room = (wanted - np.count_nonzero(above)) / np.count_nonzero(at)
    return np.where(above, 1.0, np.where(at, room, 0.0))


def _at_edge(hits: FloatArray, scores: FloatArray, share: float) -> float:
    """Return the share of positives among the rows next to the edge of the top."""
    outer = _in_top(scores, min(1.0, share * (1 + _NEAR)))
    near = outer - _in_top(scores, share * (1 - _NEAR))
    return float(near @ hits) / float(near.sum())
