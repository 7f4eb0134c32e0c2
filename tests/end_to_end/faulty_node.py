"""A node's process with one thing wrong: python faulty_node.py WHAT FILE ARGUMENTS...

WHAT: `clock` is off by as many seconds as FILE holds, none where there is no such file; `twice`
has each message delivered two times, and says on standard error how the answers compare.
"""

import contextlib
import datetime
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

TWICE_SAME, TWICE_OTHER = "delivered twice, same answer", "delivered twice, another answer"


def wrong_clock(off: Path) -> None:
    """Have the project's clock and Flower's tell another time in this process."""
    import flwr.supercore.date

    from fedmkt.core.clock import SystemClock

    class Wrong(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            seconds = 0.0
            with contextlib.suppress(OSError, ValueError):
                seconds = float(off.read_text())
            return datetime.datetime.now(tz) + datetime.timedelta(seconds=seconds)

    # Others hold the function `now` already; it looks up this name each time.
    vars(flwr.supercore.date)["datetime"] = SimpleNamespace(datetime=Wrong, UTC=datetime.UTC)
    SystemClock.now = lambda _self: Wrong.now(datetime.UTC)  # type: ignore[method-assign]


def everything_twice(_file: Path) -> None:
    """Have each message answered two times, and both answers sent."""
    from fedmkt.transport.payload import read_reply
    from fedmkt.transport.warm_runner import WarmRunner, send_reply

    answered = WarmRunner._answer

    def twice(self, message, talk):  # type: ignore[no-untyped-def]
        first = answered(self, message, talk)
        with contextlib.suppress(Exception):
            send_reply(first, 0.0, talk)
        second = answered(self, message, talk)
        same = read_reply(first) == read_reply(second)
        print(TWICE_SAME if same else TWICE_OTHER, file=sys.stderr, flush=True)
        return second

    WarmRunner._answer = twice  # type: ignore[method-assign]


WRONG = {"clock": wrong_clock, "twice": everything_twice}

if __name__ == "__main__":
    _, what, file, *words = sys.argv
    WRONG[what](Path(file))
    sys.argv[1:] = words
    runpy.run_module("fedmkt.deployment.node_process", run_name="__main__")
