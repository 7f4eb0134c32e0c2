"""Runs one command for as long as whoever started it lives, and not a moment longer.

    python -m fedmkt.deployment.child COMMAND ARGUMENTS...

Guarantee: standard input is a lifeline. When its other end closes, however that came about
(kill -9 included), the command is ended, asked first, then by force, and what it started in its
process group by force. The same when this process is asked to end. When the command ends by itself,
what it left behind in the group is ended too, and its exit code is passed on.
Not guaranteed: the end of what left the process group, or of the command when this process itself
is killed by force; then its starter ends the group.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

GRACE_S = 5.0


def main(command: list[str]) -> int:
    """Run the command; return its exit code."""
    with contextlib.suppress(PermissionError):  # already the leader of a session
        os.setsid()
    ended = threading.Event()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end(*_: object) -> None:
        if not ended.is_set():
            ended.set()
            threading.Thread(target=_end, args=(process,), daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(end,), daemon=True).start()
    code = process.wait()
    ended.set()
    _kill_rest()
    return code if code >= 0 else 128 - code


def _watch(end: Callable[[], None]) -> None:
    """Wait until the lifeline closes."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    end()


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    until = time.monotonic() + GRACE_S
    while time.monotonic() < until:
        if process.poll() is not None:
            return
        time.sleep(0.05)
    process.kill()


def _kill_rest() -> None:
    """End by force what is left of this process group, but for this process."""
    import psutil

    group = os.getpgrp()
    for other in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if other.pid != os.getpid() and os.getpgid(other.pid) == group:
                other.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
