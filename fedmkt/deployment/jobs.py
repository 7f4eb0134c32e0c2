"""Jobs on a running deployment: ordered, started, watched, cancelled, resumed.

Guarantee: a run is started on an order that its requester's key signed; how it stands is read from
the coordinator's own files, so it can be asked at any time and from any process.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedmkt.contract.job import AnyJob
from fedmkt.contract.order import Order, sign_order, verify_order
from fedmkt.contract.signatures import directory_of
from fedmkt.coordinator.home import open_coordinator
from fedmkt.coordinator.progress import Event, read_progress
from fedmkt.core.errors import (
    DeploymentFailed,
    LinkUnreachable,
    NodeFailed,
    NodesMissing,
    OutputUnwritable,
    QuorumLost,
    RequestConflict,
    ReservationClosed,
    RevocationInvalid,
    RunCancelled,
    RunNotOpen,
    RunUnknown,
)
from fedmkt.deployment.plan import Layout, is_alive
from fedmkt.storage.contract_files import read_contract, read_order, write_order
from fedmkt.storage.key_file import read_key
from fedmkt.storage.whole_file import write_whole
from fedmkt.transport.control import Control, operators_control
from fedmkt.transport.payload import INTERNAL_ERROR

_LOOK_S = 0.2
_CANCEL_S = 30.0
State = Literal["waiting", "running", "finished", "cancelled", "failed", "stopped"]

NOT_STARTED, PROCESS_ENDED = "not_started", "process_ended"
_RESUMABLE = (
    QuorumLost.code, NodesMissing.code, NodeFailed.code, OutputUnwritable.code,
    RevocationInvalid.code, INTERNAL_ERROR.code,
)  # fmt: skip
_OVER_AT_A_NODE = (RunNotOpen.code, ReservationClosed.code)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands.

    state: `stopped` is a run that never started, whose process ended without a word, or which may
    go on: resume it. run: the run in its place where partners were lost. events: what it did.
    code: the error's, NOT_STARTED or PROCESS_ENDED.
    """

    order: str
    run: str
    job: AnyJob
    state: State
    events: Sequence[Event]
    code: str = ""

    @property
    def over(self) -> bool:
        """Return whether nothing more happens by itself."""
        return self.state not in ("waiting", "running")


def submit(layout: Layout, job: AnyJob, run: str | None = None) -> str:
    """Have a job's requester sign it for a run, and start it; return the run's name.

    Args: run: None takes the next free of JOB-1, JOB-2, ...
    Raises: DeploymentFailed (nothing is up), RequestConflict (the run's name is used);
        LinkUnreachable (the order stays: resume its run); FileMissing (the requester's home is not
        on this machine); those of orders.
    """
    _require_up(layout)
    name = run or _free_name(layout, job.name)
    identity = read_key(layout.node(job.requester) / "identity.key")
    _begin(layout, sign_order(read_contract(layout.coordinator), name, job, identity))
    return name


def submit_order(layout: Layout, order: Order) -> str:
    """Start a run on an order that its requester signed elsewhere; return the run's name.

    Raises: SignatureInvalid (not the requester's); as `submit`.
    """
    _require_up(layout)
    contract = read_contract(layout.coordinator)
    verify_order(contract.hash, order, directory_of(contract))
    _begin(layout, order)
    return order.run


def resume(layout: Layout, run: str) -> None:
    """Start a run's order again: it goes on where it stopped, to the same model.

    Raises: RunUnknown, RunCancelled, DeploymentFailed (it runs, or nothing is up), LinkUnreachable.
    """
    _require_up(layout)
    found = standing(layout, run)
    if open_coordinator(layout.coordinator).is_cancelled(run):
        raise RunCancelled(run=run)
    problem = {
        "finished": "it is finished",
        "failed": f"it is over ({found.code}); a new order is needed",
    }.get(found.state, "" if found.over else "it has not stopped; follow it instead")
    if problem:
        raise DeploymentFailed(
            process=f"Run {run}", problem=problem, advice="Look at fedmkt job show."
        )
    _start(layout, run)


def cancel(layout: Layout, run: str) -> Standing:
    """Have a run end before its next exchange; nodes are told and give back what was not sent.

    A run that does not end in time is stopped from outside: then nodes are not told.
    Raises: RunUnknown, LinkUnreachable.
    """
    found = standing(layout, run)
    if found.over:
        return found
    open_coordinator(layout.coordinator).cancel(run)
    until = time.monotonic() + _CANCEL_S
    while not found.over and time.monotonic() < until:
        time.sleep(_LOOK_S)
        found = standing(layout, run)
    link_run = _link_run(layout, run)
    if not found.over and link_run is not None:
        with _control(layout) as control:
            control.stop(link_run)
        found = standing(layout, run)
    return found


def standings(layout: Layout) -> list[Standing]:
    """Return how all runs stand, oldest first."""
    files = sorted(
        (layout.coordinator / "orders").glob("*.json"), key=lambda path: path.stat().st_mtime
    )
    names = [path.stem for path in files]
    return [standing(layout, name) for name in names]


def standing(layout: Layout, run: str) -> Standing:
    """Return how a run stands. Raises: RunUnknown."""
    file = _order_file(layout, run)
    if not file.exists():
        known = sorted(path.stem for path in file.parent.glob("*.json"))
        raise RunUnknown(run=run, known=", ".join(known) or "none")
    job = read_order(file).job
    name, events = _latest(layout, run)
    state, code = _state(layout, run, events)
    return Standing(order=run, run=name, job=job, state=state, events=events, code=code)


def follow(layout: Layout, run: str) -> Iterator[Standing]:
    """Yield how a run stands, whenever that changes, until it is over. Raises: RunUnknown."""
    before: tuple[str, State, int] | None = None
    while True:
        found = standing(layout, run)
        now = (found.run, found.state, len(found.events))
        if now != before:
            before = now
            yield found
        if found.over:
            return
        time.sleep(_LOOK_S)


# --- files and link ---------------------------------------------------------------------------


def _latest(layout: Layout, run: str) -> tuple[str, Sequence[Event]]:
    """Return the run that stands in a run's place now, and its events."""
    name = run
    while True:
        events = read_progress(layout.coordinator / "runs" / name)
        following = [event.name for event in events if event.what == "continued"]
        if not following:
            return name, events
        name = following[-1]


def _state(layout: Layout, run: str, events: Sequence[Event]) -> tuple[State, str]:
    last = events[-1] if events else None
    if last is not None and last.what == "ended":
        if not last.code:
            return "finished", ""
        if last.code == RunCancelled.code:
            return "cancelled", ""
        # What ended at a node does not open again, however often it is asked.
        goes_on = last.code in _RESUMABLE and last.name not in _OVER_AT_A_NODE
        return ("stopped" if goes_on else "failed"), last.code
    begun = [event for event in events if event.what == "begun"]
    if begun and not is_alive(begun[-1].pid, None):
        # Flower notices minutes later.
        return "stopped", PROCESS_ENDED
    link_run = _link_run(layout, run)
    if link_run is None:
        # The SuperLink never said that it took the order; what began has noted so itself.
        return ("running", "") if events else ("stopped", NOT_STARTED)
    try:
        with _control(layout) as control:
            status = control.run(link_run).status
    except (LinkUnreachable, OSError):
        return ("running" if events else "waiting"), ""
    if status.startswith("finished"):
        # It may have written its last word between the two looks.
        name, again = _latest(layout, run)
        if again and again[-1].what == "ended" and again != events:
            return _state(layout, name, again)
        return "stopped", PROCESS_ENDED
    return ("running" if events else "waiting"), ""


def _order_file(layout: Layout, run: str) -> Path:
    return layout.coordinator / "orders" / f"{run}.json"


def _link_file(layout: Layout, run: str) -> Path:
    # Beside the orders, not among them: a requester names its runs.
    return layout.coordinator / "links" / f"{run}.json"


def _link_run(layout: Layout, run: str) -> int | None:
    """Return a run's number at the SuperLink; None where it was not told one."""
    try:
        return int(json.loads(_link_file(layout, run).read_text("utf-8"))["run_id"])
    except FileNotFoundError:
        return None


def _begin(layout: Layout, order: Order) -> None:
    """Keep an order, and start it. Raises: RequestConflict, LinkUnreachable, OutputUnwritable."""
    file = _order_file(layout, order.run)
    if file.exists():
        raise RequestConflict(step="submit", run=order.run)
    write_order(file, order)
    _start(layout, order.run)


def _start(layout: Layout, run: str) -> None:
    config = {
        "home": str(layout.coordinator.resolve()),
        "order": str(_order_file(layout, run).resolve()),
    }
    with _control(layout) as control:
        run_id = control.start(config)
    write_whole(_link_file(layout, run), json.dumps({"run_id": run_id}).encode())


def _control(layout: Layout) -> Control:
    return operators_control(layout.superlink, layout.read_plan().control_port)


def _require_up(layout: Layout) -> None:
    status = layout.read_status()
    if status is None or not status.supervisor.alive:
        raise DeploymentFailed(
            process=str(layout.folder), problem="nothing runs there", advice="Run fedmkt up first."
        )


def _free_name(layout: Layout, job: str) -> str:
    number = 1
    while _order_file(layout, f"{job}-{number}").exists():
        number += 1
    return f"{job}-{number}"
