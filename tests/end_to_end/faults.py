"""What goes wrong in real deployments, done to some: python -m end_to_end.faults [NAME ...]

Each fault strikes a training of its own, up to four after one another in one deployment. Wanted in
every case: the run goes on to its end, by itself or when it is resumed, or ends with a named error,
in time; no ledger counts less than was sent; every audit log verifies; nothing is half-written and
no process is left behind; the next job works.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

from end_to_end import fault_strikes as strikes
from end_to_end.cut_relay import CutRelay
from end_to_end.fault_checks import half_written, left_behind, states_of, uncounted, unverified
from end_to_end.fault_moments import VICTIM, Stage, wait_for
from end_to_end.loopback_server import HOST

from fedmkt.deployment import jobs, up
from fedmkt.deployment.plan import Layout
from fedmkt.simulation.deployed import build_collaboration
from fedmkt.storage.contract_files import read_job

DEADLINE_S = 300.0
_MOST_RESUMES = 3
_MOST_TOGETHER = 4  # the trial's budget has room for one run more
_LOOK_S = 0.1
_FAULTY_NODE = Path(__file__).with_name("faulty_node.py")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a run.

    node: what is wrong with the victim's process, see `faulty_node`. alone: whether the run must
    end well without being resumed. look: returns what should not have come of it.
    """

    strike: Callable[[Stage], None]
    node: str = ""
    alone: bool = False
    look: Callable[[Stage], list[str]] = field(default=lambda _stage: [])


FAULTS = {
    "node killed at the start": Fault(strikes.kill_at("begun", VICTIM)),
    "node killed while computing": Fault(strikes.kill_while_computing),
    "node killed between log and store": Fault(strikes.kill_between_log_and_store),
    "node killed while masked": Fault(strikes.kill_while_masked),
    "node killed after a commit": Fault(strikes.kill_at("round", VICTIM)),
    "coordinator's app killed at the start": Fault(strikes.kill_app_at("begun")),
    "coordinator's app killed during an exchange": Fault(strikes.kill_app_during_an_exchange),
    "coordinator's app killed between rounds": Fault(strikes.kill_app_at("round")),
    "executor killed": Fault(strikes.kill_at("round", "executor")),
    "SuperLink killed": Fault(strikes.kill_at("round", "superlink")),
    "guard killed": Fault(strikes.kill_at("round", "guard")),
    "node hangs for 20 s": Fault(strikes.hang, alone=True),
    "disk full at the node, no room in the log": Fault(strikes.fill_disk_for_the_log),
    "disk full at the node, no room in the store": Fault(strikes.fill_disk_for_the_store),
    "connection cut for 30 s": Fault(strikes.cut_connection),
    "node's clock 3 hours ahead": Fault(
        strikes.set_clock(strikes.THREE_HOURS_AHEAD_S), "clock", look=strikes.said_by_name
    ),
    "node's clock 4 minutes behind": Fault(
        strikes.set_clock(strikes.FOUR_MINUTES_BEHIND_S), "clock", alone=True
    ),
    "every message delivered twice": Fault(
        strikes.nothing, "twice", alone=True, look=strikes.answered_alike_and_once
    ),
}
QUICK = (
    "coordinator's app killed during an exchange",
    "disk full at the node, no room in the log",
)
"""For each push: one deployment for both. A killed node keeps its run waiting for over a minute."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went that was struck.

    stops: the code of each error at which it stopped. problems: what should not have been; empty
    is good.
    """

    fault: str
    state: str
    stops: tuple[str, ...]
    seconds: float
    spent: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Struck:
    """A run that was struck, as it ended."""

    name: str
    stage: Stage
    found: jobs.Standing
    stops: tuple[str, ...]
    seconds: float
    missed: tuple[str, ...]


def struck(names: tuple[str, ...], folder: Path) -> list[Outcome]:
    """Do faults to a training each, one after another in one deployment; return how they went.

    Its nodes are faulty as the first fault wants them.
    """
    layout, members = Layout(folder), build_collaboration(folder)
    with CutRelay() as relay:
        with _nodes_started(FAULTS[names[0]].node, relay):
            up.bring_up(layout, members)
        try:
            done = [_strike(layout, relay, name, f"struck-{n}") for n, name in enumerate(names)]
            _submit(layout, "after")
            following = _ended(layout, "after")
        finally:
            up.take_down(layout)
    left = tuple(left_behind(layout))
    next_job = () if following.state == "finished" else (f"the next job: {following.code}",)
    return [_outcome(one, members, (*left, *next_job)) for one in done]


def _strike(layout: Layout, relay: CutRelay, name: str, run: str) -> _Struck:
    status_of = layout.read_status
    wait_for("a healthy deployment", lambda: (status := status_of()) is not None and status.healthy)
    fault, stage, stops, missed = FAULTS[name], Stage(layout, run, relay), [], ()
    started = time.monotonic()
    _submit(layout, run)
    try:
        fault.strike(stage)
    except (TimeoutError, AssertionError) as error:
        missed = (f"it was not struck as meant ({error})",)
    while True:
        found = _ended(layout, run)
        stops += [found.code] if found.state != "finished" else []
        if found.state != "stopped" or len(stops) > _MOST_RESUMES:
            break
        stage.mend()
        jobs.resume(layout, run)
        _wait_until(lambda: not jobs.standing(layout, run).over)
    seconds = time.monotonic() - started
    stage.mend()
    return _Struck(name, stage, found, tuple(stops), seconds, missed)


def _submit(layout: Layout, run: str) -> None:
    jobs.submit(layout, read_job(layout.folder / "jobs" / "demo.toml"), run)


def _ended(layout: Layout, run: str) -> jobs.Standing:
    _wait_until(lambda: jobs.standing(layout, run).over)
    return jobs.standing(layout, run)


def _wait_until(done: Callable[[], bool]) -> None:
    """Wait, but not for ever: how the run then stands is what is judged."""
    with suppress(TimeoutError):
        wait_for("that", done, DEADLINE_S, look_s=_LOOK_S)


def _outcome(done: _Struck, members: tuple[str, ...], problems: tuple[str, ...]) -> Outcome:
    layout, found, fault = done.stage.layout, done.found, FAULTS[done.name]
    states = states_of(layout, VICTIM, done.stage.run)
    return Outcome(
        fault=done.name,
        state=found.state,
        stops=done.stops,
        seconds=done.seconds,
        spent=tuple(states[release] for release in sorted(states)),
        problems=(
            *problems,
            *done.missed,
            *uncounted(layout, members, found),
            *unverified(layout, members),
            *half_written(layout, members, found),
            *fault.look(done.stage),
            *(["it ended without a named error"] if not all(done.stops) else []),
            *(["it did not end well by itself"] if fault.alone and done.stops else []),
            *([f"it took {done.seconds:.0f} s"] if done.seconds > DEADLINE_S else []),
        ),
    )


@contextmanager
def _nodes_started(fault: str, relay: CutRelay) -> Iterator[None]:
    """Have the victim's node reach its coordinator through the relay, and be faulty."""
    plain = up._node_command

    def command(layout: Layout, member: str, link: str) -> tuple[str, ...]:
        if member != VICTIM:
            return plain(layout, member, link)
        relay.target = link
        words = plain(layout, member, f"{HOST}:{relay.port}")
        if not fault:
            return words
        told_by = str(strikes.fault_file(layout.folder.resolve()))
        return (words[0], str(_FAULTY_NODE), fault, told_by, *words[3:])

    up._node_command = command
    try:
        yield
    finally:
        up._node_command = plain


def grouped(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield the faults that one deployment can have, in their order."""
    for _, same in groupby(names, key=lambda name: FAULTS[name].node):
        yield from _batched(same, _MOST_TOGETHER)


def _batched(names: Iterable[str], most: int) -> Iterator[tuple[str, ...]]:
    left = iter(names)
    while group := tuple(islice(left, most)):
        yield group


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", help="; ".join(FAULTS))
    names = parser.parse_args().names or list(FAULTS)
    print("| fault | run | stopped by | s | at the victim | problems |")
    print("| --- | --- | --- | ---: | --- | --- |", flush=True)
    failed = False
    for group in grouped(names):
        with tempfile.TemporaryDirectory() as folder:
            outcomes = struck(group, Path(folder) / "up")
        for one in outcomes:
            row = (one.fault, one.state, ", ".join(one.stops) or "-", f"{one.seconds:.0f}",
                   ", ".join(one.spent), "; ".join(one.problems) or "none")  # fmt: skip
            print("| " + " | ".join(row) + " |", flush=True)
            failed |= bool(one.problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
