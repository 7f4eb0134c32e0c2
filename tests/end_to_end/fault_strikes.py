"""What is done to a run, each at its moment. A strike returns once it is done; see `Stage.mend`."""

import contextlib
import fcntl
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
from end_to_end.fault_checks import recorded_releases
from end_to_end.fault_moments import (
    VICTIM,
    Stage,
    held_at_the_log,
    itself,
    kill,
    pid_of,
    remembered,
    steps_of,
    stopped,
    sum_that_waits_for_other,
    wait_for,
    wait_for_event,
)
from end_to_end.faulty_node import TWICE_OTHER, TWICE_SAME

from fedmkt.coordinator.progress import read_progress
from fedmkt.core.errors import ClockSkewed, QuorumLost

HANG_S, CUT_S = 20.0, 30.0
THREE_HOURS_AHEAD_S, FOUR_MINUTES_BEHIND_S = 3 * 3600, -240
_SCRAP = 100  # bytes: less than a record of the log takes
_RECORD = 4096  # bytes: room for a record, and none for a page of the store
_BLOCKED_S = 0.3


def fault_file(folder: Path) -> Path:
    """Return the file that a node which is started faulty is told by."""
    return folder / "fault"


# --- killed -----------------------------------------------------------------------------------


def kill_at(event: str, name: str) -> Callable[[Stage], None]:
    """Return what kills a process when the run has begun, or after its first round."""

    def strike(stage: Stage) -> None:
        wait_for_event(stage, event)
        kill(stage.layout, name)

    return strike


def kill_app_at(event: str) -> Callable[[Stage], None]:
    """Return what kills the coordinator's app when the run has begun, or after its first round."""

    def strike(stage: Stage) -> None:
        wait_for_event(stage, event)
        _kill_app(stage)

    return strike


def kill_app_during_an_exchange(stage: Stage) -> None:
    """Requests are sent, one member's reply is not there yet."""
    with sum_that_waits_for_other(stage) as step:
        _kill_app(stage)
        assert step not in {one for one, _ in remembered(stage.layout, stage.run)}


def _kill_app(stage: Stage) -> None:
    """Kill the coordinator's app, and nothing of what started it."""
    below = psutil.Process(pid_of(stage.layout, "executor")).children(recursive=True)
    for process in below:
        with contextlib.suppress(psutil.Error):
            if any("serverapp" in word for word in process.cmdline()):
                process.kill()


def kill_while_computing(stage: Stage) -> None:
    """The masked sum is computed, and neither written down nor stored nor sent."""
    with held_at_the_log(stage) as (step, _):
        kill(stage.layout, VICTIM)
        assert step not in steps_of(stage, VICTIM)


def kill_between_log_and_store(stage: Stage) -> None:
    """The release is written down, and not stored: nobody can tell whether it was sent."""
    recorded = partial(recorded_releases, stage.layout, VICTIM, stage.run)
    with (
        held_at_the_log(stage) as (step, log),
        closing(sqlite3.connect(stage.home / "node.db", isolation_level=None)) as store,
    ):
        before = len(recorded())
        store.execute("BEGIN IMMEDIATE")
        fcntl.flock(log, fcntl.LOCK_UN)
        wait_for("the record", lambda: len(recorded()) > before)
        time.sleep(_BLOCKED_S)
        kill(stage.layout, VICTIM)
        store.execute("ROLLBACK")
        assert step not in steps_of(stage, VICTIM)


def kill_while_masked(stage: Stage) -> None:
    """The masked sum is stored and sent, and not opened: another member's part is missing."""
    with sum_that_waits_for_other(stage) as step:
        kill(stage.layout, VICTIM)
        assert step.replace("mask", "unmask") not in steps_of(stage, VICTIM)


# --- slow, full, cut, wrong -------------------------------------------------------------------


def hang(stage: Stage) -> None:
    """Stop the node for a while, as a machine that swaps or a suspended container does."""
    wait_for_event(stage, "begun")
    with stopped(stage.layout, VICTIM):
        time.sleep(HANG_S)


def fill_disk(room: int) -> Callable[[Stage], None]:
    """Return what lets the node write no file longer than its log and a little more is now."""

    def strike(stage: Stage) -> None:
        wait_for("shares", lambda: "shares" in steps_of(stage, VICTIM))
        node, most = itself(stage.layout, VICTIM), (stage.home / "audit.log").stat().st_size + room
        assert most < (stage.home / "node.db-wal").stat().st_size
        before = node.rlimit(psutil.RLIMIT_FSIZE)
        node.rlimit(psutil.RLIMIT_FSIZE, (most, before[1]))

        def mend() -> None:
            with contextlib.suppress(psutil.NoSuchProcess):
                node.rlimit(psutil.RLIMIT_FSIZE, before)

        stage.mend = mend

    return strike


fill_disk_for_the_log, fill_disk_for_the_store = fill_disk(_SCRAP), fill_disk(_RECORD)


def cut_connection(stage: Stage) -> None:
    """Lose what goes between the node and the coordinator for a while."""
    wait_for("shares", lambda: "shares" in steps_of(stage, VICTIM))
    stage.relay.cut(CUT_S)


def set_clock(seconds: float) -> Callable[[Stage], None]:
    """Return what sets the node's clock wrong in the middle of the run."""

    def strike(stage: Stage) -> None:
        wait_for("shares", lambda: "shares" in steps_of(stage, VICTIM))
        file = fault_file(stage.layout.folder)
        file.write_text(str(seconds))
        stage.mend = partial(file.unlink, missing_ok=True)

    return strike


def nothing(stage: Stage) -> None:
    """What is wrong was so from the beginning."""


# --- what else must have come of it -----------------------------------------------------------


def said_by_name(stage: Stage) -> list[str]:
    """Return problems unless the node says what is wrong, and the coordinator whom it missed."""
    log = stage.layout.log(VICTIM).read_text()
    found = [] if ClockSkewed.code in log else ["the node's log does not say that its clock is off"]
    events = read_progress(stage.layout.coordinator / "runs" / stage.run)
    missed = {one.member for one in events if one.code == QuorumLost.code}
    return found + ([] if missed == {VICTIM} else [f"missed, says the coordinator: {missed}"])


def answered_alike_and_once(stage: Stage) -> list[str]:
    """Return problems unless all came twice, was answered alike, and released once."""
    log = stage.layout.log(VICTIM).read_text()
    releases = recorded_releases(stage.layout, VICTIM, stage.run)
    found = [] if TWICE_SAME in log else ["nothing was delivered twice"]
    found += ["the second answer was another one"] if TWICE_OTHER in log else []
    return found + ([] if len(releases) == len(set(releases)) else [f"released: {releases}"])
