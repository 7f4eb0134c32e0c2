"""One partner's bare update gives its rows away; masked and noised it gives a guess."""

import numpy as np
import pytest
from network_twin import random_network, random_rows, small_shape

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.keystream import KeyStream
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.simulation.attacks.inversion import attack_inversion
from fedmkt.simulation.attacks.inversion_descent import Descents, matching_reader

SHAPE = small_shape(4, [6, 5], 64, 1)
NETWORK = random_network(SHAPE, 1)


def bare(rows: int, seed: int):
    inputs, target = random_rows(SHAPE, rows, seed)
    return inputs, clipped_sum(NETWORK.traces(inputs, target), clip_norm=1e9)


def attack(update, inputs):
    return attack_inversion(update, NETWORK, inputs, np.random.default_rng(1), defence="")


def test_a_single_row_is_read_back_whole():
    for seed in range(10):
        inputs, update = bare(1, seed)
        assert attack(update, inputs).value == 1.0


def test_most_of_a_small_batch_is_read_back():
    found = []
    for seed in range(10):
        inputs, update = bare(3, seed)
        found.append(attack(update, inputs))
    assert np.mean([one.value for one in found]) > 0.7
    assert np.mean([one.chance for one in found]) < 0.3


def test_the_masked_and_noised_sum_of_three_partners_gives_no_more_than_a_guess():
    terms = DpSgdTerms(1.0, 1.0, 1.0, 1, SHAPE.length)
    found = []
    for seed in range(20):
        inputs, target = random_rows(SHAPE, 2, seed)
        total = np.zeros(SHAPE.length)
        for partner in range(3):
            own = (inputs, target) if partner == 0 else random_rows(SHAPE, 2, 100 * partner + seed)
            stream = KeyStream(bytes([seed, partner] * 16))
            update = noised_sum(NETWORK.traces(*own), terms, stream)
            total += update.values * terms.grid.unit
        found.append(attack(total, inputs))
    value, chance = (np.mean([getattr(one, name) for one in found]) for name in ("value", "chance"))
    # 20 batches of 12 cells: a standard error of about .03; the matched guess of both is as good.
    assert value < chance + 0.1


def test_a_network_without_a_hidden_layer_is_refused():
    shape = small_shape(4, [6], 0, 0)
    network = random_network(shape, 1)
    inputs, _ = random_rows(shape, 1, 1)
    with pytest.raises(SettingInvalid):
        attack_inversion(
            np.zeros(shape.length), network, inputs, np.random.default_rng(1), defence=""
        )


@pytest.mark.parametrize("protected", [False, True])
def test_descent_reads_a_bare_update_and_only_guesses_at_a_noised_sum(protected):
    shape = small_shape(3, [4, 3], 16, 0)
    network = random_network(shape, 2)
    inputs, target = random_rows(shape, 2, 3)
    update = clipped_sum(network.traces(inputs, target), clip_norm=1e9)
    if protected:
        for seed in (4, 5):
            update = update + clipped_sum(
                network.traces(*random_rows(shape, 2, seed)), clip_norm=1e9
            )
        update = update + np.random.default_rng(6).normal(0, 1.0, shape.length)
    found = attack_inversion(
        update,
        network,
        inputs,
        np.random.default_rng(1),
        defence="",
        read=matching_reader(target, Descents(starts=2, steps=200)),
    )
    # Two rows of six cells each.
    assert (found.value > 0.5) == (not protected)
