"""Attacks on split trainings leave out of a training what is off, and nothing else."""

from typing import Any

import numpy as np
import pytest

from fedmkt.contract.split_job import SplitSettings
from fedmkt.evaluation.metrics import auc
from fedmkt.simulation.attacks.adult_split import SplitCustomers, train_customers
from fedmkt.simulation.scenario import attack_split
from fedmkt.simulation.scenario.attack_parts import STATED, Measured
from fedmkt.simulation.scenario.attack_schema_split import FeatureInversionPart, LabelInferencePart
from fedmkt.simulation.scenario.attack_words import LEARNT, MODEL
from fedmkt.vertical.residuals import training_rows

SMALL = {"customers": 400, "known": 60, "rounds": 2, "local_steps": 1, "activations": 3}
LABELS = LabelInferencePart(
    kind="label_inference", epsilon=2.0, gradient_bound=0.5, gradient_noise=0.7, **SMALL
)
COLUMNS = FeatureInversionPart(
    kind="feature_inversion", columns=("education",), activation_bound=2.0, **SMALL
)


class Trainings:
    """Notes what was trained, and trains it."""

    def __init__(self) -> None:
        self.noted: list[tuple[SplitCustomers, SplitSettings, float | None, Any]] = []

    def __call__(self, customers, settings, *, seed, epsilon=None):
        twin = train_customers(customers, settings, seed=seed, epsilon=epsilon)
        self.noted.append((customers, settings, epsilon, twin))
        return twin


@pytest.fixture
def trainings(monkeypatch) -> Trainings:
    noted = Trainings()
    monkeypatch.setattr(attack_split, "train_customers", noted)
    return noted


def test_labels_noise_and_clipping_are_off_as_the_defence_says(trainings) -> None:
    found = attack_split.run_label_inference(LABELS, 1)
    names = [one.result.defence for one in found if one.result.figure == LEARNT]
    assert names == [
        "random labels, noise and clipping off",
        "random labels off",
        "noise off",
        "all on",
    ]
    _, *levels = trainings.noted
    usual = LABELS.settings
    assert [(s.gradient_bound, s.gradient_noise, epsilon) for _, s, epsilon, _ in levels] == [
        (1e3, 0.0, None),
        (0.5, 0.7, None),
        (0.5, 0.0, 2.0),
        (0.5, 0.7, 2.0),
    ]
    defence = {"gradient_bound": usual.gradient_bound, "gradient_noise": usual.gradient_noise}
    assert {s.model_copy(update=defence) for _, s, _, _ in levels} == {usual}
    assert (usual.rounds, usual.local_steps, usual.activations) == (2, 1, 3)


def test_noise_alone_is_off_where_columns_are_read(trainings) -> None:
    attack_split.run_feature_inversion(COLUMNS, 1)
    _, *levels = trainings.noted
    assert [(s.activation_bound, s.activation_noise, e) for _, s, e, _ in levels] == [
        (2.0, 0.0, None),
        (2.0, 2.0, None),
    ]


def test_the_model_is_measured_on_customers_held_out_beside_the_owner_alone(trainings) -> None:
    found = attack_split.run_feature_inversion(COLUMNS, 1)
    (owner, _, _, alone), (customers, settings, _, twin), _ = trainings.noted
    assert [one.name for one in owner.parties] == ["bank"]
    held = slice(training_rows(400, settings.holdout), None)
    model = next(one.result for one in found if one.result.figure == MODEL)
    assert model.value == pytest.approx(auc(customers.labels[held], twin.scores[held]))
    assert model.chance == pytest.approx(auc(customers.labels[held], alone.scores[held]))


def figures(found: tuple[Measured, ...]) -> list[tuple[str, float]]:
    return [(one.result.figure, one.result.value) for one in found]


def test_a_seed_draws_customers_and_gives_the_same_figures_again(trainings) -> None:
    first = figures(attack_split.run_label_inference(LABELS, 1))
    assert figures(attack_split.run_label_inference(LABELS, 1)) == first
    assert figures(attack_split.run_label_inference(LABELS, 2)) != first
    one, other = trainings.noted[0][0], trainings.noted[-1][0]
    assert np.mean(one.parties[0].inputs.codes == other.parties[0].inputs.codes) < 1
    assert first[-1] == (STATED, 2.0)
