"""Networks trained by nodes are those one process trains, and the algorithms are their papers'."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from end_to_end.network_trial import network_job, parts_of, shape_of
from end_to_end.small_world import Trial, members_named, small_world

from fedmkt.contract.job import NetworkJob
from fedmkt.horizontal.network_plan import UNIT, shared_length
from fedmkt.horizontal.network_server import advanced, counted, initial_network, result
from fedmkt.horizontal.network_together import train_pooled_network, train_together
from fedmkt.horizontal.network_update import (
    Asked,
    NetworkRows,
    count_update,
    round_update,
)
from fedmkt.models.network import Network
from fedmkt.models.network_shape import first_parameters
from fedmkt.privacy.mechanisms import ReproducibleNoise

MEMBERS = members_named(3)
SEED = 7
RUN = "run-1"


def noise_of(members: tuple[str, ...]) -> dict[str, ReproducibleNoise]:
    """Return the sources that `small_world` gives its nodes."""
    return {
        member: ReproducibleNoise(SEED * len(members) + number)
        for number, member in enumerate(members)
    }


def together(job: NetworkJob) -> np.ndarray:
    shape = shape_of(job)
    parts = parts_of(job.members, shape)
    state, _ = train_together(parts, job, shape, noise_of(job.members), run=RUN)
    return result(state, job).parameters


@pytest.mark.parametrize(
    "model",
    [
        {"algorithm": "fedsgd", "server": {"rule": "fedadam", "rate": 0.1, "average": 0.5}},
        {"algorithm": "fedavg", "width": 4, "blocks": 1, "sampling_rate": 0.5},
        {"algorithm": "fedprox", "proximal": 0.1, "server": {"rule": "fedyogi", "rate": 0.1}},
        {"algorithm": "scaffold", "width": 4, "server": {"rule": "fedavgm"}},
        {"algorithm": "fedavg", "personal_head": True, "width": 4},
    ],
    ids=lambda model: model["algorithm"],
)
@pytest.mark.parametrize("trust", ["none", "local"])
def test_nodes_train_the_network_that_one_process_trains(tmp_path: Path, model, trust):
    world = small_world(tmp_path, modes=(trust,), noise_seed=SEED)
    job = network_job(world.members, trust=trust, **model)
    outcome = Trial(world).run(job, RUN)
    world.close()
    np.testing.assert_array_equal(outcome.model.parameters, together(job))
    assert outcome.rounds == job.model.rounds


def test_shared_noise_adds_up_in_the_sum_of_gradients(tmp_path: Path):
    world = small_world(tmp_path, noise_seed=SEED)
    job = network_job(world.members, trust="distributed", algorithm="fedsgd", sampling_rate=0.5)
    outcome = Trial(world).run(job, RUN)
    world.close()
    np.testing.assert_array_equal(outcome.model.parameters, together(job))


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum"])
def test_updates_that_are_seen_are_joined_by_the_rule_at_nodes_as_in_one_process(
    tmp_path: Path, rule: str
):
    world = small_world(tmp_path, members=5, noise_seed=SEED, updates_seen=True)
    faulty = {"faulty": 1} if rule != "median" else {}
    joining = {"joining": {"rule": rule, **faulty}}
    job = network_job(world.members, trust="local", width=4, **joining)
    outcome = Trial(world).run(job, RUN)
    world.close()
    np.testing.assert_array_equal(outcome.model.parameters, together(job))
    # Open, one exchange for the count and each round, close.
    assert outcome.exchanges == 1 + 1 + job.model.rounds + 1


def test_full_gradients_of_all_partners_are_those_of_the_rows_pooled():
    job = network_job(MEMBERS, algorithm="fedsgd", width=4, server={"rate": 0.5})
    shape = shape_of(job)
    parts = parts_of(MEMBERS, shape)
    pooled = train_pooled_network(list(parts.values()), job, shape, ReproducibleNoise(0))
    # Sums of rows are rounded to the grid, and to single precision in another order.
    np.testing.assert_allclose(together(job), pooled.parameters, atol=2e-6)


def by_hand(
    job: NetworkJob, rows: NetworkRows, start: np.ndarray, drift: np.ndarray, pull: float
) -> np.ndarray:
    """Return the parameters after plain local steps, in double precision but for the slopes."""
    shape, place = shape_of(job), start.astype(np.float64)
    for _ in range(job.model.local_steps):
        network = Network(shape, place.astype(np.float32))
        slope = network.mean_slope(rows.inputs, rows.target) + drift + pull * (place - start)
        place = place - job.model.learning_rate * slope
    return place


@pytest.mark.parametrize("pull", [0.0, 2.0])
def test_a_round_of_fedprox_is_the_mean_of_partners_drawn_steps_by_their_customers(pull):
    algorithm = {"algorithm": "fedprox", "proximal": pull} if pull else {"algorithm": "fedavg"}
    job = network_job(MEMBERS, rounds=1, width=4, **algorithm)
    shape = shape_of(job)
    parts = parts_of(MEMBERS, shape)
    uneven = {
        member: rows.taken(np.arange(100 * (place + 1)))
        for place, (member, rows) in enumerate(parts.items())
    }
    start = first_parameters(shape, 0)
    reached = [by_hand(job, rows, start, np.zeros(shape.length), pull) for rows in uneven.values()]
    expected = np.average(reached, axis=0, weights=[1, 2, 3])
    state, _ = train_together(uneven, job, shape, noise_of(MEMBERS), run=RUN)
    np.testing.assert_allclose(result(state, job).parameters, expected, atol=2e-6)


def test_scaffold_keeps_the_control_variates_of_its_paper():
    job = network_job(MEMBERS, algorithm="scaffold", rounds=3, width=4)
    shape = shape_of(job)
    parts = parts_of(MEMBERS, shape)
    rate, steps = job.model.learning_rate, job.model.local_steps
    place = first_parameters(shape, 0).astype(np.float64)
    own = {member: np.zeros(shape.length) for member in MEMBERS}
    for _ in range(job.model.rounds):
        everybody = np.mean(list(own.values()), axis=0)
        reached = {}
        for member, rows in parts.items():
            start = place.astype(np.float32)
            drift = everybody - own[member]
            reached[member] = by_hand(job, rows, start, drift, 0.0)
            own[member] = own[member] - everybody + (place - reached[member]) / (steps * rate)
        place = np.mean(list(reached.values()), axis=0)
    state, memories = train_together(parts, job, shape, noise_of(MEMBERS), run=RUN)
    np.testing.assert_allclose(state.parameters, place, atol=1e-5)
    np.testing.assert_allclose(state.control, np.mean(list(own.values()), axis=0), atol=1e-4)
    for member in MEMBERS:
        np.testing.assert_allclose(memories[member].control, own[member], atol=1e-4)


def test_scaffold_meets_with_some_partners_away_as_its_paper_says():
    job = network_job(MEMBERS, algorithm="scaffold", rounds=1)
    shape = shape_of(job)
    values = np.zeros(shape.length + 1, dtype=np.int64)
    values[: shape.length] = round(-0.2 / UNIT) * 10
    values[shape.length] = round(10 / UNIT)  # of 10 customers, each moved by -0.2
    state = counted(initial_network(job, shape), np.array([2**26 * 10]))
    state = replace(state, control=np.full(shape.length, 0.3))
    along = 0.2 / (job.model.local_steps * job.model.learning_rate)
    after = advanced(state, job, values, survivors=2)
    expected = 0.3 + 2 / 3 * (along - 0.3)
    np.testing.assert_allclose(after.control, expected, rtol=1e-6)


def test_a_personal_head_stays_at_its_partner():
    job = network_job(MEMBERS, personal_head=True, width=4, rounds=2)
    shape = shape_of(job)
    parts = parts_of(MEMBERS, shape)
    state, memories = train_together(parts, job, shape, noise_of(MEMBERS), run=RUN)
    shared = shared_length(job, shape)
    start = first_parameters(shape, 0)
    np.testing.assert_array_equal(state.parameters[shared:], start[shared:])
    assert (state.parameters[:shared] != start[:shared]).any()
    heads = [memories[member].head for member in MEMBERS]
    assert all(len(head) == shape.length - shared and head.any() for head in heads)
    # What leaves is the shared part and the weight; the next round starts from one's own head.
    asked = Asked(3, state.parameters, np.empty(0, np.float32))
    stream = ReproducibleNoise(0).key_stream("a")
    update, kept = round_update(parts[MEMBERS[0]], job, shape, memories[MEMBERS[0]], asked, stream)
    assert len(update.values) == shared + 1
    other = replace(memories[MEMBERS[0]], head=heads[1])
    stream = ReproducibleNoise(0).key_stream("a")
    elsewhere, _ = round_update(parts[MEMBERS[0]], job, shape, other, asked, stream)
    assert (kept.head != heads[0]).any()
    assert (elsewhere.values != update.values).any()


def test_a_partner_says_how_many_customers_it_has_without_noise_only_where_the_job_has_none():
    shape = shape_of(network_job(MEMBERS))
    rows = parts_of(MEMBERS, shape)[MEMBERS[0]]
    bare, memory = count_update(rows, network_job(MEMBERS), ReproducibleNoise(1))
    assert (bare.values[0] / 2**26, memory.customers) == (rows.rows, rows.rows)
    noised, memory = count_update(rows, network_job(MEMBERS, trust="local"), ReproducibleNoise(1))
    assert noised.values[0] / 2**26 != rows.rows
    assert memory.customers == noised.values[0] / 2**26
