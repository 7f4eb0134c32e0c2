"""Where a run stands, read beside the processes from their own files, and waiting for a moment."""

import fcntl
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from end_to_end.cut_relay import CutRelay

from fedmkt.coordinator.progress import read_progress
from fedmkt.deployment.plan import Layout

VICTIM, OTHER = "bank", "retailer"
MOMENT_S = 60.0
_LOOK_S = 0.004
_SUMS = (("shares", "mask/0"), ("unmask/0", "mask/1"))
"""Each sum's masking, after the step before it."""


@dataclass
class Stage:
    """A run that is to be struck. mend: done before the run is resumed."""

    layout: Layout
    run: str
    relay: CutRelay
    mend: Callable[[], None] = field(default=lambda: None)

    @property
    def home(self) -> Path:
        """Return the victim's home."""
        return self.layout.node(VICTIM)


def wait_for(
    what: str, done: Callable[[], bool], seconds: float = MOMENT_S, *, look_s: float = _LOOK_S
) -> None:
    """Wait until something is so. Raises: TimeoutError."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(look_s)


def wait_for_event(stage: Stage, what: str) -> None:
    """Wait until the coordinator noted an event of a run."""
    folder = stage.layout.coordinator / "runs" / stage.run
    wait_for(what, lambda: any(one.what == what for one in read_progress(folder)))


def steps_of(stage: Stage, member: str) -> set[str]:
    """Return the steps of the run that a member's node answered."""
    query = "SELECT step FROM run_replies WHERE run = ?"
    return {step for (step,) in _rows(stage.layout.node(member) / "node.db", query, stage.run)}


def remembered(layout: Layout, run: str) -> set[tuple[str, str]]:
    """Return step and member of each reply to the run that the coordinator's journal holds."""
    journal = layout.coordinator / "runs" / run / "journal.db"
    return set(_rows(journal, "SELECT step, member FROM replies"))


def _rows(file: Path, query: str, *values: str) -> list[tuple[str, ...]]:
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
        try:
            return database.execute(query, values).fetchall()
        except sqlite3.OperationalError:  # its tables are being made
            return []


# --- processes --------------------------------------------------------------------------------


def pid_of(layout: Layout, name: str) -> int:
    """Return the number of a process's group, which is its wrapper's."""
    status = layout.read_status()
    assert status is not None
    return next(one.pid for one in status.processes if one.name == name and one.pid is not None)


def kill(layout: Layout, name: str) -> None:
    """Kill a process and its group, as the kernel does where memory is short."""
    os.killpg(pid_of(layout, name), signal.SIGKILL)


def itself(layout: Layout, name: str) -> psutil.Process:
    """Return a process without its wrapper."""
    (process,) = psutil.Process(pid_of(layout, name)).children()
    return process


@contextmanager
def stopped(layout: Layout, name: str) -> Iterator[None]:
    """Have a process stand still meanwhile."""
    group = pid_of(layout, name)
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


@contextmanager
def sum_that_waits_for_other(stage: Stage) -> Iterator[str]:
    """Hold a sum before OTHER masks its part; yield the step, once the victim has answered it."""
    for before, step in _SUMS:
        # Answered is not yet sent; the coordinator must have it.
        had = (before, OTHER)
        wait_for(before, lambda had=had: had in remembered(stage.layout, stage.run))
        with stopped(stage.layout, OTHER):
            if step in steps_of(stage, OTHER):
                continue
            wait_for(step, lambda step=step: step in steps_of(stage, VICTIM))
            yield step
            return
    raise TimeoutError("the run was faster than its watcher")


@contextmanager
def held_at_the_log(stage: Stage) -> Iterator[tuple[str, int]]:
    """Hold the victim where it has computed a masked sum and is about to write it down.

    Yields the step and the log's file; to unlock it lets the victim go on.
    """
    for before, step in _SUMS:
        wait_for(before, lambda before=before: before in steps_of(stage, VICTIM))
        log = os.open(stage.home / "audit.log", os.O_RDONLY)
        try:
            fcntl.flock(log, fcntl.LOCK_EX)
            if step in steps_of(stage, VICTIM):
                continue
            wait_for("the victim at its log", lambda log=log: _somebody_waits_for(log))
            yield step, log
            return
        finally:
            os.close(log)
    raise TimeoutError("the run was faster than its watcher")


def _somebody_waits_for(file: int) -> bool:
    """Tell whether a process waits for a lock on an open file (Linux)."""
    waiting = re.compile(rf"-> FLOCK .*:{os.fstat(file).st_ino} ")
    return waiting.search(Path("/proc/locks").read_text()) is not None
