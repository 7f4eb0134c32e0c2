"""A step of DP-SGD: what it returns, the noise on it, and that trainings made of it learn."""

import numpy as np
import pytest
from network_twin import random_network, random_rows, small_shape
from scipy.stats import chi2
from sklearn.metrics import roc_auc_score

from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import PrivateUpdate
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkInputs, NetworkShape, first_parameters
from fedmkt.models.tasks import task_named
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.noise import SIGMA
from fedmkt.privacy.dp_sgd.poisson import draw_customers, rows_of
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import FLOAT_MARGIN, DpSgdTerms, mean_gradient

FALSE_ALARM = 1e-6  # of each check; a suite run daily for a century stays quiet
SHAPE = small_shape(3, [4, 3], 16, 1)


def noise_of(update: PrivateUpdate, exact: np.ndarray, terms: DpSgdTerms) -> np.ndarray:
    """Return the noise on a released sum, in units of the gradient."""
    return update.values * terms.grid.unit - exact


def scale_fits(noise: np.ndarray, sigma: float) -> bool:
    statistic = float(((noise / sigma) ** 2).sum())
    tail = min(chi2.cdf(statistic, noise.size), chi2.sf(statistic, noise.size))
    return bool(2 * tail > FALSE_ALARM)


@pytest.mark.parametrize(("clip_norm", "multiplier"), [(0.5, 1.0), (2.0, 0.6), (1.0, 30.0)])
def test_a_step_is_the_clipped_sum_with_the_multiplier_times_the_clip_norm_of_noise(
    clip_norm, multiplier
):
    shape = small_shape(6, [30], 64, 1)
    terms = DpSgdTerms(clip_norm, multiplier, 0.1, 1, shape.length)
    inputs, target = random_rows(shape, 50, 1)
    traces = random_network(shape, 1).traces(inputs, target)
    update = noised_sum(traces, terms, KeyStream.fresh())
    noise = noise_of(update, clipped_sum(traces, clip_norm=clip_norm), terms)
    sigma = multiplier * clip_norm * (1 + FLOAT_MARGIN)
    assert scale_fits(noise, sigma)
    for factor in (2 / 3, 3 / 2):
        assert not scale_fits(noise * factor, sigma)


def test_an_empty_batch_is_released_as_noise():
    inputs, target = random_rows(SHAPE, 0, 1)
    traces = random_network(SHAPE, 1).traces(inputs, target)
    update = noised_sum(traces, DpSgdTerms(1.0, 1.0, 0.1, 1, SHAPE.length), KeyStream.fresh())
    assert scale_fits(update.values.astype(float), SIGMA)


def test_partners_shares_of_the_noise_add_up_to_the_whole():
    partners = 4
    terms = DpSgdTerms(1.0, 3.0, 0.1, 1, SHAPE.length, shares=partners)
    total, exact = np.zeros(SHAPE.length), np.zeros(SHAPE.length)
    network = random_network(SHAPE, 2)
    for partner in range(partners):
        inputs, target = random_rows(SHAPE, 20, partner)
        traces = network.traces(inputs, target)
        exact += clipped_sum(traces, clip_norm=1.0)
        update = noised_sum(traces, terms, KeyStream.fresh(), trust="distributed")
        assert update.trust == "distributed"
        total += update.values * terms.grid.unit
    assert scale_fits(total - exact, 3.0 * (1 + FLOAT_MARGIN))


def train(shape: NetworkShape, *, multiplier: float, several_rows: bool) -> tuple[float, float]:
    """Return the AUC and the loss of a network trained with DP-SGD on rows that are not linear."""
    draw = np.random.default_rng(3)
    inputs, _ = random_rows(shape, 6_000, 3)
    x = inputs.numbers
    strength = 4 * x[:, 0] * x[:, 1] + (inputs.codes[:, 0] == 1) * 1.5 - 0.5
    target = (draw.random(6_000) < 1 / (1 + np.exp(-strength))).astype(np.uint8)
    starts = np.arange(0, 6_001, 3 if several_rows else 1)
    terms = DpSgdTerms(1.0, multiplier, 0.1, 120, shape.length)
    drawing, noising = KeyStream.fresh(), KeyStream.fresh()
    parameters, speed = first_parameters(shape, 5), np.zeros(shape.length)
    for _ in range(terms.steps):
        drawn = draw_customers(len(starts) - 1, terms.sampling_rate, drawing)
        rows, customers = rows_of(drawn, starts)
        batch = NetworkInputs(inputs.numbers[rows], inputs.codes[rows])
        traces = Network(shape, parameters).traces(batch, target[rows])
        update = noised_sum(traces, terms, noising, customers=customers if several_rows else None)
        speed = 0.8 * speed + mean_gradient(update.values, terms, customers=len(starts) - 1)
        parameters = (parameters - 0.05 * speed).astype(np.float32)
    scores = Network(shape, parameters).scores(inputs)
    return roc_auc_score(target, scores), task_named("propensity").loss(target, scores)


@pytest.mark.parametrize("several_rows", [False, True])
def test_a_training_of_noised_steps_learns_what_no_linear_model_can(several_rows):
    auc, loss = train(SHAPE, multiplier=1.0, several_rows=several_rows)
    linear, _ = train(small_shape(3, [4, 3], 0, 0), multiplier=1.0, several_rows=several_rows)
    assert auc > linear + 0.05
    assert loss < np.log(2) - 0.05


def test_a_training_drowned_in_noise_learns_nothing():
    auc, _ = train(SHAPE, multiplier=300.0, several_rows=False)
    assert abs(auc - 0.5) < 0.2
