"""A sweep of 100 small runs over worker processes: what share of the cores it keeps busy.

    python benchmarks/sweep.py [--workers N]

Each run is a small training with everything on (keys, masks, ledgers) and its twins. Counted is the
whole of it: starting the workers, all trials, results and page. The first share is the processor
time of the sweep over wall time and cores; other work on the machine lowers it. The second leaves
that out: the sweep's processor time over itself and the time in which a core had nothing of the
sweep to run. That time is sampled: the moments in which fewer of its processes than there are
cores had a thread that ran or waited for a core.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
from machine import print_header, print_table, verdict

from fedmkt.simulation.scenario.api import run_scenario
from fedmkt.simulation.scenario.engine import Unwatched
from fedmkt.simulation.scenario.folder import ResultsFolder
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.schema import Scenario
from fedmkt.simulation.scenario.workers import usual_workers

CORES = os.cpu_count() or 1
TARGET_IDLE = 0.10
SEEDS = 25
EPSILONS = [1, 2, 4, 8]
LOOK_S = 0.05


def small_runs() -> Scenario:
    values = {
        "name": "hundred small runs",
        "seeds": list(range(SEEDS)),
        "data": {"set": "bank_marketing"},
        "model": {"max_bins": 16, "rounds": 3},
        "privacy": {"trust": "local"},
        "sweep": {"privacy.epsilon": EPSILONS},
    }
    return scenario_of(values, source="benchmark")


def used_s() -> float:
    """Return the processor seconds of this process and of its children that ended."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def sweep(told: Connection, workers: int) -> None:
    """Run the sweep; tell when it begins, and how many trials and processor seconds it took."""
    scenario = small_runs()
    with tempfile.TemporaryDirectory() as folder:
        used = used_s()
        told.send("begins")
        results = run_scenario(
            scenario, ResultsFolder(Path(folder)), workers=workers, watcher=Unwatched()
        )
        told.send((results["trial"].n_unique(), used_s() - used))


def at_work(process: psutil.Process) -> int:
    """Return how many processes of a tree have a thread that runs or waits for a core."""
    return sum(_has_work(one.pid) for one in (process, *process.children(recursive=True)))


def _has_work(pid: int) -> bool:
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            if (task / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                return True
    except OSError:
        pass  # it ended meanwhile
    return False


def measure(workers: int) -> tuple[str, ...]:
    context = multiprocessing.get_context("spawn")
    heard, told = context.Pipe(duplex=False)
    child = context.Process(target=sweep, args=(told, workers))
    child.start()
    heard.recv()
    start, idle, looks, watched = time.perf_counter(), 0, 0, psutil.Process(child.pid)
    while not heard.poll(LOOK_S):
        idle += max(0, CORES - at_work(watched))
        looks += 1
    wall = time.perf_counter() - start
    trials, used = heard.recv()
    child.join()
    share = used / (used + idle / looks * wall)
    return (
        f"{trials} trials, {workers} workers",
        f"{wall:.1f}",
        f"{used / trials:.2f}",
        f"{used / wall / CORES:.1%}",
        f"{share:.1%}",
        verdict(1 - share, TARGET_IDLE),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=usual_workers())
    workers = parser.parse_args().workers
    print_header("A sweep of small runs")
    columns = ("sweep", "wall s", "CPU s a trial", "of all cores", "without others", "over 90%")
    print_table(columns, [measure(workers)])


if __name__ == "__main__":
    main()
