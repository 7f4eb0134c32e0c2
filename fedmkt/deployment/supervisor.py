"""Keeps the processes of a deployment on one machine running, until it is asked to stop.

    python -m fedmkt.deployment.supervisor DIR

Guarantee: a process that ends is started again, after a pause that doubles up to 15 s (a
SuperLink refuses a node that comes back too soon). When the supervisor ends, however it ends, all
processes end (`fedmkt.deployment.child`). How everything stands is in status.json, written whole
when it changes, and every 5 s at least.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from fedmkt.contract.revocation import revoked_members
from fedmkt.core.errors import FedmktError
from fedmkt.core.logs import log_to_stderr
from fedmkt.deployment.child import GRACE_S
from fedmkt.deployment.link_processes import EXECUTOR
from fedmkt.deployment.plan import (
    Command,
    Layout,
    Plan,
    ProcessStatus,
    Status,
    quiet_environment,
)
from fedmkt.deployment.running import Running, end_group
from fedmkt.storage.contract_files import read_contract, read_revocations
from fedmkt.storage.key_file import PASSPHRASE, PASSPHRASE_FILE
from fedmkt.transport.control import Control, LinkNode, operators_control

OWNER_ALONE = 0o077
"""The umask of a deployment: the SuperLink's database holds the tokens of running apps."""
_log = logging.getLogger(__name__)

_LOOK_S, _WRITE_S = 0.2, 5.0
_ASK_S, _ASK_WAITING_S = 5.0, 0.5
_PORT_S = 60.0
_BEGIN_S = 10.0


class Supervisor:
    """The supervisor of one deployment."""

    def __init__(self, layout: Layout, plan: Plan) -> None:
        self._layout = layout
        self._running = [Running(command) for command in plan.commands]
        self._plan = plan
        self._registered = False
        self._revoked: frozenset[str] = frozenset()
        self._last_problem = ""
        self._next_ask = 0.0
        self._written: tuple[Status, float] | None = None
        self._stopping = threading.Event()
        self._own = psutil.Process()

    def stop(self, *_: object) -> None:
        """Ask it to end all processes and itself."""
        self._stopping.set()

    def run(self) -> None:
        """Start everything and look after it until `stop`."""
        nodes: Mapping[str, bool] = {}
        self._write(nodes)
        try:
            while not self._stopping.wait(_LOOK_S):
                self._look_after()
                if time.monotonic() >= self._next_ask:
                    self._shut_out()
                    nodes = self._online()
                    steady = bool(nodes) and all(nodes.values())
                    self._next_ask = time.monotonic() + (_ASK_S if steady else _ASK_WAITING_S)
                self._write(nodes)
        finally:
            self._end_all()
            self._write({}, state="stopped")

    def _look_after(self) -> None:
        for one in self._running:
            one.look()
        for one in self._running:
            if one.process is not None and one.process.poll() is not None:
                one.note_end()
            if one.command.port is None and not self._register():
                # All that has no port of its own waits until the SuperLink knows the nodes.
                return
            if one.process is None and time.monotonic() >= one.next_start:
                self._start(one)
            if not self._ready(one):
                # What follows needs this one; it starts once this one is ready.
                return

    def _register(self) -> bool:
        """Register the nodes that are not, or by another key; return whether that is done."""
        if not self._registered:
            keys = {**self._plan.admitted}
            keys |= {one.member: one.public_key for one in self._plan.commands if one.member}
            revoked = self._revoked_now()
            with contextlib.suppress(FedmktError, OSError), self._control() as control:
                known = control.nodes()
                for member, path in keys.items():
                    if member not in revoked:
                        _let_in(control, member, Path(path).read_bytes(), known.get(member))
                self._registered = True
        return self._registered

    def _revoked_now(self) -> frozenset[str]:
        home = self._layout.coordinator
        try:
            return revoked_members(read_contract(home), read_revocations(home))
        except FedmktError as error:
            # Each run looks for itself and ends; here all that is at stake is who may connect.
            if str(error) != self._last_problem:
                _log.warning("%s", error)
            self._last_problem = str(error)
            return self._revoked

    def _shut_out(self) -> None:
        """Let members connect no longer whose key was revoked since the last look, or before."""
        revoked = self._revoked_now()
        if revoked == self._revoked:
            return
        with contextlib.suppress(FedmktError, OSError), self._control() as control:
            for member in revoked - self._revoked:
                control.unregister(member)
                _log.info("the node of %s was shut out: its key was revoked", member)
            self._revoked = revoked

    def _control(self) -> Control:
        return operators_control(self._layout.superlink, self._plan.control_port)

    def _ready(self, one: Running) -> bool:
        if one.process is None:
            return bool(one.command.member)
        if one.command.port is None or one.up:
            return True
        return time.monotonic() > one.next_start + _PORT_S

    def _start(self, one: Running) -> None:
        home = self._layout.folder / "logs" / "homes" / one.command.name
        home.mkdir(parents=True, exist_ok=True)
        log = self._layout.log(one.command.name)
        with log.open("ab") as file:
            one.process = subprocess.Popen(
                [sys.executable, "-m", "fedmkt.deployment.child", *one.command.arguments],
                env=_environment(home, one.command),
                cwd=home,
                stdin=subprocess.PIPE,  # the lifeline: it closes when this process ends
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with contextlib.suppress(psutil.Error):
            one.started = psutil.Process(one.process.pid).create_time()
        one.next_start = time.monotonic()

    def _online(self) -> Mapping[str, bool]:
        """Return which nodes are online; empty where the SuperLink does not say."""
        try:
            with self._control() as control:
                known = control.nodes()
        except (FedmktError, OSError):
            return {}
        since = {name: node.online_since for name, node in known.items()}
        online = {name: since.get(name) is not None for name in self._plan.admitted}
        for one in self._running:
            activated = since.get(one.command.member)
            if one.command.member:
                # The link takes a node for online a while after its death; this is another one.
                online[one.command.member] = activated is not None and activated >= one.started - 1
        return online

    def _end_all(self) -> None:
        for one in reversed(self._running):
            if one.process is not None and one.process.stdin is not None:
                one.process.stdin.close()
        until = time.monotonic() + 2 * GRACE_S
        for one in self._running:
            if one.process is None:
                continue
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0.1, until - time.monotonic()))
            end_group(one.process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.last_exit = one.process.wait(1.0)

    def _write(self, nodes: Mapping[str, bool], *, state: str = "up") -> None:
        stopped = state == "stopped"
        own = ProcessStatus(
            name="supervisor",
            state="stopped" if stopped else "up",
            pid=None if stopped else self._own.pid,
            started=None if stopped else self._own.create_time(),
        )
        processes = tuple(one.status() for one in self._running)
        if stopped:
            processes = tuple(
                one.model_copy(update={"state": "stopped", "pid": None}) for one in processes
            )
        now, at = time.monotonic(), datetime.now(UTC)
        status = Status(supervisor=own, at=at, processes=processes, nodes=dict(nodes))
        if self._written is not None:
            before, written = self._written
            if before == status.model_copy(update={"at": before.at}) and now < written + _WRITE_S:
                return
        self._layout.write_status(status)
        self._written = status, now


def _environment(home: Path, command: Command) -> dict[str, str]:
    environment = quiet_environment(home, command.environment)
    if command.name != EXECUTOR:
        # Security: the coordinator's app alone opens its key; the guard faces the network.
        environment.pop(PASSPHRASE, None)
        environment.pop(PASSPHRASE_FILE, None)
    return environment


def _let_in(control: Control, member: str, key: bytes, known: LinkNode | None) -> None:
    """Register a member's node by its key, in the place of an older one."""
    if known is not None and known.public_key == key:
        return
    try:
        if known is not None:
            control.unregister(member)
        control.register(member, key)
    except FedmktError as error:
        # The others are not to wait for it. A SuperLink takes no key again that it took before.
        _log.warning("the node of %s is not let in, it needs another link key: %s", member, error)


@contextmanager
def _asked_to_stop(supervisor: Supervisor) -> Iterator[None]:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    yield


def main(folder: Path) -> None:
    """Supervise the deployment in `folder` until asked to stop, in a process of its own.

    The calling process ends at once.
    """
    log_to_stderr()
    layout = Layout(folder)
    if os.fork():
        # Whoever called must be able to find the supervisor, and so to end it, from here on.
        until = time.monotonic() + _BEGIN_S
        while layout.read_status() is None and time.monotonic() < until:
            time.sleep(_LOOK_S / 10)
        os._exit(0)
    os.setsid()
    os.umask(OWNER_ALONE)
    supervisor = Supervisor(layout, layout.read_plan())
    with _asked_to_stop(supervisor):
        supervisor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
