"""A change of several files of a home, and of its audit log's key, that takes place whole or not.

    change.pending/plan.json    what is to be put in place, and where the log must end for it
    change.pending/line         the line that hands the log over
    change.pending/files/…      the new files, by their paths in the home

`stage` writes all of that beside the home's files and gives it its name in one step. `settle`
carries it out: the log's line first, then each file, then the folder goes.

Guarantee: killed at any point, the home is as it was or, once `settle` has run again, as it is to
be. Whoever reads a key settles first (`fedmkt.storage.key_file`), so no home is used in between.
Where another process went on writing the log meanwhile nothing changes: the line would not fit. A
plan that names a place outside the home is not carried out. `changing` keeps two changes apart.
Not guaranteed: that a process which runs already notices, before it next writes to the log.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedmkt.core.errors import FileMissing, SettingInvalid
from fedmkt.storage.whole_file import unwritable, write_private, write_whole

PENDING = "change.pending"
_WORK = ".change."


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file's new contents. private: for this user alone."""

    data: bytes
    private: bool = True


@dataclass(frozen=True, slots=True)
class Handover:
    """The line that hands a log over. at: the log's length before it, in bytes."""

    log: Path
    at: int
    line: bytes


@contextmanager
def changing(home: Path) -> Iterator[None]:
    """Keep a home for one change: from reading what it replaces until it is carried out.

    Raises: SettingInvalid where another change is under way; FileMissing: there is no home.
    """
    try:
        folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise FileMissing(what="home", path=home, advice="Give the path of a home.") from None
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = "its keys are being changed by another command; wait until that is done"
            raise SettingInvalid(setting=str(home), problem=problem) from None
        yield
    finally:
        os.close(folder)


def stage(home: Path, files: Mapping[Path, NewFile], handover: Handover | None) -> None:
    """Prepare a change; `settle` carries it out. files: by path in the home, in their order.

    Raises: OutputUnwritable, with nothing changed.
    """
    with unwritable(home):
        for left in home.glob(f"{_WORK}*"):
            shutil.rmtree(left)
        work = Path(tempfile.mkdtemp(dir=home, prefix=_WORK))
        try:
            for path, new in files.items():
                write = write_private if new.private else write_whole
                write(work / "files" / path, new.data)
            write_private(work / "line", handover.line if handover else b"")
            plan: dict[str, object] = {"files": [str(path) for path in files], "log": None, "at": 0}
            if handover is not None:
                plan |= {"log": str(handover.log), "at": handover.at}
            write_private(work / "plan.json", json.dumps(plan).encode())
            for folder in {work, *(one.parent for one in work.rglob("*"))}:
                _flush(folder)
            work.rename(home / PENDING)
            _flush(home)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def settle(home: Path) -> bool:
    """Carry out what `stage` prepared; return whether there was something, and it was done.

    Raises: OutputUnwritable; then it is tried again the next time. SettingInvalid: no such plan is
        ever made by `stage`.
    """
    pending = home / PENDING
    if not pending.is_dir():
        return False
    with unwritable(pending), _alone(pending) as mine:
        if not mine:
            return False
        files, handover = _plan(pending)
        # A file that is in its place already was put there after the line stood.
        begun = not all((pending / "files" / path).exists() for path in files)
        done = begun or handover is None or _handed_over(home, handover)
        if done:
            _put_in_place(home, files)
        gone = Path(tempfile.mkdtemp(dir=home, prefix=_WORK))
        pending.rename(gone / PENDING)
        _flush(home)
        shutil.rmtree(gone)
        return bool(done)


def _put_in_place(home: Path, files: list[Path]) -> None:
    for path in files:
        new, target = home / PENDING / "files" / path, home / path
        if new.exists():  # else it was put in place before somebody was killed
            target.parent.mkdir(parents=True, exist_ok=True)
            new.replace(target)
            _flush(target.parent)


def _plan(pending: Path) -> tuple[list[Path], Handover | None]:
    try:
        plan = json.loads((pending / "plan.json").read_bytes())
        files, at = [Path(one) for one in plan["files"]], int(plan["at"])
        log = Path(plan["log"]) if plan["log"] is not None else None
    except (ValueError, KeyError, TypeError):
        problem = "it is no plan of a change; move the folder away"
        raise SettingInvalid(setting=str(pending), problem=problem) from None
    for path in (*files, *([log] if log else [])):
        # Security: whoever could put a plan here could write wherever this user can.
        if path.is_absolute() or ".." in path.parts:
            problem = "it names a place outside the home; move the folder away"
            raise SettingInvalid(setting=str(pending), problem=problem)
    if log is None:
        return files, None
    return files, Handover(log, at, (pending / "line").read_bytes())


def _handed_over(home: Path, handover: Handover) -> bool:
    """Write the line where it must stand, once; tell whether it stands there."""
    at, line = handover.at, handover.line
    file = os.open(home / handover.log, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        after = os.pread(file, len(line) + 1, at)
        if after.startswith(line):
            return True
        # Half a line is what a kill left of this very one.
        if os.fstat(file).st_size < at or not line.startswith(after):
            return False
        os.ftruncate(file, at)
        os.pwrite(file, line, at)
        os.fsync(file)
        return True
    finally:
        os.close(file)


@contextmanager
def _alone(pending: Path) -> Iterator[bool]:
    """Yield whether `pending` is still there, and nobody else's until the end."""
    try:
        folder = os.open(pending, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        same = pending.is_dir() and os.path.samestat(pending.stat(), os.fstat(folder))
        yield same
    finally:
        os.close(folder)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
