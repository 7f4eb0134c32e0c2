"""Attacks on a split training find what is there, and find nothing where nothing is."""

import numpy as np
import pytest

from fedmkt.core.errors import OneClassOnly
from fedmkt.simulation.attacks.feature_inversion import invert_column
from fedmkt.simulation.attacks.label_inference import (
    infer_labels,
    labels_by_direction,
    labels_by_learning,
    labels_by_norm,
)
from fedmkt.simulation.attacks.result import mean_result

ROWS = 2000
RNG = np.random.default_rng(4)
TARGET = (RNG.random(ROWS) < 0.2).astype(np.uint8)
NOTHING = [RNG.normal(size=(ROWS, 4)).astype(np.float32) for _ in range(3)]
KNOWN = int(np.flatnonzero(TARGET)[0])


def slopes(direction: np.ndarray, yes: float, no: float) -> np.ndarray:
    """Return gradients (p - y) w of customers with one probability each."""
    residual = np.where(TARGET > 0, -yes, no) * RNG.uniform(0.8, 1.2, ROWS)
    return np.outer(residual, direction).astype(np.float32)


def test_a_gradient_by_one_direction_gives_every_label_to_one_known_yes():
    gradients = [slopes(np.array([1.0, -2.0, 0.5]), 0.7, 0.3)]
    found = labels_by_direction(gradients, TARGET, known=KNOWN, defence="none")
    assert (found.value, found.chance) == (1.0, 0.5)
    assert found.low <= found.value <= found.high


def test_a_known_yes_whose_label_was_flipped_gives_every_other_label_all_the_same():
    gradients = slopes(np.array([1.0, -2.0, 0.5]), 0.7, 0.3)
    gradients[KNOWN] = -gradients[KNOWN]
    asked = {"known": KNOWN, "defence": "random labels"}
    assert labels_by_direction([gradients], TARGET, **asked).value == 0.0
    known = np.arange(KNOWN + 1, KNOWN + 300)
    assert labels_by_direction([gradients], TARGET, turned_by=known, **asked).value == 1.0
    found = infer_labels([gradients], TARGET, known=known, defence="random labels")
    assert found[1].value == 1.0


def test_long_gradients_of_a_rare_yes_give_it_away():
    assert labels_by_norm([slopes(np.ones(3), 0.8, 0.2)], TARGET, defence="none").value == 1.0
    assert labels_by_norm([slopes(np.ones(3), 0.5, 0.5)], TARGET, defence="even").value < 0.6


def test_gradients_that_are_short_for_a_yes_give_it_away_too():
    assert labels_by_norm([slopes(np.ones(3), 0.2, 0.8)], TARGET, defence="none").value == 1.0


def test_gradients_that_say_nothing_give_nothing():
    for found in (
        labels_by_norm(NOTHING, TARGET, defence="pure noise"),
        labels_by_direction(NOTHING, TARGET, known=KNOWN, defence="pure noise"),
    ):
        assert found.low < 0.5 < found.high
        assert found.series[0].x == (1.0, 2.0, 3.0)


def test_more_rounds_of_noised_gradients_give_more():
    direction = np.array([1.0, 1.0, 1.0])
    gradients = [
        slopes(direction, 0.7, 0.3) + RNG.normal(0, 2.0, (ROWS, 3)).astype(np.float32)
        for _ in range(12)
    ]
    found = labels_by_direction(gradients, TARGET, known=KNOWN, defence="noised")
    assert found.series[0].y[-1] > found.series[0].y[0]


def test_known_labels_teach_to_read_the_others_through_noise():
    noise = [RNG.normal(0, 2.0, (ROWS, 3)).astype(np.float32) for _ in range(12)]
    gradients = [slopes(np.array([1.0, -1.0, 0.5]), 0.7, 0.3) + one for one in noise]
    known = np.arange(500)
    found = labels_by_learning(gradients, TARGET, known=known, defence="noised")
    one_yes = labels_by_direction(gradients, TARGET, known=KNOWN, defence="noised")
    assert found.low > one_yes.high
    nothing = labels_by_learning(noise, TARGET, known=known, defence="pure noise")
    assert nothing.low < 0.5 < nothing.high


def test_over_many_seeds_learning_finds_nothing_where_there_is_nothing():
    rng, found = np.random.default_rng(7), []
    for _ in range(40):
        target = (rng.random(300) < 0.25).astype(np.uint8)
        gradients = [rng.normal(size=(300, 4)).astype(np.float32)]
        known = rng.choice(300, 80, replace=False)
        found.append(labels_by_learning(gradients, target, known=known, defence="pure noise"))
    assert mean_result(found).low < 0.5 < mean_result(found).high


def test_labels_of_one_class_cannot_be_ranked():
    nobody = np.zeros(ROWS, dtype=np.uint8)
    with pytest.raises(OneClassOnly):
        infer_labels(NOTHING, nobody, known=np.arange(50), defence="none")


# --- columns ----------------------------------------------------------------------------------

CODES = RNG.choice(4, ROWS, p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint16)
HELD = np.sort(RNG.choice(ROWS, 300, replace=False))
CENTRES = RNG.normal(size=(4, 3))


def test_activations_that_follow_a_column_give_it_back():
    seen = [CENTRES[CODES].astype(np.float32)]
    found = invert_column(seen, CODES, HELD, defence="none")
    assert found.value == 1.0
    others = np.setdiff1d(np.arange(ROWS), HELD)
    usual = np.bincount(CODES[HELD]).argmax()
    assert found.chance == pytest.approx(np.mean(CODES[others] == usual))


def test_activations_that_say_nothing_give_the_commonest_value_at_best():
    found = invert_column(NOTHING, CODES, HELD, defence="pure noise")
    assert found.value <= found.chance + 0.03


def test_noise_on_activations_lowers_what_is_read_and_more_rounds_raise_it_again():
    clear = CENTRES[CODES].astype(np.float32)
    seen = [clear + RNG.normal(0, 1.5, clear.shape).astype(np.float32) for _ in range(10)]
    found = invert_column(seen, CODES, HELD, defence="noised")
    assert found.series[0].x == (1.0, 2.0, 4.0, 8.0, 10.0)
    assert found.series[0].y[0] < found.series[0].y[-1] < 1.0
    assert found.value > found.chance


def test_a_value_that_nobody_known_has_is_guessed_for_nobody():
    codes = np.where(np.isin(np.arange(ROWS), HELD), CODES % 3, CODES).astype(np.uint16)
    found = invert_column([CENTRES[codes].astype(np.float32)], codes, HELD, defence="none")
    others = np.setdiff1d(np.arange(ROWS), HELD)
    assert found.value <= np.mean(codes[others] != 3)
