"""The value report: what the partners' columns add, measured at the label owner on its holdout.

Guarantee: it is measured on aligned customers that no training looked at, and stays at this node.
Not guaranteed: that it holds for customers beyond the overlap, or for later ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.split_job import SplitJob
from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import Interval as Measured
from fedmkt.evaluation.metrics import auc_interval
from fedmkt.evaluation.value import auc_gain, lift_in_top, verdict
from fedmkt.evidence.figures import AucInterval, Interval
from fedmkt.evidence.value_report import MeasuredValue, UnmeasuredValue, ValueReport
from fedmkt.node.vertical_data import Loaded, PricedTraining
from fedmkt.privacy.randomised_response import guess_accuracy
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.twin import Columns, train_alone


def value_report(
    job: VerticalJob, priced: PricedTraining, loaded: Loaded, scores: FloatArray
) -> ValueReport:
    """Return the value report of a run.

    Args: scores: the joint model's, of all aligned customers, (rows,).
    """
    columns = Columns(job.owner, priced.binnings[job.owner], loaded.rows.codes, loaded.least_bin)
    return measured_value(
        job,
        loaded.labels,
        scores,
        alone=lambda: train_alone(columns, loaded.labels, job.model).scores(loaded.rows.codes),
    )


def measured_value(
    job: VerticalJob | SplitJob,
    labels: NDArray[np.uint8],
    scores: FloatArray,
    *,
    alone: Callable[[], FloatArray],
) -> ValueReport:
    """Return the value report of a run.

    Args: labels: of all aligned customers, (rows,). scores: the joint model's. alone: gives those
        of the same kind of model over the owner's columns alone; both (rows,).
    """
    rows = training_rows(len(labels), job.model.holdout)
    target = labels[rows:]
    about = _about(job, rows, len(target))
    if not 0 < int(target.sum()) < len(target):
        problem = "the holdout has one class only; nothing can be measured"
        return UnmeasuredValue(**about, problem=problem)
    own, joint = alone()[rows:], scores[rows:]
    gain = auc_gain(target, own, joint)
    return MeasuredValue(
        **about,
        owner_auc=_auc(auc_interval(target, own)),
        joint_auc=_auc(auc_interval(target, joint)),
        owner_lift=_interval(lift_in_top(target, own)),
        joint_lift=_interval(lift_in_top(target, joint)),
        gain=_interval(gain),
        verdict=verdict(gain),
    )


def _about(job: VerticalJob | SplitJob, training: int, held_out: int) -> dict[str, Any]:
    labels, guessed = job.labels, None
    if labels.mode in ("label_private", "split_label_private"):
        assert labels.epsilon is not None
        guessed = guess_accuracy(labels.epsilon)
    return {
        "partners": job.partners,
        "mode": labels.mode,
        "epsilon": labels.epsilon,
        "guess_accuracy": guessed,
        "training_rows": training,
        "holdout_rows": held_out,
        "scores_seen": isinstance(job, SplitJob) or len(job.partners) == 1,
    }


def _auc(one: Measured) -> AucInterval:
    return AucInterval(value=one.value, low=one.low, high=one.high)


def _interval(one: Measured) -> Interval:
    return Interval(value=one.value, low=one.low, high=one.high)
