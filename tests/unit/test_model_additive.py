import json
import math
from dataclasses import replace

import numpy as np
import pytest

from fedmkt.core.errors import MessageInvalid, SettingInvalid
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.models.additive import AdditiveModel, zero_model
from fedmkt.models.tasks import Propensity

BINNING = Binning(
    (
        FeatureBins("spend", ("low", "middle", "high"), (10.0, 20.0), True),
        FeatureBins("region", ("north", "south"), (), False),
    )
)
MODEL = AdditiveModel(BINNING, -1.0, np.array([-0.5, 0.0, 0.5, 0.1, -0.1]))


def test_a_score_is_intercept_plus_one_effect_a_feature() -> None:
    codes = np.array([[0, 0], [2, 1]], dtype=np.uint16)
    np.testing.assert_allclose(MODEL.scores(codes), [-1.0 - 0.5 + 0.1, -1.0 + 0.5 - 0.1])
    np.testing.assert_allclose(
        MODEL.probabilities(codes), [1 / (1 + math.exp(1.4)), 1 / (1 + math.exp(0.6))]
    )


def test_zero_model_gives_everybody_one_half() -> None:
    assert zero_model(BINNING).probabilities(np.array([[1, 1]], dtype=np.uint16)) == [0.5]


def test_shape_returns_labels_and_effects_that_may_be_changed_freely() -> None:
    labels, effects = MODEL.shape("region")
    assert labels == ("north", "south")
    effects += 1
    np.testing.assert_array_equal(MODEL.shape("region")[1], [0.1, -0.1])
    with pytest.raises(KeyError):
        MODEL.shape("race")


def test_a_model_survives_json_to_the_last_bit() -> None:
    exact = replace(MODEL, intercept=0.1 + 0.2, effects=MODEL.effects / 3)
    back = AdditiveModel.from_json(json.loads(json.dumps(exact.to_json())))
    assert back.intercept == exact.intercept
    np.testing.assert_array_equal(back.effects, exact.effects)
    assert back.hash == exact.hash


def test_hash_tells_every_part_of_a_model_apart() -> None:
    nudged = MODEL.effects.copy()
    nudged[3] = np.nextafter(nudged[3], 1)
    other_bins = Binning((BINNING.features[0], replace(BINNING.features[1], name="area")))
    others = [
        replace(MODEL, intercept=-1.5),
        replace(MODEL, effects=nudged),
        replace(MODEL, binning=other_bins),
    ]
    assert len({model.hash for model in (MODEL, *others)}) == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", 2),
        ("family", "network"),
        ("intercept", math.nan),
        ("intercept", "high"),
        ("effects", [0.0] * 4),
        ("effects", [0.0, 0.0, math.inf, 0.0, 0.0]),
        ("surprise", 1),
    ],
)
def test_a_model_message_that_breaks_the_schema_is_refused(field: str, value: object) -> None:
    with pytest.raises(MessageInvalid):
        AdditiveModel.from_json({**MODEL.to_json(), field: value})


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(SettingInvalid):
        AdditiveModel.from_json({**MODEL.to_json(), "task": "fortune"})


def test_residuals_are_minus_the_slope_of_the_loss() -> None:
    """Central differences of the log loss, step 1e-6."""
    task, target = Propensity(), np.array([0, 1, 1], dtype=np.uint8)
    scores = np.array([-1.3, 0.4, 2.0])
    for place in range(3):
        step = np.zeros(3)
        step[place] = 1e-6
        slope = 3 * (task.loss(target, scores + step) - task.loss(target, scores - step)) / 2e-6
        assert task.residuals(target, scores)[place] == pytest.approx(-slope, abs=1e-6)


def test_log_odds_stay_finite_for_noised_prevalence_outside_the_unit_interval() -> None:
    task = Propensity()
    assert task.score_of(0.25) == pytest.approx(math.log(1 / 3))
    assert task.score_of(-0.4) == pytest.approx(math.log(0.001 / 0.999))
    assert task.score_of(7.0) == pytest.approx(math.log(0.999 / 0.001))
