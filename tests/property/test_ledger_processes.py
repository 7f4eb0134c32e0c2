"""Several processes that reserve against one cap at once never pass it together."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from fedmkt.core.clock import ManualClock
from fedmkt.privacy.accounts import (
    Account,
    DatasetAccounts,
    EpsilonLimit,
    Scope,
    Window,
)
from fedmkt.privacy.events import GaussianEvent
from fedmkt.privacy.filter import FilterTerms, cost_nano
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore

PROCESSES, TRIES, ROOM = 3, 40, 75
ORDER = 10
COST = cost_nano(GaussianEvent(5.0, 100.0, 1, 3), ORDER)
SPEND = f"""
import sys
from fedmkt.core.clock import SystemClock
from fedmkt.core.errors import BudgetExceeded
from fedmkt.privacy.events import GaussianEvent, Release
from fedmkt.privacy.ledger import Reservation
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore

store = NodeStore.open(sys.argv[1], SystemClock())
ledger = LedgerStore(store)
releases = (Release(0, "sum", GaussianEvent(5.0, 100.0, 1, 3)),)
print("ready", flush=True)
sys.stdin.readline()
for number in range({TRIES}):
    run = f"{{sys.argv[2]}}/{{number}}"
    try:
        with store.transaction() as tx:
            ledger.reserve(tx, Reservation(run, "job", "cards", "value", "bank", releases))
        with store.transaction() as tx:
            ledger.commit(tx, run, 0)
        print("spent", run)
    except BudgetExceeded:
        print("refused", run)
"""


def test_processes_share_a_cap_to_the_last_release(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = NodeStore.open(path, ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    ledger = LedgerStore(store)
    limit = EpsilonLimit(1.0, 1e-5, FilterTerms(ORDER, ROOM * COST))
    account = Account(Scope("people"), Window("lifetime", None), limit)
    with store.transaction() as tx:
        ledger.open_accounts(tx, DatasetAccounts("cards", "people", (account,)))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SPEND, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    # All are ready before the first may start, so that they really run at once.
    outputs = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        outputs += worker.communicate(timeout=60)[0].splitlines()
        assert worker.returncode == 0
    with store.transaction() as tx:
        entries = ledger.entries(tx)
        (balance,) = ledger.balances(tx)
    store.close()
    assert len([line for line in outputs if line.startswith("spent")]) == ROOM
    assert len(outputs) == PROCESSES * TRIES
    assert [entry.state for entry in entries] == ["spent"] * ROOM
    assert balance.lifetime_left == 0.0
