"""An update's type says how it was made, and none leaves by itself without the dataset's word."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.network_trial import network_job, parts_of, shape_of
from end_to_end.small_world import SHORT, Trial, members_named, small_job, small_world

from fedmkt.contract.job import NetworkJob
from fedmkt.contract.permissions import UpdatesSeen
from fedmkt.core.errors import FedmktError, ModeNotAllowed
from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import NoiselessUpdate, PrivateUpdate, TrainedUpdate
from fedmkt.horizontal import network_update
from fedmkt.horizontal.network_plan import network_releases, planned_network
from fedmkt.horizontal.network_update import Asked, Memory, round_update
from fedmkt.models.network_shape import first_parameters
from fedmkt.node import network_training, training
from fedmkt.node.app import node_at
from fedmkt.node.home import NodeHome
from fedmkt.node.network_data import PricedNetwork
from fedmkt.node.network_training import NetworkTraining
from fedmkt.node.secure_sums import check_noised
from fedmkt.privacy.events import Event, NonPrivateEvent, PoissonGaussianEvent
from fedmkt.privacy.mechanisms import noise_event
from fedmkt.wire.run import OpenReply
from fedmkt.wire.training import UpdateRequest

MEMBERS = members_named(3)
PRICED = noise_event(l2_bound=1.0, noise_multiplier=1.0, shares=1, dimensions=1)
SAMPLED = PoissonGaussianEvent(noise=PRICED, sampling_rate=0.5, steps=1)
NOT_PRICED = NonPrivateEvent(dimensions=1)


def made(**stated: Any) -> object:
    """Return the update of a round of such a job."""
    job = network_job(MEMBERS, **stated)
    shape = shape_of(job)
    rows = parts_of(MEMBERS, shape)[MEMBERS[0]]
    asked = Asked(1, first_parameters(shape, 0), np.empty(0, np.float32))
    return round_update(rows, job, shape, Memory(100.0), asked, KeyStream.fresh())[0]


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        ({"trust": "local"}, TrainedUpdate),
        ({"trust": "none"}, NoiselessUpdate),
        ({"trust": "none", "clip_norm": 1.0}, NoiselessUpdate),
        ({"trust": "local", "algorithm": "fedsgd"}, PrivateUpdate),
        ({"trust": "none", "algorithm": "fedsgd"}, NoiselessUpdate),
    ],
)
def test_a_change_is_called_noised_where_its_steps_were(stated: dict[str, Any], kind: type) -> None:
    assert isinstance(made(**stated), kind)


def test_a_change_with_one_step_without_noise_is_noiseless_whatever_the_job_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest, steps = network_update.noised_sum, []

    def once_without(*asked: Any, **how: Any) -> PrivateUpdate:
        steps.append(len(steps))
        total = honest(*asked, **how)
        return PrivateUpdate(total.values, 0.0, total.trust) if len(steps) == 1 else total

    monkeypatch.setattr(network_update, "noised_sum", once_without)
    assert isinstance(made(trust="local", local_steps=3), NoiselessUpdate)
    assert len(steps) == 3


ONE = np.ones(1, dtype=np.int64)
NOISED = (PrivateUpdate(ONE, 1.0, "local"), TrainedUpdate(ONE))


@pytest.mark.parametrize(
    ("update", "event"),
    [
        (NoiselessUpdate(ONE), PRICED),
        *((update, NOT_PRICED) for update in NOISED),
        (PrivateUpdate(ONE, 2 / 3, "local"), PRICED),
        (PrivateUpdate(ONE, 2 / 3, "local"), SAMPLED),
    ],
)
def test_an_update_leaves_under_the_event_of_what_it_is_alone(update: Any, event: Event) -> None:
    with pytest.raises(AssertionError):
        check_noised(update, event)


@pytest.mark.parametrize(
    ("update", "event"),
    [
        (NoiselessUpdate(ONE), NOT_PRICED),
        *((update, event) for update in NOISED for event in (PRICED, SAMPLED)),
    ],
)
def test_an_update_under_its_own_event_may_leave(update: Any, event: Event) -> None:
    check_noised(update, event)


def test_a_node_whose_assertions_are_left_out_does_not_start() -> None:
    script = (
        "from fedmkt.core.errors import SettingInvalid\n"
        "from fedmkt.node.node import Node\n"
        "try:\n    Node(None)\n"
        "except SettingInvalid as error:\n    print(error)\n"
    )
    asked = [sys.executable, "-O", "-c", script]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert "without -O" in done.stdout


def test_no_node_shows_an_update_without_its_own_datasets_word(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    home = node_at(world.node(MEMBERS[0])).home
    job = network_job(MEMBERS, trust="local", joining={"rule": "median"})
    dataset = home.contract.dataset(job.dataset)
    assert dataset is not None
    with pytest.raises(ModeNotAllowed):
        UpdatesSeen(dataset)
    # As if whoever prices jobs had let this one pass.
    with pytest.raises(ModeNotAllowed):
        ask_count(home, job)
    world.close()


def test_no_node_lets_an_update_without_noise_leave_under_the_price_of_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path)
    home = node_at(world.node(MEMBERS[0])).home
    monkeypatch.setattr(network_training, "_made", lambda *_: (NoiselessUpdate(ONE), Memory()))
    with pytest.raises(AssertionError):
        ask_count(home, network_job(MEMBERS, trust="local"))
    world.close()


def test_no_additive_sum_without_noise_leaves_under_the_price_of_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path)
    monkeypatch.setattr(training, "_noised", lambda *given: NoiselessUpdate(given[-1].values))
    with pytest.raises(FedmktError):
        Trial(world, patience=SHORT).run(small_job(world), "run-1")
    world.close()


def ask_count(home: NodeHome, job: NetworkJob) -> None:
    """Open a run of a job at a node, whatever its contract says, and ask for the first sum."""
    dataset, shape = home.contract.dataset(job.dataset), shape_of(job)
    assert dataset is not None
    plan, releases = planned_network(job, shape), network_releases(job, shape)
    priced = PricedNetwork(job, dataset, releases, 1.0, 1e-5, (), shape, plan)
    rows = parts_of(MEMBERS, shape)[MEMBERS[0]]
    program = NetworkTraining()
    opened = program.open(home, "run-1", priced, rows)
    assert isinstance(opened.body, OpenReply)
    count = UpdateRequest(sum_index=0, parameters=b"", control=b"")
    program.step(home, opened.state, count, lambda: (priced, rows))
