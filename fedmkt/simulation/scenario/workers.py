"""Worker processes for trials: each with one thread for arithmetic, none left over.

Guarantee: a worker ends when the sweep does, also when the sweep's process is killed.
Not guaranteed: that they suffice to keep every core busy; `usual_workers` were measured to.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from fedmkt.core.errors import (
    ExtraMissing,
    FedmktError,
    FileMissing,
    OutputUnwritable,
    StorageFailed,
    WorkerLost,
)
from fedmkt.transport.leash import begin_on, one_thread_each

T = TypeVar("T")
ENDING = (ExtraMissing, FileMissing, OutputUnwritable, StorageFailed)
"""What is no fault of a trial: the others would meet it too, and it passes without a change of the
scenario."""


class RunAll(Protocol):
    """Does the same work for many trials and tells of each one that is done, or failed."""

    def __call__(
        self,
        work: Callable[[T, Path], float],
        trials: Sequence[T],
        folder: Path,
        told: Callable[[T, float | FedmktError], None],
    ) -> None:
        """Run them, in this order as far as there are workers. Raises: what ends a sweep."""
        ...


def usual_workers() -> int:
    """Return one worker more than there are cores: while one waits for the disk, another works."""
    return (os.cpu_count() or 1) + 1


@contextmanager
def worker_pool(workers: int) -> Iterator[RunAll]:
    """Give what runs trials: in this process where one worker is asked for.

    Raises: WorkerLost (a worker ended by itself).
    """
    if workers == 1:
        yield _here
        return
    context = multiprocessing.get_context("spawn")
    leash, held = context.Pipe(duplex=False)
    with one_thread_each():
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=begin_on, initargs=(leash,)
        )
        try:
            yield _Pooled(pool)
        except BaseException:
            held.close()  # what workers are at is given up; what they finished is on disk
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            held.close()
            leash.close()


def _here(
    work: Callable[[T, Path], float],
    trials: Sequence[T],
    folder: Path,
    told: Callable[[T, float | FedmktError], None],
) -> None:
    for trial in trials:
        told(trial, _outcome(partial(work, trial, folder)))


def _outcome(work: Callable[[], float]) -> float | FedmktError:
    """Return the seconds that a trial took, or why it failed. Raises: what ends a sweep."""
    try:
        return work()
    except ENDING:
        raise
    except FedmktError as error:
        return error


class _Pooled:
    """Runs trials over a pool of processes."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def __call__(
        self,
        work: Callable[[T, Path], float],
        trials: Sequence[T],
        folder: Path,
        told: Callable[[T, float | FedmktError], None],
    ) -> None:
        """Run them. Raises: WorkerLost, and what else ends a sweep."""
        begun = {self._pool.submit(work, trial, folder): trial for trial in trials}
        try:
            for future in as_completed(begun):
                told(begun[future], _outcome(future.result))
        except BrokenProcessPool:
            raise WorkerLost from None
