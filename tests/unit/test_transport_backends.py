"""Workers answer as one process does, die as a node's app does, and are never left over."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from flwr.app import Message

from fedmkt.core.errors import ExtraMissing, SettingInvalid
from fedmkt.transport import worker_processes
from fedmkt.transport.backends import Backend
from fedmkt.transport.channel import Channel, Failure
from fedmkt.transport.flower import Config, make_server_app
from fedmkt.transport.in_process import InProcessGrid
from fedmkt.transport.leash import environment
from fedmkt.transport.local_grid import LocalGrid, app_named
from fedmkt.transport.payload import payload_record
from fedmkt.transport.worker_processes import Duty, WorkerGrid, run_on_workers

CLIENT = "unit.worker_nodes:app"
NODES: dict[int, Config] = {number: {"name": f"n{number}"} for number in range(1, 6)}
TIMELY_S = 120.0


def run(main: Callable[[Channel], None], *, workers: int = 2) -> None:
    run_on_workers(
        make_server_app(lambda channel, _config: main(channel)),
        CLIENT,
        node_configs=NODES,
        run_config={},
        workers=workers,
    )


def ask(channel: Channel, request: bytes, *nodes: int) -> dict[int, list[str] | Failure]:
    """Return what each node said: its name, its process, how many requests that process saw."""
    replies = channel.exchange(dict.fromkeys(nodes or NODES, request), deadline_s=TIMELY_S)
    return {
        node: reply if isinstance(reply, Failure) else reply.decode().split()
        for node, reply in replies.items()
    }


def test_each_node_has_its_own_configuration_and_always_the_same_worker():
    answers: list[dict[int, list[str] | Failure]] = []
    run(lambda channel: answers.extend(ask(channel, b"who") for _ in range(3)))
    processes = [{node: said[1] for node, said in one.items()} for one in answers]
    assert processes[0] == processes[1] == processes[2]
    assert len(set(processes[0].values())) == 2
    assert str(os.getpid()) not in processes[0].values()
    assert {node: said[0] for node, said in answers[0].items()} == {
        node: config["name"] for node, config in NODES.items()
    }


def test_no_more_workers_are_started_than_there_are_nodes():
    answers: list[dict[int, list[str] | Failure]] = []
    run(lambda channel: answers.append(ask(channel, b"who")), workers=50)
    assert len({said[1] for said in answers[0].values()}) == len(NODES)


def test_a_dead_worker_is_a_dead_app_and_a_new_one_that_remembers_nothing_answers_next():
    answers: list[dict[int, list[str] | Failure]] = []

    def main(channel: Channel) -> None:
        answers.extend(ask(channel, request, 1) for request in (b"who", b"die", b"who"))
        answers.append(ask(channel, b"who", 2))

    run(main)
    before, died, after, other = answers
    assert died == {1: Failure("app_crashed")}
    assert died[1].on_the_way
    assert before[1][1] != after[1][1]
    assert after[1][2] == "1"
    assert other[2][2] == "1"


def test_an_app_that_would_end_its_process_ends_its_message_alone():
    answers: list[dict[int, list[str] | Failure]] = []
    run(
        lambda channel: answers.extend(ask(channel, one, 1) for one in (b"exit", b"who")), workers=1
    )
    assert answers[0] == {1: Failure("app_crashed")}
    assert answers[1][1][2] == "2"


def answered(grid: LocalGrid) -> Message:
    ids = list(grid.push_messages([Message(payload_record(b"x"), 1, "train.fedmkt")]))
    until = time.monotonic() + TIMELY_S
    found: list[Message] = []
    while not found and time.monotonic() < until:
        found = list(grid.pull_messages(ids))
        time.sleep(0.005)
    grid.close()
    return found[0]


def test_what_an_app_raises_gives_the_error_message_it_gives_in_process():
    raising = "unit.worker_nodes:raising"
    here = answered(InProcessGrid(app_named(raising), NODES))
    there = answered(WorkerGrid(Duty(raising, NODES, {}), workers=1))
    assert here.has_error()
    assert (there.error.code, there.error.reason) == (here.error.code, here.error.reason)


def test_an_exception_of_the_coordinator_comes_out_unchanged_and_no_worker_is_left():
    error, workers = RuntimeError("mine"), set()

    def main(channel: Channel) -> None:
        workers.update(int(said[1]) for said in ask(channel, b"who").values())
        raise error

    with pytest.raises(RuntimeError) as caught:
        run(main)
    assert caught.value is error
    assert len(workers) == 2
    assert not workers & {one.pid for one in psutil.Process().children(recursive=True)}


def test_a_worker_that_hangs_does_not_keep_the_run_from_ending(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker_processes, "GRACE_S", 0.5)

    def main(channel: Channel) -> None:
        ask(channel, b"who")
        channel.exchange({1: b"hang"}, deadline_s=0.2)

    started = time.monotonic()
    run(main, workers=1)
    assert time.monotonic() - started < TIMELY_S


def test_workers_end_when_the_process_they_work_for_is_killed():
    tests = Path(__file__).parents[1]
    words = [sys.executable, str(Path(__file__).with_name("killed_grid.py")), str(tests)]
    owner = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    workers = [psutil.Process(int(word)) for word in owner.stdout.readline().split()]
    owner.kill()
    owner.communicate()
    assert len(workers) == 2
    _, alive = psutil.wait_procs(workers, timeout=TIMELY_S)
    assert alive == []


def test_what_the_environment_held_is_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEDMKT_ONE", "before")
    monkeypatch.delenv("FEDMKT_TWO", raising=False)
    with environment({"FEDMKT_ONE": "1", "FEDMKT_TWO": "2"}):
        assert (os.environ["FEDMKT_ONE"], os.environ["FEDMKT_TWO"]) == ("1", "2")
    assert os.environ["FEDMKT_ONE"] == "before"
    assert "FEDMKT_TWO" not in os.environ


@pytest.mark.parametrize("reference", ["nothing.here:app", "unit.worker_nodes:nothing", "", "unit"])
@pytest.mark.parametrize("name", ["in_process", "workers"])
def test_a_client_app_that_is_not_there_is_a_named_error(name, reference):
    with pytest.raises(SettingInvalid, match="no such app"):
        Backend(name, 1).run_apps(
            make_server_app(lambda _channel, _config: None),
            reference,
            node_configs=NODES,
            run_config={},
        )


def test_a_backend_is_one_of_those_there_are_and_has_workers():
    with pytest.raises(SettingInvalid, match="in_process, workers, ray"):
        Backend("dask")  # type: ignore[arg-type]
    with pytest.raises(SettingInvalid, match="at least 1"):
        Backend("workers", 0)


def test_missing_ray_is_a_named_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ExtraMissing, match=r"Ray need ray, .* pip install 'fedmkt\[simulation\]'"):
        Backend("ray").run_apps(
            make_server_app(lambda _channel, _config: None),
            CLIENT,
            node_configs=NODES,
            run_config={},
        )
