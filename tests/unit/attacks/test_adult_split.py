"""A split training on Adult is the protocol's, and each attack reads what its member was sent."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedmkt.contract.split_job import SplitSettings
from fedmkt.data import bundled
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.simulation.attacks.adult_split import (
    attack_column,
    attack_labels,
    split_customers,
    train_customers,
)
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.split_twin import first_networks, train_split

ROWS, SEED = 800, 5
SETTINGS = SplitSettings(rounds=1, local_steps=1, width=6, top_width=5)
CUSTOMERS = split_customers(bundled.load("adult_train").head(ROWS))
TRAINED = training_rows(ROWS, SETTINGS.holdout)
KNOWN = np.arange(0, TRAINED, 5)
TWIN = train_customers(CUSTOMERS, SETTINGS, seed=SEED)
NOTHING = np.random.default_rng(1).normal(size=(ROWS, 3)).astype(np.float32)


def test_the_training_is_that_of_the_protocol_with_its_noise():
    noise = ReproducibleNoise(SEED).stream("shown")
    noised = SETTINGS.model_copy(update={"activation_noise": 0.5, "gradient_noise": 0.5})
    secrets = [f"{SEED} {one.name}".encode() for one in CUSTOMERS.parties]
    networks = first_networks(CUSTOMERS.parties, SETTINGS, secrets)
    args = CUSTOMERS.parties, CUSTOMERS.labels, noised
    np.testing.assert_array_equal(
        train_customers(CUSTOMERS, noised, seed=SEED).scores,
        train_split(*args, networks=networks, noise=noise).scores,
    )
    assert [one.name for one in CUSTOMERS.parties] == ["bank", "retailer", "map_provider"]
    assert CUSTOMERS.owners.parties == CUSTOMERS.parties[:1]


def test_labels_are_flipped_as_often_as_epsilon_says_and_the_rest_left_as_it_is():
    randomised = train_customers(CUSTOMERS, SETTINGS, seed=SEED, epsilon=1.0)
    np.testing.assert_array_equal(randomised.seen[0][0], TWIN.seen[0][0])
    # A gradient is (p - y) times a direction of the customer's own, which its label turns round.
    turned = np.sum(randomised.gradients[0][0] * TWIN.gradients[0][0], axis=1) < 0
    share = 1 / (1 + math.e)
    assert abs(turned.mean() - share) < 4 * math.sqrt(share * (1 - share) / TRAINED)


@pytest.mark.parametrize(("partner", "place"), [("retailer", 0), ("map_provider", 1)])
def test_a_partner_reads_labels_from_its_own_gradients_alone(partner, place):
    sent = [NOTHING[:TRAINED], NOTHING[:TRAINED]]
    residual = np.where(CUSTOMERS.labels[:TRAINED] > 0, -0.7, 0.3)
    sent[place] = np.outer(residual, [1.0, -2.0, 0.5]).astype(np.float32)
    twin = replace(TWIN, gradients=(tuple(sent),))
    for asked in ("retailer", "map_provider"):
        found = attack_labels(twin, CUSTOMERS, KNOWN, partner=asked, defence="none")
        assert [one.name for one in found] == [
            "labels by norm",
            "labels by direction",
            "labels by learning",
        ]
        assert (found[1].value == 1.0) == (asked == partner)


@pytest.mark.parametrize(("column", "place"), [("relationship", 0), ("occupation", 1)])
def test_the_owner_reads_a_column_from_the_activations_of_the_partner_that_has_it(column, place):
    values = bundled.load("adult_train").head(ROWS)[column].rank("dense").to_numpy()
    clear = np.eye(int(values.max()) + 1, dtype=np.float32)[values]
    for shown, right in ((place, True), (1 - place, False)):
        seen = [NOTHING, NOTHING]
        seen[shown] = clear
        twin = replace(TWIN, seen=((seen[0][:TRAINED], seen[1][:TRAINED]), tuple(seen)))
        found = attack_column(twin, CUSTOMERS, KNOWN, column=column, defence="none")
        assert found.name == f"feature inversion, {column}"
        assert (found.value > 0.97) == right


def test_a_column_that_no_partner_has_is_none():
    with pytest.raises(KeyError):
        attack_column(TWIN, CUSTOMERS, KNOWN, column="workclass", defence="none")
