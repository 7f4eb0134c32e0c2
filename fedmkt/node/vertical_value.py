"""The value report: what the partners' columns add, measured at the label owner on its holdout.

Guarantee: it is measured on aligned customers that no training looked at, and stays at this node.
Not guaranteed: that it holds for customers beyond the overlap, or for later ones.
"""

from typing import Any

from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import auc_interval
from fedmkt.evaluation.value import auc_gain, lift_in_top, verdict
from fedmkt.node.vertical_data import Loaded, PricedTraining
from fedmkt.privacy.randomised_response import guess_accuracy
from fedmkt.vertical.twin import Columns, train_alone


def value_report(
    job: VerticalJob, priced: PricedTraining, loaded: Loaded, scores: FloatArray
) -> dict[str, Any]:
    """Return the value report of a run, as plain values.

    Args: scores: the joint model's, of all aligned customers, (rows,).
    """
    rows = loaded.training(job)
    target = loaded.labels[rows:]
    value: dict[str, Any] = {
        "partners": list(job.partners),
        "mode": job.labels.mode,
        "epsilon": job.labels.epsilon,
        "training_rows": rows,
        "holdout_rows": len(target),
        "scores_seen": len(job.partners) == 1,
    }
    if job.labels.mode == "label_private":
        assert job.labels.epsilon is not None
        value["guess_accuracy"] = guess_accuracy(job.labels.epsilon)
    if not 0 < int(target.sum()) < len(target):
        return {**value, "problem": "the holdout has one class only; nothing can be measured"}
    binning = priced.binnings[job.owner]
    columns = Columns(job.owner, binning, loaded.rows.codes, loaded.least_bin)
    alone = train_alone(columns, loaded.labels, job.model).scores(loaded.rows.codes[rows:])
    joint = scores[rows:]
    gain = auc_gain(target, alone, joint)
    return {
        **value,
        "owner_auc": _plain(auc_interval(target, alone)),
        "joint_auc": _plain(auc_interval(target, joint)),
        "owner_lift": _plain(lift_in_top(target, alone)),
        "joint_lift": _plain(lift_in_top(target, joint)),
        "gain": _plain(gain),
        "verdict": verdict(gain),
    }


def _plain(interval: Any) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
