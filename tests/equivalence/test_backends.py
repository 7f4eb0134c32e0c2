"""The same job with the same noise gives the same model's bytes, wherever its nodes run."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from end_to_end.network_trial import network_job
from end_to_end.small_world import Quiet, members_named, small_job, small_world

from fedmkt.contract.job import Job, NetworkJob
from fedmkt.coordinator.app import make_main
from fedmkt.coordinator.conversation import Patience
from fedmkt.simulation.world import World
from fedmkt.transport.backends import Backend
from fedmkt.transport.flower import make_server_app
from fedmkt.transport.worker_processes import run_on_workers

RUN = "run-1"
MEMBERS = members_named(3)
JOBS = {
    "additive": small_job(World(Path(), MEMBERS), rounds=2),
    "network": network_job(MEMBERS, trust="local", width=4, blocks=1, sampling_rate=0.5),
}
PATIENCE = Patience(connect_s=60, exchange_s=300, absent_s=120)
with_ray = (
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="the extra `simulation` is not installed"
    ),
    # Ray forgets its processes before they have ended.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Round as processes of one thread do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(folder: Path, job: Job | NetworkJob, backend: Backend) -> bytes:
    world = World(small_world(folder).folder, MEMBERS, backend)
    if isinstance(job, NetworkJob):
        world.run_network(job, RUN, Quiet())  # type: ignore[arg-type]
    else:
        world.run(job, RUN, Quiet())  # type: ignore[arg-type]
    world.close()
    return model_of(world)


def model_of(world: World) -> bytes:
    return (world.coordinator / "runs" / RUN / "model.json").read_bytes()


@pytest.mark.parametrize(
    "backend",
    [Backend("workers", 2), pytest.param(Backend("ray", 2), marks=with_ray)],
    ids=lambda backend: backend.name,
)
@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_every_backend_trains_the_model_that_one_process_trains(tmp_path: Path, job, backend):
    here = trained(tmp_path / "here", job, Backend())
    assert trained(tmp_path / "there", job, backend) == here


def test_workers_that_die_in_a_run_change_nothing_in_its_model(tmp_path: Path):
    job = JOBS["additive"]
    world = small_world(tmp_path / "there")
    world.order(job, RUN)
    homes = {number: world.node(member) for number, member in enumerate(MEMBERS, start=1)}
    run_on_workers(
        make_server_app(make_main(Quiet(), patience=PATIENCE)),  # type: ignore[arg-type]
        "equivalence.mortal_node:app",
        node_configs={number: {"home": str(home)} for number, home in homes.items()},
        run_config={"home": str(world.coordinator), "order": str(world.order_file(RUN))},
        workers=2,
    )
    died = [home for home in homes.values() if (home / "died").exists()]
    assert len(died) >= 2
    assert model_of(world) == trained(tmp_path / "here", job, Backend())
