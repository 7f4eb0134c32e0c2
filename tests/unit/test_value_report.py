"""A value report is measured in full or not at all, and comes back from the file it is kept in."""

import json

import pytest
from pydantic import ValidationError

from fedmkt.evidence.value_report import MeasuredValue, UnmeasuredValue, value_report_from

ABOUT = {
    "partners": ["retailer", "map_provider"],
    "mode": "label_private",
    "epsilon": 3.0,
    "guess_accuracy": 0.95,
    "training_rows": 300,
    "holdout_rows": 100,
    "scores_seen": False,
}
FIGURES = {
    **{name: {"value": 0.7, "low": 0.6, "high": 0.8} for name in ("owner_auc", "joint_auc")},
    **{name: {"value": 2.5, "low": 2.0, "high": 3.0} for name in ("owner_lift", "joint_lift")},
    "gain": {"value": 0.004, "low": 0.003, "high": 0.005},
    "verdict": "worth_it",
}
PROBLEM = {"problem": "the holdout has one class only"}


@pytest.mark.parametrize(
    ("rest", "kind"), [(FIGURES, MeasuredValue), (PROBLEM, UnmeasuredValue)], ids=["all", "none"]
)
def test_a_report_comes_back_from_json(rest, kind):
    report = value_report_from({**ABOUT, **rest})
    assert type(report) is kind
    assert value_report_from(json.loads(json.dumps(report.document()))) == report
    assert report.document() == {**ABOUT, **rest}


@pytest.mark.parametrize("missing", sorted(FIGURES))
def test_a_report_with_a_figure_left_out_is_refused(missing):
    rest = {name: value for name, value in FIGURES.items() if name != missing}
    with pytest.raises(ValidationError):
        value_report_from({**ABOUT, **rest})


def test_a_report_with_figures_and_a_problem_is_refused():
    with pytest.raises(ValidationError):
        value_report_from({**ABOUT, **FIGURES, **PROBLEM})


def test_the_words_of_a_report_are_those_of_its_gain():
    report = value_report_from({**ABOUT, **FIGURES})
    assert isinstance(report, MeasuredValue)
    assert report.words("retailer") == (
        "retailer: worth it. The gain is shown (AUC +0.004, 95% interval +0.003 to +0.005)."
    )
