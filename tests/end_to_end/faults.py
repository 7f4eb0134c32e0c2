"""What goes wrong in real deployments, done to one: python tests/end_to_end/faults.py [NAME ...]

Each fault strikes a training in a deployment of its own. Wanted in every case: the run goes on to
its end, by itself or when it is resumed, or ends with a named error, in time; no ledger counts less
than was sent; every audit log verifies; no process is left behind; the next job works.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from fedmkt.core.errors import FedmktError
from fedmkt.deployment import jobs
from fedmkt.deployment.plan import Layout
from fedmkt.deployment.up import bring_up, take_down
from fedmkt.identity.hash_chain import verify_chain
from fedmkt.node.home import AUDIT_FILE, open_home
from fedmkt.simulation.deployed import build_collaboration
from fedmkt.storage.contract_files import read_job

DEADLINE_S = 300.0
VICTIM = "bank"
_HANG_S = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went that was struck. problems: what should not have been; empty is good."""

    fault: str
    state: str
    code: str
    resumed: int
    seconds: float
    spent: dict[str, list[str]]
    problems: tuple[str, ...]


def _pid(layout: Layout, name: str) -> int:
    status = layout.read_status()
    assert status is not None
    return next(one.pid for one in status.processes if one.name == name and one.pid is not None)


def _kill(name: str) -> Callable[[Layout], None]:
    def strike(layout: Layout) -> None:
        os.killpg(_pid(layout, name), signal.SIGKILL)

    return strike


def _kill_app(layout: Layout) -> None:
    """Kill the coordinator's app, and nothing of what started it."""
    below = psutil.Process(_pid(layout, "executor")).children(recursive=True)
    for process in below:
        with contextlib.suppress(psutil.Error):
            if any("serverapp" in word for word in process.cmdline()):
                process.kill()


def _hang(layout: Layout) -> None:
    """Stop the node for a while, as a machine that swaps or a suspended container does."""
    group = _pid(layout, VICTIM)
    os.killpg(group, signal.SIGSTOP)
    time.sleep(_HANG_S)
    os.killpg(group, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done, and when: at the run's beginning, or after its first round."""

    when: str
    strike: Callable[[Layout], None]


FAULTS = {
    "node killed while computing": Fault("begun", _kill(VICTIM)),
    "node killed after a commit": Fault("round", _kill(VICTIM)),
    "coordinator's app killed at the start": Fault("begun", _kill_app),
    "coordinator's app killed between rounds": Fault("round", _kill_app),
    "executor killed": Fault("round", _kill("executor")),
    "SuperLink killed": Fault("round", _kill("superlink")),
    "connection cut": Fault("round", _kill("guard")),
    "node hangs": Fault("begun", _hang),
}


def struck(name: str, folder: Path) -> Outcome:
    """Do one fault to a training in a deployment below `folder`; return how it went."""
    fault, layout = FAULTS[name], Layout(folder)
    members = build_collaboration(folder)
    bring_up(layout, members)
    try:
        return _struck(name, fault, layout, members)
    finally:
        take_down(layout)


def _struck(name: str, fault: Fault, layout: Layout, members: tuple[str, ...]) -> Outcome:
    job = read_job(layout.folder / "jobs" / "demo.toml")
    started, resumed = time.monotonic(), 0
    run = jobs.submit(layout, job, "struck")
    _wait(lambda: any(one.what == fault.when for one in jobs.standing(layout, run).events))
    fault.strike(layout)
    while True:
        _wait(lambda: jobs.standing(layout, run).over)
        found = jobs.standing(layout, run)
        if found.state != "stopped" or resumed == 3:
            break
        jobs.resume(layout, run)
        resumed += 1
        _wait(lambda: not jobs.standing(layout, run).over)
    seconds = time.monotonic() - started
    after = jobs.submit(layout, job, "after")
    _wait(lambda: jobs.standing(layout, after).over)
    following = jobs.standing(layout, after)
    take_down(layout)
    spent = {member: _states(layout, member, run) for member in members}
    problems = [
        *_unsound(found, spent),
        *(f"{member}: its log does not verify" for member in members if not _log(layout, member)),
        *(f"left behind: {line}" for line in _left(layout)),
        *([] if following.state == "finished" else [f"the next job: {following.code}"]),
        *([] if seconds < DEADLINE_S else [f"it took {seconds:.0f} s"]),
    ]
    return Outcome(name, found.state, found.code, resumed, seconds, spent, tuple(problems))


def _unsound(found: jobs.Standing, spent: dict[str, list[str]]) -> list[str]:
    if found.state == "finished":
        short = [member for member, states in spent.items() if set(states) != {"spent"}]
        return [f"{member} counts less than it sent" for member in short]
    # A resumed run tells of its earlier rounds again.
    rounds = len({event.number for event in found.events if event.what == "round"})
    short = [member for member, states in spent.items() if states.count("spent") < rounds]
    unnamed = [] if found.code else ["it ended without a named error"]
    return [*unnamed, *(f"{member} counts less than it sent" for member in short)]


def _states(layout: Layout, member: str, run: str) -> list[str]:
    home = open_home(layout.node(member))
    with home.store.transaction() as tx:
        states = [entry.state for entry in home.ledger.entries(tx, run)]
    home.close()
    return states


def _log(layout: Layout, member: str) -> bool:
    home = open_home(layout.node(member))
    try:
        with (home.folder / AUDIT_FILE).open("rb") as lines:
            verify_chain(lines, home.identity.public, home.audit.head, member)
    except FedmktError:
        return False
    finally:
        home.close()
    return True


def _left(layout: Layout) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if str(layout.folder.resolve()) in line and process.status() != psutil.STATUS_ZOMBIE:
                found.append(line[:80])
    return found


def _wait(done: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until and not done():
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", help="; ".join(FAULTS))
    names = parser.parse_args().names or list(FAULTS)
    print("| fault | run | ended with | resumed | s | spent at the victim | problems |")
    print("| --- | --- | --- | ---: | ---: | --- | --- |")
    failed = False
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            one = struck(name, Path(folder) / "up")
        row = (name, one.state, one.code or "-", one.resumed, f"{one.seconds:.0f}",
               json.dumps(one.spent[VICTIM]), "; ".join(one.problems) or "none")  # fmt: skip
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
        failed |= bool(one.problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
