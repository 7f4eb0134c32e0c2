"""The audit log on disk: appended to, flushed, never rewritten.

Guarantee: when `append` returns, the record is on disk and hangs on the one before, whichever
process wrote that (an exclusive file lock spans reading the tail and writing). What a crash left
half-written was never reported as written; it is cut off and a `recovered` record says so.
`records` gives nothing that the last record, signed with the home's key, does not bind.
Not guaranteed: that earlier records are whole: opening reads the tail alone; `records` reads
everything, `verify_chain` every signature too, and only a head seen elsewhere shows a log that was
put back.
"""

import fcntl
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedmkt.core.clock import Clock
from fedmkt.core.errors import AuditBroken, AuditCut, StorageFailed
from fedmkt.identity.hash_chain import (
    JSON,
    Head,
    Record,
    bound_records,
    link,
    link_rotation,
    read_last,
)
from fedmkt.identity.keys import Identity

_CHUNK = 65_536


class AuditLog:
    """One node's audit log, open for appending; threads and processes may share the file."""

    def __init__(self, path: Path, identity: Identity, clock: Clock) -> None:
        """Open the log, making it (and `audit.pub` beside it) if it is not there.

        Raises: AuditBroken, when the last record does not fit the identity; StorageFailed.
        """
        self._path, self._identity, self._clock = path, identity, clock
        self._thread_lock = threading.Lock()
        self._end = 0
        self._head: Head | None = None
        with self._mapped():
            path.parent.mkdir(parents=True, exist_ok=True)
            _publish_key(path.with_name("audit.pub"), identity.public.hex)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            _flush_folder(path.parent)
        try:
            with self._locked():
                self._catch_up()
        except BaseException:
            self.close()
            raise

    @property
    def head(self) -> Head:
        """Return the last record's number and hash."""
        with self._locked():
            self._catch_up()
            return self._known_head()

    def append(self, kind: str, facts: Mapping[str, JSON]) -> Head:
        """Write a record and flush it to disk; return the new head.

        Privacy: `facts` are read by others; only names, counts, hashes and codes belong there.
        Raises: StorageFailed, with nothing written; AuditCut, when the file was replaced or cut.
        """
        with self._locked():
            self._catch_up()
            return self._write(kind, facts)

    def records(self) -> list[dict[str, Any]]:
        """Return kind, facts and hash of every record, as bound by the last one.

        Raises: AuditBroken, for the first record that was altered; as `append`.
        """
        with self._locked():
            self._catch_up()
            with self._path.open("rb") as lines:
                return bound_records(lines, self._known_head(), str(self._path))

    def handover(self, new: Identity) -> tuple[int, bytes]:
        """Return the line that would hand this log to another key, and the place it must have.

        It is not written here: the log and what is sealed beside it change hands together
        (`fedmkt.storage.pending_change`). Raises: as `append`.
        """
        with self._locked():
            self._catch_up()
            head, at = self._known_head(), self._clock.now()
            record = link_rotation(head, old=self._identity, new=new, at=at)
            return self._end, record.line()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _known_head(self) -> Head:
        assert self._head is not None, "opening writes a first record"
        return self._head

    def _catch_up(self) -> None:
        """Take over what other writers added, and mend what a crash left."""
        size = os.fstat(self._file).st_size
        self._refuse_replaced(size)
        if size == self._end and self._head is not None:
            return
        line, torn = _tail(self._file, size)
        known = self._head
        record = self._last_record(line)
        if known is not None and (record is None or record.sequence < known.sequence):
            raise AuditCut(path=self._path, record=known.sequence)
        self._head, self._end = record.head if record else None, size - torn
        if torn:
            os.ftruncate(self._file, self._end)
        if self._head is None:
            self._write("opened", {"key": self._identity.public.hex})
        if torn:
            self._write("recovered", {"dropped_bytes": torn})

    def _refuse_replaced(self, size: int) -> None:
        # Security: appending to a file that nobody finds under its name any more, or to one that
        # was cut, would hide what is written.
        same = self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(self._file))
        if not same or size < self._end:
            raise AuditCut(path=self._path, record=self._known_head().sequence)

    def _last_record(self, line: bytes) -> Record | None:
        if not line:
            return None
        return read_last(line, key=self._identity.public, path=str(self._path))

    def _write(self, kind: str, facts: Mapping[str, JSON]) -> Head:
        record = link(
            self._head, identity=self._identity, at=self._clock.now(), kind=kind, facts=facts
        )
        line = record.line()
        try:
            _write_all(self._file, line)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._head, self._end = record.head, self._end + len(line)
        return record.head

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread_lock, self._mapped():
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageFailed(path=self._path, problem=type(error).__name__) from None


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _tail(file: int, size: int) -> tuple[bytes, int]:
    """Return the last whole line (empty: none) and the number of bytes after it."""
    tail, start = b"", size
    while start > 0 and tail.count(b"\n") < 2:
        length = min(_CHUNK, start)
        start -= length
        tail = os.pread(file, length, start) + tail
    whole, newline, torn = tail.rpartition(b"\n")
    return whole.rpartition(b"\n")[2] + newline, len(torn)


def _publish_key(path: Path, public: str) -> None:
    text = public + "\n"
    if path.exists() and path.read_text(encoding="ascii", errors="replace") not in ("", text):
        raise AuditBroken(record=1, path=path, problem="it belongs to another identity")
    if not path.exists() or not path.read_text(encoding="ascii"):
        path.write_text(text, encoding="ascii")


def _flush_folder(folder: Path) -> None:
    # A new file survives a power cut only once its folder is flushed too.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
