"""Rounds of many partners with trivial work: this project's in-process grid beside Flower's Ray.

    python benchmarks/simulation_grid.py [--rounds 5]
    python benchmarks/simulation_grid.py --short

Both run the ServerApp and ClientApp of `simulation_apps.py`, each in a process of its own. Flower's
simulation needs an interpreter with `flwr[simulation]`, named by FEDMKT_RAY_PYTHON; without it,
ours is measured alone. A round is the median after the first; memory is the largest sum over all
processes of the memory that is theirs, with their part of what they share (PSS).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from machine import median, print_header, print_table, verdict

APPS = Path(__file__).with_name("simulation_apps.py")
SIZES, JUDGED = (100, 1_000, 10_000), 1_000
FASTER, MOST_MB = 10.0, 400.0
LOOK_S, END_S, LIMIT_S = 0.25, 20.0, 900.0
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured. Times in seconds, memory in MB."""

    start_s: float
    round_s: float
    peak_mb: float


def processes(root: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [root, *root.children(recursive=True)]
    return []


def memory_mb(found: list[psutil.Process]) -> float:
    total = 0
    for one in found:
        with suppress(psutil.Error):
            use = one.memory_full_info()
            total += getattr(use, "pss", use.rss)
    return total / 1e6


def measure(python: str, kind: str, nodes: int, rounds: int) -> Found:
    """Run one simulation to its end. Raises: RuntimeError for one that fails or takes too long."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        child = subprocess.Popen(
            [python, str(APPS), kind, str(nodes), str(rounds)],
            stdout=output,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **QUIET, "FLWR_HOME": home},
        )
        root, seen, peak = psutil.Process(child.pid), {}, 0.0
        try:
            while child.poll() is None and time.perf_counter() - started < LIMIT_S:
                found = processes(root)
                seen.update({one.pid: one for one in found})
                peak = max(peak, memory_mb(found))
                time.sleep(LOOK_S)
            whole = time.perf_counter() - started
        finally:
            end(list(seen.values()))
            child.wait()
        output.seek(0)
        lines = output.read().splitlines()
    if child.returncode or not lines:
        raise RuntimeError(f"{kind} with {nodes} nodes ended with {child.returncode}")
    times = json.loads(lines[-1])
    return Found(whole - sum(times), median(times[1:]), peak)


def end(found: list[psutil.Process]) -> None:
    """End what is left of the processes that were seen; psutil knows a reused number."""
    left = [one for one in found if one.is_running()]
    _, left = psutil.wait_procs(left, timeout=END_S if left else 0)
    for one in left:
        with suppress(psutil.Error):
            one.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="ours alone, few partners")
    options = parser.parse_args()
    peer = None if options.short else os.environ.get("FEDMKT_RAY_PYTHON")
    print_header("Rounds of a simulation")
    rows, ours = [], {}
    for nodes in (10, 100) if options.short else SIZES:
        found = ours[nodes] = measure(sys.executable, "in_process", nodes, options.rounds)
        rows.append(row_of("fedmkt in process", nodes, found))
    if peer:
        ray = measure(peer, "ray", JUDGED, options.rounds)
        rows.append(row_of("Flower on Ray", JUDGED, ray))
    columns = (
        "simulation",
        "partners",
        "a round, s",
        "ms a partner",
        "start and end, s",
        "peak, MB",
    )
    print_table(columns, rows)
    if peer:
        faster = ray.round_s / ours[JUDGED].round_s
        print(f"\n{faster:.1f} times as fast; at least {FASTER:g}: {verdict(-faster, -FASTER)}")
        most = verdict(ours[JUDGED].peak_mb, MOST_MB)
        print(f"{ours[JUDGED].peak_mb:.0f} MB; at most {MOST_MB:g}: {most}")


def row_of(kind: str, nodes: int, found: Found) -> tuple[str, ...]:
    return (
        kind,
        f"{nodes:,}",
        f"{found.round_s:.3f}",
        f"{1000 * found.round_s / nodes:.3f}",
        f"{found.start_s:.1f}",
        f"{found.peak_mb:.0f}",
    )


if __name__ == "__main__":
    main()
