"""A report that contradicts itself cannot be made."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fedmkt.evidence.figures import AucInterval
from fedmkt.evidence.report import CapUse, ModelResult, Report, Shape

DOCUMENT = json.loads((Path(__file__).parents[1] / "contract" / "report_v1.json").read_text())
NOISED = next(model for model in DOCUMENT["models"] if model["epsilon"] is not None)
PLAIN = next(model for model in DOCUMENT["models"] if model["epsilon"] is None)
STEPS = next(shape for shape in DOCUMENT["shapes"] if shape["edges"])


def report_with(part: str, **changes: Any) -> Report:
    document = copy.deepcopy(DOCUMENT)
    document[part][0].update(changes)
    return Report.model_validate(document)


@pytest.mark.parametrize(
    ("low", "value", "high"), [(0.6, 0.5, 0.7), (0.4, 0.8, 0.7), (0, 0.5, 1.1)]
)
def test_an_interval_holds_its_value_and_stays_between_0_and_1(
    low: float, value: float, high: float
) -> None:
    with pytest.raises(ValidationError):
        AucInterval(value=value, low=low, high=high)


@pytest.mark.parametrize("key", ["epsilon", "delta"])
def test_a_model_with_noise_states_epsilon_and_delta(key: str) -> None:
    with pytest.raises(ValidationError, match="trust"):
        ModelResult.model_validate({**NOISED, key: None})


@pytest.mark.parametrize(("key", "value"), [("epsilon", 1.0), ("delta", 1e-5)])
def test_a_model_without_noise_claims_no_epsilon(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match="trust"):
        ModelResult.model_validate({**PLAIN, key: value})


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_is_finite_and_above_zero(epsilon: float) -> None:
    with pytest.raises(ValidationError):
        ModelResult.model_validate({**NOISED, "epsilon": epsilon})


def test_the_headline_of_several_draws_is_their_median() -> None:
    draws = [0.5, 0.6, NOISED["auc"]["value"], 0.98, 0.99]
    assert ModelResult.model_validate({**NOISED, "draws": draws}).draws == tuple(draws)
    with pytest.raises(ValidationError, match="median"):
        ModelResult.model_validate({**NOISED, "draws": [*draws, 0.99, 0.99]})


@pytest.mark.parametrize("epsilon", [0.0, 0.5 * NOISED["epsilon"], NOISED["epsilon"]])
def test_a_model_costs_at_most_the_epsilon_it_states(epsilon: float) -> None:
    measured = ModelResult.model_validate({**NOISED, "measured_epsilon": epsilon})
    assert measured.measured_epsilon == epsilon
    for model in (NOISED, PLAIN):
        above = (model["epsilon"] or 0.0) + 1e-6
        with pytest.raises(ValidationError, match="at least what was measured"):
            ModelResult.model_validate({**model, "measured_epsilon": above})


def test_a_head_is_one_that_somebody_countersigned() -> None:
    for head, members in (("", ["retailer"]), ("3:" + "a" * 64, [])):
        with pytest.raises(ValidationError, match="somebody countersigned"):
            report_with("audit", head=head, countersigned_by=members, after_head=0)


def test_no_more_records_follow_a_head_than_there_are() -> None:
    assert report_with("audit", records=3, after_head=2).audit[0].after_head == 2
    with pytest.raises(ValidationError, match="no more records"):
        report_with("audit", records=3, after_head=4)


def test_without_a_seed_none_is_named() -> None:
    assert Report.model_validate({**DOCUMENT, "seed": None}).seed is None


def test_left_is_cap_minus_spent() -> None:
    assert CapUse(cap=3.0, spent=1.25, left=1.75).left == 1.75
    with pytest.raises(ValidationError, match="cap minus spent"):
        CapUse(cap=3.0, spent=1.25, left=1.8)


@pytest.mark.parametrize(("cap", "spent"), [(None, 1.0), (3.0, None), (None, None)])
def test_without_a_cap_or_a_bound_nothing_is_left(cap: float | None, spent: float | None) -> None:
    assert CapUse(cap=cap, spent=spent, left=None).left is None
    with pytest.raises(ValidationError):
        CapUse(cap=cap, spent=spent, left=1.0)


def test_spent_is_never_more_than_the_cap() -> None:
    with pytest.raises(ValidationError):
        CapUse(cap=1.0, spent=1.5, left=-0.5)


@pytest.mark.parametrize("part", ["budget", "refusals", "audit"])
def test_a_stranger_among_the_partners_is_refused(part: str) -> None:
    with pytest.raises(ValidationError, match="no partner is called stranger"):
        report_with(part, partner="stranger")


@pytest.mark.parametrize("part", ["curves", "shapes", "rounds", "known_to_several", "protection"])
def test_an_unknown_model_is_refused(part: str) -> None:
    with pytest.raises(ValidationError, match="no model is called stranger"):
        report_with(part, model="stranger")


@pytest.mark.parametrize("part", ["partners", "models"])
def test_names_are_distinct(part: str) -> None:
    with pytest.raises(ValidationError, match="a name of its own"):
        report_with(part, name=DOCUMENT[part][1]["name"])


def test_a_curve_has_one_length() -> None:
    with pytest.raises(ValidationError, match="one length"):
        report_with("curves", tpr=[0.0, 1.0])


def test_an_ordered_shape_has_one_bin_more_than_edges_or_one_for_missing() -> None:
    edges = STEPS["edges"]
    for bins, fits in ((0, False), (1, True), (2, True), (3, False)):
        count = len(edges) + bins
        changed = {**STEPS, "labels": ["x"] * count, "effects": [0.0] * count}
        if fits:
            assert len(Shape.model_validate(changed).effects) == count
        else:
            with pytest.raises(ValidationError, match="one bin more"):
                Shape.model_validate(changed)


def test_edges_rise() -> None:
    with pytest.raises(ValidationError, match="rise"):
        Shape.model_validate({**STEPS, "edges": STEPS["edges"][::-1]})


def test_a_report_is_frozen() -> None:
    report = Report.model_validate(DOCUMENT)
    with pytest.raises(ValidationError, match="frozen"):
        report.seed = 8  # type: ignore[misc]
