"""What every benchmark prints first: the machine and the date; and tables ready for the docs.

    python benchmarks/machine.py

It warns when other work keeps the processors busy: wall times are then not worth keeping.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

BUSY_SHARE = 0.1
"""Share of the processors in use by others from which wall times are called disturbed."""


def describe() -> str:
    """Return one line about this machine and the libraries that carry the work."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "polars", "cryptography"))
    return (
        f"{processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB, {platform.system()}, "
        f"Python {platform.python_version()}, {libraries}"
    )


def print_header(title: str) -> None:
    """Print a benchmark's title, date and machine, and whether the machine is busy."""
    now = datetime.now(UTC)
    busy = busy_share()
    print(f"\n## {title}\n\n{now:%Y-%m-%d %H:%M} UTC; {describe()}; others use {busy:.0%}")
    if busy > BUSY_SHARE:
        print("WARNING: the machine is busy; run this again before keeping any wall time.")


def busy_share(seconds: float = 1.0) -> float:
    """Return the share of the processors in use while this process sleeps."""
    before = _ticks()
    time.sleep(seconds)
    idle, total = (after - then for after, then in zip(_ticks(), before, strict=True))
    return 1 - idle / total if total else os.getloadavg()[0] / (os.cpu_count() or 1)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table: the first column is text, the others are figures."""
    print("\n| " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * (len(columns) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def verdict(value: float, limit: float) -> str:
    """Return whether a figure is within its target."""
    return "yes" if value <= limit else "**no**"


def wall(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall time of a call in seconds, and what it returned."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def spread(values: Sequence[float]) -> str:
    """Return the smallest and largest of repeated figures."""
    return f"{min(values):.2f} to {max(values):.2f}"


def median(values: Sequence[float]) -> float:
    """Return the median of repeated figures."""
    return statistics.median(values)


def processor() -> str:
    """Return the processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _ticks() -> tuple[int, int]:
    """Return idle and all ticks of the processors since start-up; zeros where nobody counts."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return 0, 0
    ticks = [int(word) for word in first.split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _memory_gb() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


if __name__ == "__main__":
    print_header("Machine")
