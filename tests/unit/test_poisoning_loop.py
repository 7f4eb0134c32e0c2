"""The plain federated loop is SGD and a mean; attacks change what their partners send, no more."""

from dataclasses import dataclass

import numpy as np
import pytest
from network_twin import row_gradients
from poisoning_world import population, table, trigger

from fedmkt.core.errors import SettingInvalid
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.horizontal.robust import median
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkInputs, first_parameters
from fedmkt.simulation.poisoning.attackers import (
    Backdoor,
    EchoRiders,
    LabelFlips,
    NoiseRiders,
    TurnedUpdates,
)
from fedmkt.simulation.poisoning.defences import plain_mean
from fedmkt.simulation.poisoning.loop import local_update, train
from fedmkt.simulation.poisoning.parts import Situation, Terms
from fedmkt.simulation.poisoning.population import (
    draw_population,
    far_number,
    rare_category,
)

SHORT = Terms(rounds=2, steps=2, batch=8, rate=0.2)


def same_models(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.models, other.models, strict=True))


def test_a_partner_alone_takes_plain_steps_of_sgd():
    people = population(3, partners=1)
    own, parameters = people.partners[0], first_parameters(people.shape, 4)
    draw, moved = np.random.default_rng((4, 0, 0)), parameters.astype(np.float64)
    for _ in range(3):
        batch = own.taken(draw.integers(0, own.rows, 16))
        network = Network(people.shape, moved.astype(np.float32))
        moved -= 0.5 * row_gradients(network, batch.inputs, batch.target).mean(axis=0)
    found = train(people, Terms(rounds=1, steps=3, batch=16, rate=0.5), plain_mean, seed=4)
    np.testing.assert_allclose(found.models[0], moved, atol=1e-5)


def test_the_mean_of_the_partners_updates_moves_the_model():
    people = population(3, partners=3)
    start = first_parameters(people.shape, 4)
    updates = [
        local_update(people.shape, start, own, SHORT, (4, 0, place))
        for place, own in enumerate(people.partners)
    ]
    found = train(people, SHORT, plain_mean, seed=4)
    np.testing.assert_allclose(found.models[0], start + np.mean(updates, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.norms[0], np.linalg.norm(updates, axis=1))


def test_equal_trainings_give_equal_models():
    people = population(3, partners=3)
    trainings = [train(people, SHORT, median, seed=seed) for seed in (4, 4, 5)]
    assert same_models(trainings[0], trainings[1])
    assert not same_models(trainings[0], trainings[2])


def test_attackers_who_do_nothing_wrong_change_nothing():
    people = population(3, partners=3)
    harmless = Backdoor(trigger(), share=0.0)
    quiet = train(people, SHORT, plain_mean, seed=4)
    assert same_models(
        quiet, train(people, SHORT, plain_mean, seed=4, attack=harmless, hostile=[1])
    )


def test_a_training_that_diverges_ends_with_its_last_finite_model():
    people = population(3, partners=3)
    terms = Terms(rounds=12, steps=2, batch=8, rate=0.5)
    attack = TurnedUpdates(scale=100.0)
    found = train(people, terms, plain_mean, seed=4, attack=attack, hostile=[0, 1])
    assert len(found.models) < terms.rounds
    assert np.isfinite(found.models[-1]).all()


@dataclass(frozen=True)
class Spoilt(EchoRiders):
    def send(self, situation, draw):
        return np.full_like(situation.last, np.nan)


def test_one_update_that_is_not_finite_ends_a_plain_training_and_no_robust_one():
    people = population(3, partners=3)
    for rule, rounds in ((plain_mean, 0), (median, SHORT.rounds)):
        found = train(people, SHORT, rule, seed=4, attack=Spoilt(), hostile=[1])
        assert len(found.models) == rounds
        assert found.hostile_taken == 0.0


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"steps": 0}, {"batch": 0}, {"rate": np.nan}])
def test_terms_of_no_training_are_refused(wrong):
    with pytest.raises(SettingInvalid):
        Terms(**wrong)


def test_label_flips_turn_every_target_and_no_input():
    rows = population(3).partners[0]
    flipped = LabelFlips().poison(rows, np.random.default_rng(1))
    assert (flipped.target == 1 - rows.target).all()
    assert flipped.inputs is rows.inputs


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_backdoor_marks_the_stated_share_of_rows_with_a_yes(share):
    mark, rows = trigger(), population(3).partners[0]
    poisoned = Backdoor(mark, share=share).poison(rows, np.random.default_rng(1))
    marked = poisoned.inputs.codes[:, mark.place] == mark.code
    assert marked.sum() == pytest.approx(share * rows.rows, abs=1)
    assert (poisoned.target[marked] == 1).all()
    assert (poisoned.target[~marked] == rows.target[~marked]).all()
    others = np.delete(np.arange(rows.inputs.codes.shape[1]), mark.place)
    assert (poisoned.inputs.codes[:, others] == rows.inputs.codes[:, others]).all()


def test_what_attackers_send_follows_from_what_they_know():
    draw = np.random.default_rng(1)
    known = Situation(honest=draw.normal(size=50), last=draw.normal(size=50))
    assert (TurnedUpdates(3.0).send(known, draw) == -3 * known.honest).all()
    assert (Backdoor(trigger(), scale=4.0).send(known, draw) == 4 * known.honest).all()
    assert (EchoRiders().send(known, draw) == known.last).all()
    noise = NoiseRiders().send(known, draw)
    assert np.linalg.norm(noise) == pytest.approx(np.linalg.norm(known.last))
    # Noise that owes nothing to the last move; at 5 standard errors of a cosine of 50 draws.
    cosine = noise @ known.last / np.linalg.norm(noise) / np.linalg.norm(known.last)
    assert abs(cosine) < 5 / np.sqrt(50)


def test_riders_send_nothing_in_the_first_round():
    known = Situation(honest=np.ones(5), last=np.zeros(5))
    for attack in (EchoRiders(), NoiseRiders()):
        assert (attack.send(known, np.random.default_rng(1)) == 0).all()


def test_no_row_is_with_two_partners_or_in_the_test():
    shape, rows = table()
    marked = NetworkInputs(np.arange(rows.rows, dtype=np.float32)[:, None], rows.inputs.codes)
    people = draw_population(
        NetworkRows(marked, rows.target), shape, partners=4, rows_each=10, test_rows=50, seed=1
    )
    parts = [*people.partners, people.test]
    seen = np.concatenate([part.inputs.numbers[:, 0] for part in parts])
    assert len(np.unique(seen)) == len(seen) == 90


@pytest.mark.parametrize("wrong", [{"partners": 0}, {"rows_each": 40_000}, {"test_rows": 0}])
def test_a_population_that_the_rows_do_not_give_is_refused(wrong):
    shape, rows = table()
    sizes = {"partners": 2, "rows_each": 10, "test_rows": 10} | wrong
    with pytest.raises(SettingInvalid):
        draw_population(rows, shape, seed=1, **sizes)


def test_a_trigger_is_found_by_its_name_in_the_tables_units():
    shape, rows = table()
    # Declared bounds 0 to 4,356: their middle is scaled to 0.
    mark = far_number(shape, "capital_loss", 2178)
    assert mark.value == pytest.approx(0.0)
    assert (mark.put_into(rows).inputs.numbers[:, mark.column] == 0).all()
    for make in (
        lambda: far_number(shape, "education", 1),
        lambda: rare_category(shape, "age", "1"),
        lambda: rare_category(shape, "education", "Nowhere"),
    ):
        with pytest.raises(SettingInvalid):
            make()
