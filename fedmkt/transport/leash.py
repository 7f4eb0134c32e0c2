"""Processes that work for another one: on a leash, so that none is left over.

Guarantee: a process that called `begin_on` ends at once when the other end of its leash closes, as
it does with its owner's end, killed or not. Ctrl-C is the owner's to answer.
Not guaranteed: the end of what such a process starts by itself, unless on a leash of its own.
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


def begin_on(leash: Connection) -> None:
    """Prepare this process: deaf to Ctrl-C, and on a leash."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()


def one_thread_each() -> AbstractContextManager[None]:
    """Give processes that are started in the block one thread for arithmetic."""
    return environment(dict.fromkeys(_THREADS, "1"))


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs; what it starts inherits them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _end_with(leash: Connection) -> None:
    """End this process at once when the other end of `leash` closes."""
    leash.poll(None)
    os._exit(1)
