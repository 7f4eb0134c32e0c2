"""One process that is kept running: how it stands, whether it listens, when it may start again."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

from fedmkt.deployment.plan import HOST, Command, ProcessStatus

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_STEADY_S = 120.0  # a process that ran so long is not taken for one that cannot start
_LOOPBACK_OF_ALL = {"0.0.0.0": HOST, "::": "::1"}  # noqa: S104  asked, not bound


@dataclass
class Running:
    """A command, and its process if there is one."""

    command: Command
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    restarts: int = 0
    last_exit: int | None = None
    next_start: float = 0.0
    pause_s: float = _SHORTEST_PAUSE_S
    listening: bool = False

    def look(self) -> None:
        """Look whether it listens where it should."""
        port = self.command.port
        self.listening = self.alive and (port is None or listens(self.command.host, port))

    @property
    def alive(self) -> bool:
        """Return whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def up(self) -> bool:
        """Return whether it runs, and listened where it should at the last look."""
        return self.alive and self.listening

    def status(self) -> ProcessStatus:
        """Return how it stands."""
        alive = self.alive
        return ProcessStatus(
            name=self.command.name,
            state="up" if self.up else "starting" if alive else "waiting",
            pid=self.process.pid if alive and self.process is not None else None,
            started=self.started if alive else None,
            host=self.command.host,
            port=self.command.port,
            restarts=self.restarts,
            last_exit=self.last_exit,
        )

    def note_end(self) -> None:
        """Note that its process ended, and when the next one may start."""
        assert self.process is not None
        # The wrapper may have been killed by force, and what it held with it lives on.
        end_group(self.process.pid)
        self.last_exit = self.process.returncode
        self.restarts += 1
        lasted_s = time.monotonic() - self.next_start
        self.pause_s = (
            _SHORTEST_PAUSE_S if lasted_s > _STEADY_S else min(_LONGEST_PAUSE_S, 2 * self.pause_s)
        )
        self.next_start = time.monotonic() + self.pause_s
        self.process = None


def listens(host: str, port: int) -> bool:
    """Tell whether something accepts connections on a port; of all addresses, on loopback's."""
    asked = _LOOPBACK_OF_ALL.get(host, host)
    with contextlib.suppress(OSError), socket.create_connection((asked, port), 1.0):
        return True
    return False


def end_group(group: int) -> None:
    """End by force what is left of a process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
