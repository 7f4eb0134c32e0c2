"""The audit log's file: what was appended stays, whatever crashes or who else writes."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from unit.full_disk import files_no_longer_than

from fedmkt.core.clock import ManualClock
from fedmkt.core.errors import AuditBroken, AuditCut, StorageFailed
from fedmkt.identity.hash_chain import Verified, verify_chain
from fedmkt.identity.keys import Identity
from fedmkt.storage.audit_log import AuditLog

OWNER = Identity(bytes(range(32)))
CLOCK = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def log(path: Path) -> Iterator[AuditLog]:
    opened = AuditLog(path, OWNER, CLOCK)
    yield opened
    opened.close()


def verified(path: Path, log: AuditLog | None = None) -> Verified:
    with path.open("rb") as lines:
        return verify_chain(lines, OWNER.public, log.head if log else None, str(path))


def kinds(path: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in path.read_bytes().splitlines()]


def test_what_is_appended_verifies_with_the_key_beside_it(log: AuditLog, path: Path) -> None:
    for number in range(3):
        head = log.append("committed", {"release": number})
    assert head == log.head
    assert verified(path, log) == Verified(4, head)
    assert path.with_name("audit.pub").read_text() == OWNER.public.hex + "\n"
    assert kinds(path) == ["opened", "committed", "committed", "committed"]


def test_a_reopened_log_goes_on_where_it_was(log: AuditLog, path: Path) -> None:
    log.append("committed", {"note": "x" * 200_000})  # a record longer than one read of the tail
    again = AuditLog(path, OWNER, CLOCK)
    assert again.head == log.head
    again.append("committed", {})
    again.close()
    assert verified(path).records == 3


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_a_line_torn_by_a_crash_is_cut_off_and_recorded(
    kept: int, log: AuditLog, path: Path
) -> None:
    log.append("committed", {})
    whole = path.read_bytes()
    log.append("committed", {"lost": True})
    torn = path.read_bytes()[len(whole) :][:kept]
    path.write_bytes(whole + torn)
    again = AuditLog(path, OWNER, CLOCK)
    again.close()
    assert path.read_bytes().startswith(whole)
    assert kinds(path) == ["opened", "committed", "recovered"]
    assert f'"dropped_bytes":{len(torn)}'.encode() in path.read_bytes()
    assert verified(path).records == 3


def test_a_first_line_torn_by_a_crash_starts_the_log_again(path: Path) -> None:
    path.write_bytes(b'{"at":"2026')
    AuditLog(path, OWNER, CLOCK).close()
    assert kinds(path) == ["opened", "recovered"]
    assert verified(path).records == 2


def test_two_writers_in_one_process_do_not_fork_the_log(log: AuditLog, path: Path) -> None:
    other = AuditLog(path, OWNER, CLOCK)

    def write(mine: AuditLog) -> None:
        for number in range(20):
            mine.append("committed", {"release": number})

    writers = [threading.Thread(target=write, args=(mine,)) for mine in (log, other, log)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert log.head == other.head
    assert verified(path, log).records == 61
    other.close()


def test_two_processes_do_not_fork_the_log(log: AuditLog, path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from fedmkt.core.clock import SystemClock\n"
        "from fedmkt.identity.keys import Identity\n"
        "from fedmkt.storage.audit_log import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), Identity(bytes(range(32))), SystemClock())\n"
        "print('ready', flush=True)\n"
        "for number in range(50): log.append('committed', {'release': number})\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for number in range(50):
            log.append("committed", {"release": number})
    assert other.returncode == 0
    assert verified(path, log).records == 101


def test_a_full_disk_leaves_the_log_as_it_was(log: AuditLog, path: Path) -> None:
    log.append("committed", {})
    before, head = path.read_bytes(), log.head
    with files_no_longer_than(len(before) + 50), pytest.raises(StorageFailed):
        log.append("committed", {"release": 1})
    assert path.read_bytes() == before
    assert log.head == head
    log.append("committed", {"release": 1})
    assert verified(path, log).records == 3


def test_a_log_of_another_identity_is_not_continued(log: AuditLog, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(AuditBroken):
        AuditLog(path, Identity(bytes(32)), CLOCK)
    path.with_name("audit.pub").unlink()
    with pytest.raises(AuditBroken):
        AuditLog(path, Identity(bytes(32)), CLOCK)
    assert path.read_bytes() == before


def test_an_altered_last_record_is_found_on_opening(log: AuditLog, path: Path) -> None:
    log.append("committed", {"release": 1})
    path.write_bytes(path.read_bytes().replace(b'"release":1', b'"release":2'))
    with pytest.raises(AuditBroken):
        AuditLog(path, OWNER, CLOCK)


def test_a_log_cut_while_it_is_open_is_not_continued(log: AuditLog, path: Path) -> None:
    short = path.read_bytes()
    log.append("committed", {})
    path.write_bytes(short)
    with pytest.raises(AuditCut):
        log.append("committed", {})


def test_a_log_replaced_while_it_is_open_is_not_continued(log: AuditLog, path: Path) -> None:
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(AuditCut):
        log.append("committed", {})
    path.write_bytes(whole)
    with pytest.raises(AuditCut):
        log.append("committed", {})


def other_log(folder: Path, *notes: str) -> bytes:
    """Return another log of the same owner's, with a record for each note."""
    folder.mkdir()
    made = AuditLog(folder / "audit.log", OWNER, CLOCK)
    for note in notes:
        made.append("committed", {"note": note})
    made.close()
    return (folder / "audit.log").read_bytes()


def test_a_log_that_became_shorter_is_not_continued_though_it_counts_further(
    log: AuditLog, path: Path, tmp_path: Path
) -> None:
    log.append("committed", {"note": "x" * 5_000})
    path.write_bytes(other_log(tmp_path / "other", *"abcd"))
    with pytest.raises(AuditCut):
        log.append("committed", {})


def test_a_log_whose_numbers_fell_is_not_continued_though_it_became_longer(
    log: AuditLog, path: Path, tmp_path: Path
) -> None:
    for number in range(3):
        log.append("committed", {"release": number})
    path.write_bytes(other_log(tmp_path / "other", "x" * 5_000))
    with pytest.raises(AuditCut):
        log.append("committed", {})
