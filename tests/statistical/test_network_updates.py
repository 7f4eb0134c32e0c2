"""The noise in what leaves a network's partner has the scale that its event states."""

import numpy as np
import pytest
from end_to_end.network_trial import network_job, parts_of, shape_of
from end_to_end.small_world import members_named
from statistical.noise_checks import variance_fits

from fedmkt.core.keystream import KeyStream
from fedmkt.horizontal import network_update
from fedmkt.horizontal.network_plan import COUNT, UNIT, network_releases, step_terms
from fedmkt.horizontal.network_update import Asked, Memory, count_update, round_update
from fedmkt.models.network_shape import first_parameters
from fedmkt.privacy.dp_sgd.poisson import draw_customers
from fedmkt.privacy.events import GaussianEvent, PoissonGaussianEvent
from fedmkt.privacy.mechanisms import OsNoise

MEMBERS = members_named(3)
FALSE_ALARM = 1e-6
DRAWS = 60


def differences(job, memory: Memory, *, scale: float) -> np.ndarray:
    """Return differences of two updates of the same round, each divided by `scale`."""
    shape = shape_of(job)
    rows = parts_of(MEMBERS, shape)[MEMBERS[0]]
    asked = Asked(1, first_parameters(shape, 0), np.empty(0, np.float32))
    drawn = [
        round_update(rows, job, shape, memory, asked, KeyStream.fresh())[0].values[: shape.length]
        for _ in range(DRAWS)
    ]
    pairs = np.array(drawn[::2]) - np.array(drawn[1::2])
    return (pairs / (scale * np.sqrt(2))).ravel()


def check(values: np.ndarray) -> None:
    assert variance_fits(values, 1.0, false_alarm=FALSE_ALARM)
    assert not variance_fits(values, 2 / 3, false_alarm=FALSE_ALARM)
    assert not variance_fits(values, 3 / 2, false_alarm=FALSE_ALARM)


@pytest.mark.parametrize("trust", ["local", "distributed"])
def test_a_sum_of_gradients_carries_the_noise_of_its_event(trust):
    job = network_job(MEMBERS, trust=trust, algorithm="fedsgd", width=4)
    event = network_releases(job, shape_of(job))[1].event
    assert isinstance(event, PoissonGaussianEvent)
    check(differences(job, Memory(), scale=event.noise.sigma))


def test_a_partners_own_step_carries_the_noise_of_its_event():
    job = network_job(MEMBERS, trust="local", local_steps=1, width=4)
    terms = step_terms(job, shape_of(job))
    # The step divides by the noised count and the weight multiplies by it again.
    noise = terms.event.noise.sigma * terms.grid.unit * job.model.learning_rate
    check(differences(job, Memory(customers=123.0), scale=noise / UNIT))


def test_each_of_a_partners_own_steps_carries_noise_of_its_own():
    steps = 4
    job = network_job(MEMBERS, trust="local", local_steps=steps, width=4)
    shape = shape_of(job)
    terms = step_terms(job, shape)
    nobody = parts_of(MEMBERS, shape)[MEMBERS[0]].between(0, 0)
    asked = Asked(1, first_parameters(shape, 0), np.empty(0, np.float32))
    # Without rows a change is the sum of its steps' noise; were that the same, it would be wider.
    made = [
        round_update(nobody, job, shape, Memory(100.0), asked, KeyStream.fresh())[0].values[:-1]
        for _ in range(DRAWS)
    ]
    noise = terms.event.noise.sigma * terms.grid.unit * job.model.learning_rate
    check(np.concatenate(made) / (noise / UNIT * np.sqrt(steps)))


def test_customers_are_drawn_anew_for_every_step(monkeypatch: pytest.MonkeyPatch):
    drawn: list[np.ndarray] = []

    def noted(customers: int, rate: float, stream: KeyStream) -> np.ndarray:
        drawn.append(draw_customers(customers, rate, stream))
        return drawn[-1]

    monkeypatch.setattr(network_update, "draw_customers", noted)
    job = network_job(MEMBERS, trust="local", local_steps=3, sampling_rate=0.5)
    shape = shape_of(job)
    rows = parts_of(MEMBERS, shape)[MEMBERS[0]]
    asked = Asked(1, first_parameters(shape, 0), np.empty(0, np.float32))
    round_update(rows, job, shape, Memory(100.0), asked, KeyStream.fresh())
    assert len({one.tobytes() for one in drawn}) == len(drawn) == 3


def test_a_count_carries_the_noise_of_its_event():
    job = network_job(MEMBERS, trust="local")
    shape = shape_of(job)
    rows = parts_of(MEMBERS, shape)[MEMBERS[0]]
    event = network_releases(job, shape)[COUNT].event
    assert isinstance(event, GaussianEvent)
    drawn = [
        count_update(rows, job, OsNoise())[0].values[0] - rows.rows * 2**26 for _ in range(400)
    ]
    check(np.array(drawn) / event.sigma)
