"""A node killed with -9 at any moment: what it sent is spent, and nothing is half-written.

A child process spends as a node does (audit record, then spend, state and reply in one
transaction, then send) and is killed at random moments; sending is a line on a pipe.
"""

import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedmkt.core.clock import ManualClock
from fedmkt.identity.hash_chain import Head, verify_chain
from fedmkt.identity.keys import Identity
from fedmkt.privacy.accounts import (
    Account,
    DatasetAccounts,
    EpsilonLimit,
    Scope,
    Window,
)
from fedmkt.privacy.events import GaussianEvent
from fedmkt.privacy.filter import FilterTerms, cost_nano
from fedmkt.storage.audit_log import AuditLog
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore
from fedmkt.storage.run_store import RunStore

KILLS = 20
ORDER, ROOM = 10, 5_000
COST = cost_nano(GaussianEvent(5.0, 100.0, 1, 3), ORDER)
OWNER = Identity(bytes(range(32)))
# Imports take longer than the lives it gives, so one process imports and forks the victims.
NURSERY = """
import os, random, signal, sys, time
from pathlib import Path
from fedmkt.core.clock import SystemClock
from fedmkt.core.errors import BudgetExceeded
from fedmkt.identity.keys import Identity
from fedmkt.privacy.events import GaussianEvent, Release
from fedmkt.privacy.ledger import Reservation
from fedmkt.storage.audit_log import AuditLog
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore
from fedmkt.storage.run_store import RunStore

EVENT = GaussianEvent(5.0, 100.0, 1, 3)
RELEASES = tuple(Release(place, f"sum {place}", EVENT) for place in range(3))


def live(folder, life, pipe):
    clock = SystemClock()
    audit = AuditLog(folder / "audit.log", Identity(bytes(range(32))), clock)
    store = NodeStore.open(folder / "node.db", clock)
    ledger, runs = LedgerStore(store), RunStore()
    for number in range(10_000):
        run = f"{life}-{number}"
        with store.transaction() as tx:
            ledger.reserve(tx, Reservation(run, "job", "cards", "value", "bank", RELEASES))
        for place in range(2 + number % 2):
            reply = os.urandom(2_000)
            head = audit.append("committed", {"run": run, "release": place})
            with store.transaction() as tx:
                ledger.commit(tx, run, place)
                runs.save(tx, run, os.urandom(20_000) + bytes([place]))
                runs.remember_reply(tx, run, f"mask/{place}", "hash", reply)
            os.write(pipe, f"{run} {place} {reply[:8].hex()} {head}\\n".encode())
        with store.transaction() as tx:
            ledger.give_back(tx, run)


for line in sys.stdin:
    life, sends, seconds = line.split()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        live(Path(sys.argv[1]), life, writer)
        os._exit(3)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        sent = [pipe.readline() for _ in range(int(sends))]
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
        sent += pipe.readlines()
    _, status = os.waitpid(child, 0)
    sys.stdout.write(b"".join(sent).decode())
    print("killed" if os.WIFSIGNALED(status) else "ended", flush=True)
"""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", NURSERY, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def live_and_die(
    nursery: subprocess.Popen[str], life: int, *, sends: int, seconds: float
) -> list[list[str]]:
    """Let a child send `sends` times, wait `seconds` more, kill it; return what it sent."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{life} {sends} {seconds}\n")
    nursery.stdin.flush()
    sent = []
    for line in nursery.stdout:
        if line in ("killed\n", "ended\n"):
            assert line == "killed\n", "the child failed by itself"
            return sent
        sent.append(line.split())
    raise AssertionError("the nursery ended")


def open_store(path: Path) -> NodeStore:
    return NodeStore.open(path, ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))


def check_ledger(folder: Path, sent: list[list[str]]) -> int:
    """Check the reopened ledger against all that was sent; return what is spent for life."""
    store = open_store(folder / "node.db")
    ledger, runs = LedgerStore(store), RunStore()
    with store.transaction() as tx:
        assert tx.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        entries = ledger.entries(tx)
        (balance,) = ledger.balances(tx)
        states = {(entry.run, entry.release): entry.state for entry in entries}
        for run, place, reply, _head in sent:
            assert states[run, int(place)] == "spent"
            kept = runs.reply(tx, run, f"mask/{place}")
            assert kept is not None
            assert kept[1][:8].hex() == reply
            ledger.commit(tx, run, int(place))
        for (run, place), state in states.items():
            answered = runs.reply(tx, run, f"mask/{place}") is not None
            assert answered == (state == "spent"), "spend and reply are durable together"
        assert ledger.entries(tx) == entries, "replaying every commit changes nothing"
    store.close()
    held = [state for state in states.values() if state != "returned"]
    assert balance.lifetime_used_nano == len(held) * COST
    assert balance.lifetime_used_nano <= ROOM * COST
    assert len(entries) % 3 == 0, "a reservation is there whole or not at all"
    return sum(state == "spent" for state in states.values())


def check_audit(folder: Path, head: Head | None) -> None:
    AuditLog(folder / "audit.log", OWNER, ManualClock(datetime(2026, 1, 1, tzinfo=UTC))).close()
    with (folder / "audit.log").open("rb") as lines:
        verify_chain(lines, OWNER.public, head, "audit.log")


def test_what_was_sent_is_spent_after_every_kill(
    tmp_path: Path, nursery: subprocess.Popen[str]
) -> None:
    store = open_store(tmp_path / "node.db")
    limit = EpsilonLimit(1.0, 1e-5, FilterTerms(ORDER, ROOM * COST))
    account = Account(Scope("people"), Window("lifetime", None), limit)
    with store.transaction() as tx:
        LedgerStore(store).open_accounts(tx, DatasetAccounts("cards", "people", (account,)))
    store.close()
    moments = random.Random(20260301)
    spent, everything, head = 0, [], None
    for life in range(KILLS):
        # Every fourth is killed while it opens the store; the others in the midst of spending.
        sends = moments.randint(1, 20) if life % 4 else 0
        sent = live_and_die(nursery, life, sends=sends, seconds=moments.uniform(0, 0.01))
        assert len(sent) >= sends
        spent_before, everything = spent, everything + sent
        head = Head.parse(sent[-1][3]) if sent else head
        spent = check_ledger(tmp_path, sent)
        check_audit(tmp_path, head)
        assert spent >= spent_before
        assert spent >= len(everything)
    check_ledger(tmp_path, everything)
