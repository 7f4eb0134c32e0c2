"""Membership inference finds who was in an overfitted network, and nobody with DP-SGD."""

from itertools import count

import numpy as np
import pytest
from network_twin import random_rows, small_shape

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.keystream import KeyStream
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.simulation.attacks.membership import attack_membership
from fedmkt.simulation.attacks.network_members import plain_trainer, private_trainer
from fedmkt.simulation.attacks.network_training import Descent

SHAPE = small_shape(12, [5, 4], 32, 0)
POOL = NetworkRows(
    *random_rows(SHAPE, 80, 1)
)  # targets at random: what is learnt is learnt by heart
MODELS = 16


def attack(trainer):
    draw = np.random.default_rng(7)
    return attack_membership(trainer, customers=80, models=MODELS, draw=draw, defence="")


def test_an_overfitted_network_gives_its_members_away():
    found = attack(plain_trainer(POOL, SHAPE, Descent(0.5, 0.9), steps=100))
    assert found.auc.value > 0.8
    assert found.at_low.value > 0.1
    assert found.at_low.low > found.at_low.chance


def test_with_dp_sgd_membership_is_at_chance():
    terms = DpSgdTerms(1.0, 6.0, 0.5, 10, SHAPE.length)
    assert epsilon_of([terms.event], 1e-5) < 1.6
    numbers = count()
    trainer = private_trainer(
        POOL, SHAPE, Descent(0.2), terms, lambda: KeyStream(bytes([next(numbers)]) * 32)
    )
    found = attack(trainer)
    assert found.auc.low < 0.5 < found.auc.high or abs(found.auc.value - 0.5) < 0.06
    assert found.at_low.value < 0.05


def test_an_attacker_of_coins_finds_nothing():
    draw = np.random.default_rng(3)
    found = attack(lambda inside: draw.normal(0, 1, inside.size))
    assert abs(found.auc.value - 0.5) < 0.08  # 640 against 640: five standard errors of .016
    assert found.at_low.value < 0.05


def test_a_model_that_tells_gives_everybody_away():
    draw = np.random.default_rng(3)
    found = attack(lambda inside: np.where(inside, 5.0, -5.0) + draw.normal(0, 0.1, inside.size))
    assert (found.auc.value, found.at_low.value, found.at_low.high) == (1.0, 1.0, 1.0)


def test_too_few_models_are_refused():
    with pytest.raises(SettingInvalid):
        attack_membership(
            lambda inside: inside * 1.0,
            customers=10,
            models=7,
            draw=np.random.default_rng(1),
            defence="",
        )
