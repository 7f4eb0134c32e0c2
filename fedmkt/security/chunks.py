"""Work on many points, shared out among threads; the curve libraries let other threads run."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def in_chunks(
    count: int, work: Callable[[int, int], None], *, size: int, workers: int | None
) -> None:
    """Call work(start, stop) over all of `count`, `size` at a time.

    Args: workers: threads; all cores if None.
    """
    threads = workers or os.cpu_count() or 1
    starts = range(0, count, size)
    if threads == 1 or len(starts) <= 1:
        for start in starts:
            work(start, min(start + size, count))
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda start: work(start, min(start + size, count)), starts):
            pass
