"""What must hold of a deployment after any fault, looked at once nothing of it runs."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
from end_to_end.fault_moments import remembered

from fedmkt.coordinator.home import open_coordinator
from fedmkt.core.errors import FedmktError
from fedmkt.deployment.jobs import Standing
from fedmkt.deployment.plan import Layout
from fedmkt.evidence.receipts import verify_receipt
from fedmkt.identity.hash_chain import verify_chain
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.home import AUDIT_FILE, audit_records, open_home


def states_of(layout: Layout, member: str, run: str) -> dict[int, str]:
    """Return the state of each release of a run in a member's ledger."""
    home = open_home(layout.node(member))
    try:
        with home.store.transaction() as tx:
            return {entry.release: entry.state for entry in home.ledger.entries(tx, run)}
    finally:
        home.close()


def recorded_releases(layout: Layout, member: str, run: str) -> list[int]:
    """Return the releases of a run in a member's audit log, in their order."""
    return [
        release
        for record in audit_records(layout.node(member) / AUDIT_FILE)
        if record["facts"].get("run") == run
        for release in record["facts"].get("releases", ())
    ]


def uncounted(layout: Layout, members: tuple[str, ...], found: Standing) -> Iterator[str]:
    """Yield whose ledger counts less than its log or the coordinator's journal shows."""
    for member in members:
        states = states_of(layout, member, found.order)
        sent = {
            int(step.partition("/")[2])
            for step, sender in remembered(layout, found.run)
            if sender == member and step.startswith("mask/")
        }
        left = sent | set(recorded_releases(layout, member, found.order))
        yield from (
            f"{member}: release {release} left and is {states.get(release)}"
            for release in sorted(left)
            if states.get(release) != "spent"
        )
        if found.state == "finished" and set(states.values()) != {"spent"}:
            yield f"{member}: the run is finished and its ledger says {states}"


def unverified(layout: Layout, members: tuple[str, ...]) -> Iterator[str]:
    """Yield whose audit log does not verify from its first record to its last."""
    for member in members:
        home = open_home(layout.node(member))
        try:
            with (home.folder / AUDIT_FILE).open("rb") as lines:
                verify_chain(lines, home.identity.public, home.audit.head, member)
        except FedmktError as error:
            yield f"{member}: its log does not verify ({error.code})"
        finally:
            home.close()


def half_written(layout: Layout, members: tuple[str, ...], found: Standing) -> Iterator[str]:
    """Yield which model or receipt is not whole, or stands where none belongs; partial files."""
    run = layout.coordinator / "runs" / found.run
    models = [*run.glob("model.json"), *run.glob("rounds/*.json")]
    models += [path for member in members for path in layout.node(member).glob("models/*.json")]
    for path in models:
        try:
            AdditiveModel.from_json(json.loads(path.read_bytes()))
        except (ValueError, KeyError, TypeError):
            yield f"{path.name} is no whole model"
    receipts = {path.stem: path.read_bytes() for path in run.glob("receipts/*.json")}
    directory = open_coordinator(layout.coordinator).directory
    for member, data in receipts.items():
        try:
            verify_receipt(data, directory[member], member)
        except FedmktError as error:
            yield f"the receipt of {member} does not verify ({error.code})"
    finished = found.state == "finished"
    if finished != (run / "model.json").exists() or (finished and set(receipts) != set(members)):
        yield f"the run is {found.state}, and its model or receipts say otherwise"
    yield from (f"left half-written: {path.name}" for path in _partials(layout.folder))


def _partials(folder: Path) -> list[Path]:
    """Return what `write_whole` names a file before it is whole."""
    rooms = (folder / "coordinator", folder / "nodes")
    return [path for room in rooms for path in room.rglob(".*.*") if path.is_file()]


def left_behind(layout: Layout) -> Iterator[str]:
    """Yield the processes that name the deployment's folder, in command line or environment."""
    folder = str(layout.folder.resolve())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            below = process.environ().get("FLWR_HOME", "").startswith(folder)
            if (folder in line or below) and process.status() != psutil.STATUS_ZOMBIE:
                yield f"left behind: {line[:80]}"
