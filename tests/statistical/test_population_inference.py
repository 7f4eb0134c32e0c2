"""What a partner's part says of a label is what is true of the population, not of the customer.

A partner can rank its customers by its own part of the model and so guess labels better than by
chance. That is the model working. The question for privacy is whether it guesses the labels of
those who were trained on better than a twin that was trained without them.
"""

import numpy as np
import pytest

from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema, encode
from fedmkt.evaluation.metrics import auc
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.vertical.plan import calibrated_multiplier
from fedmkt.vertical.residuals import label_bound
from fedmkt.vertical.twin import Columns, Noise, train_twin

PARTIES = {
    "bank": ("age", "capital_gain", "hours_per_week", "workclass"),
    "map_provider": ("education", "occupation", "native_country"),
}
FEATURES = sum(len(columns) for columns in PARTIES.values())
CUSTOMERS, FOLDS = 4000, 4
SETTINGS = VerticalSettings(rounds=4, max_bins=32, step=(0.9, 0.7, 0.6, 0.5), holdout=0.0)


def columns_of(rows: np.ndarray, least: int = 20) -> tuple[list[Columns], np.ndarray]:
    schema, frame = bundled.schema("adult"), bundled.load("adult_train")[rows.tolist()]
    found = []
    for name, features in PARTIES.items():
        binning = binning_from_schema(schema, features, max_bins=SETTINGS.max_bins)
        found.append(Columns(name, binning, encode(frame, binning, dataset=name), least))
    target = (frame["income"] == schema.target_positive).to_numpy().astype(np.uint8)
    return found, target


def partners_guess(train: np.ndarray, asked: np.ndarray, noise: Noise | None, least: int) -> float:
    """Return how well the partner's part, trained on `train`, ranks the labels of `asked`."""
    parties, target = columns_of(train, least)
    part = train_twin(parties, target, SETTINGS, noise=noise).models[1]
    others, labels = columns_of(asked, least)
    return auc(labels, part.scores(others[1].codes))


def noise_at(epsilon: float, seed: int) -> Noise:
    multiplier = calibrated_multiplier(
        epsilon=epsilon, delta=1e-5, rounds=SETTINGS.rounds, features=FEATURES, bins=512
    )
    return Noise(multiplier * label_bound(FEATURES), ReproducibleNoise(seed))


def advantages(epsilon: float | None, least: int) -> list[float]:
    """Return, for each fold, what training on its customers adds to guessing their labels."""
    order = np.random.default_rng(3).permutation(32_561)[:CUSTOMERS]
    folds = np.array_split(order, FOLDS)
    found = []
    for place, asked in enumerate(folds):
        without = np.concatenate([fold for other, fold in enumerate(folds) if other != place])
        noises = [None if epsilon is None else noise_at(epsilon, 10 * place + k) for k in (1, 2)]
        with_them = partners_guess(order, asked, noises[0], least)
        found.append(with_them - partners_guess(without, asked, noises[1], least))
    return found


def test_with_noise_a_partner_guesses_trained_customers_no_better_than_others() -> None:
    found = advantages(epsilon=3.0, least=20)
    # The standard error of an AUC of 1,000 customers is about .017; of the mean of four, half.
    assert abs(float(np.mean(found))) < 0.02
    order = np.random.default_rng(3).permutation(32_561)[:CUSTOMERS]
    # It does guess: bins speak of the population, which no noise for one label can hide.
    assert partners_guess(order[1000:], order[:1000], noise_at(3.0, 1), 20) > 0.65


@pytest.mark.parametrize("least", [1])
def test_without_noise_and_with_bins_of_one_trained_customers_stand_out(least: int) -> None:
    """The test above can fail: a column that names customers gives their labels away."""
    order = np.random.default_rng(3).permutation(32_561)[:1000]
    parties, target = columns_of(order, least)
    names = parties[1].binning.features[0]
    # The partner brings a column with a bin for each customer.
    own = np.arange(len(order), dtype=np.uint16)[:, None]
    labels = tuple(str(number) for number in range(len(order)))
    single = type(names)("customer", labels, (), ordered=False)
    column = Columns("map_provider", type(parties[1].binning)((single,)), own, least)
    part = train_twin([parties[0], column], target, SETTINGS).models[1]
    assert auc(target, part.scores(own)) > 0.95
