"""The canary audit of DP-SGD: below the statement when honest, above it when a step is broken."""

from functools import partial

import numpy as np
import pytest
from network_twin import random_network, random_rows, row_gradients, small_shape

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import PrivateUpdate
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.noise import on_grid
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.simulation.attacks.canaries import CanaryAudit, audit
from fedmkt.simulation.attacks.network_canaries import (
    AuditedNetwork,
    gradient_places,
    joined,
    made_up_rows,
    norms,
    projections,
    single_parameters,
)
from fedmkt.simulation.attacks.network_training import Descent, Step

SHAPE = small_shape(4, [5, 4], 16, 1)
TERMS = DpSgdTerms(1.0, 5.0, 0.5, 12, SHAPE.length)
DELTA = 1e-5
EPSILON = epsilon_of([TERMS.event], DELTA)
CANARIES = 300


def broken(traces, terms, stream, *, noise: float, clip_norm: float) -> PrivateUpdate:
    """A step with a part of its noise, or another clip norm than its terms say."""
    honest = noised_sum(traces, terms, stream)
    exact = on_grid(clipped_sum(traces, clip_norm=terms.clip_norm), terms.grid).values
    total = on_grid(clipped_sum(traces, clip_norm=clip_norm), terms.grid).values
    left = np.rint((honest.values - exact) * noise).astype(np.int64)
    return PrivateUpdate(total + left, honest.sigma, honest.trust)


def audited(seed: int, step: Step = noised_sum, kind: str = "gradients") -> CanaryAudit:
    draw = np.random.default_rng(seed)
    inputs, target = random_rows(SHAPE, 300, seed)
    training = AuditedNetwork(
        SHAPE,
        TERMS,
        Descent(),
        EPSILON,
        DELTA,
        NetworkRows(inputs, target),
        kind,
        gradient_places(SHAPE, CANARIES, draw),
        made_up_rows(SHAPE, CANARIES, draw),
        KeyStream(bytes([seed]) * 32),
        step,
    )
    return audit(training, draw.random(CANARIES) < 0.5, defence="noise")


@pytest.mark.parametrize("kind", ["gradients", "customers"])
def test_the_bound_of_an_honest_training_stays_below_its_epsilon(kind):
    bounds = [audited(seed, kind=kind).result.value for seed in range(8)]
    assert max(bounds) < EPSILON
    # Customers' gradients lie too much alike for the bound to say much.
    assert (max(bounds) > 0.2) == (kind == "gradients")


@pytest.mark.parametrize(
    ("noise", "clip_norm"),
    [(0.0, 1.0), (0.1, 1.0), (1.0, 1e9)],
    ids=["no noise", "a tenth of the noise", "no clipping"],
)
def test_a_broken_step_is_found(noise, clip_norm):
    step = partial(broken, noise=noise, clip_norm=clip_norm)
    assert all(audited(seed, step).exceeds for seed in range(3))


def test_canaries_that_are_customers_miss_even_missing_noise():
    # What the docstring of `network_canaries` admits.
    step = partial(broken, noise=0.0, clip_norm=1.0)
    assert not any(audited(seed, step, "customers").exceeds for seed in range(3))


def test_half_of_the_noise_is_missed():
    # What the docstring of `canaries` admits.
    step = partial(broken, noise=0.5, clip_norm=1.0)
    assert not any(audited(seed, step).exceeds for seed in range(3))


def test_projections_and_norms_are_those_of_the_rows_gradients():
    network = random_network(SHAPE, 3)
    inputs, target = random_rows(SHAPE, 20, 3)
    gradients = row_gradients(network, inputs, target)
    traces = network.traces(inputs, target)
    vector = np.random.default_rng(4).normal(0, 1, SHAPE.length)
    assert norms(traces) == pytest.approx(np.linalg.norm(gradients, axis=1), rel=1e-4)
    assert projections(traces, vector) == pytest.approx(gradients @ vector, rel=1e-3, abs=1e-4)


def test_each_gradient_canary_fills_one_parameter_and_survives_clipping_at_full_length():
    places = np.arange(SHAPE.length)
    traces = single_parameters(SHAPE, places, length=10.0)
    assert norms(traces) == pytest.approx(10.0, rel=1e-6)
    for place in range(0, SHAPE.length, 17):
        one = single_parameters(SHAPE, places[place : place + 1], length=10.0)
        total = clipped_sum(one, clip_norm=1.0)
        assert total[place] == pytest.approx(1.0, abs=1e-6)
        assert np.linalg.norm(np.delete(total, place)) < 1e-3


def test_joined_traces_add_up():
    network = random_network(SHAPE, 5)
    rows = [random_rows(SHAPE, 6, seed) for seed in (1, 2)]
    both = [network.traces(*one) for one in rows]
    sums = [clipped_sum(one, clip_norm=1.0) for one in both]
    assert clipped_sum(joined(*both), clip_norm=1.0) == pytest.approx(sum(sums), abs=1e-5)


def test_more_gradient_canaries_than_parameters_are_refused():
    with pytest.raises(SettingInvalid):
        gradient_places(SHAPE, SHAPE.length + 1, np.random.default_rng(1))


@pytest.mark.slow
def test_of_many_honest_trainings_no_more_than_one_in_twenty_is_found_above_its_epsilon():
    audits = 100
    exceeding = sum(audited(seed).exceeds for seed in range(audits))
    assert exceeding <= audits / 20
