"""Real training of 100 partners: this project in one process beside Flower on Ray and Apple's pfl.

    python benchmarks/federated_networks.py [--seeds 1 2 3]
    python benchmarks/federated_networks.py --short

100 partners hold 300 of Adult's training rows each, drawn by the seed. All train one network
(embeddings, 64 hidden units) from the same parameters in 10 rounds of federated averaging: 10 local
steps a round at each partner, batches of 30, the same learning rate, plain SGD, partners weighted
equally. Every one runs in a process of its own:

fedmkt  `fedmkt.horizontal.network_together.train_together`, trust none, no clipping: sums on the
        integer grid that is masked in a deployment. Batches are Poisson samples at rate 30 / 300.
Flower  its FedAvg and ClientApps over Ray (`network_flower.py`), a processor each, so two of them
        at once on two cores. Batches of a shuffled epoch. A warm round before is not counted.
pfl     its FederatedAveraging in one process (`network_pfl.py`), batches of an epoch in its order.
        A warm round before is not counted.

Peers need interpreters of their own, named by FEDMKT_RAY_PYTHON (with torch) and FEDMKT_PFL_PYTHON;
whichever is missing is left out. The AUC is of the same 16,281 test rows by the same code, from the
parameters that each gives back; the scores it computed itself must agree with them.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from machine import median, print_header, print_table, verdict

from fedmkt.contract.job import NetworkJob
from fedmkt.data import bundled
from fedmkt.evaluation.metrics import auc
from fedmkt.horizontal.network_update import NetworkRows
from fedmkt.models.network import Network
from fedmkt.models.network_shape import (
    NetworkInputs,
    first_parameters,
    network_inputs,
    shape_from_schema,
)

HERE = Path(__file__).parent
SCHEMA = bundled.schema("adult")
FEATURES = tuple(column.name for column in SCHEMA.columns if column.use == "feature")
SHAPE = shape_from_schema(SCHEMA, FEATURES, width=64)
ROWS_EACH, BATCH, LEARNING_RATE, START = 300, 30, 0.2, 0
NOISE_AUC = 0.003  # counts as the same: batches are drawn in other ways
LIMIT_S = 900.0
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
PEERS = {
    "Flower on Ray": ("network_flower", "FEDMKT_RAY_PYTHON"),
    "pfl": ("network_pfl", "FEDMKT_PFL_PYTHON"),
}
OURS = "fedmkt"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained."""

    partners: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Found:
    """What one of them took.

    rounds_s: all rounds. own_s: of the processor, where one process does all. other_s: the
    process's time apart from the rounds.
    """

    rounds_s: float
    own_s: float
    other_s: float
    auc: float


def rows_of(frame: pl.DataFrame) -> NetworkRows:
    target = (frame["income"] == SCHEMA.target_positive).cast(pl.UInt8).to_numpy()
    return NetworkRows(network_inputs(frame, SHAPE, dataset="adult"), target)


def write_task(path: Path, seed: int, size: Size, test: NetworkRows) -> None:
    table = bundled.load("adult_train")
    rows = rows_of(table.sample(size.partners * ROWS_EACH, seed=seed, shuffle=True))
    settings = {
        "partners": size.partners,
        "rows_each": ROWS_EACH,
        "rounds": size.rounds,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "seed": seed,
        "tables": SHAPE.tables,
        "layers": SHAPE.layers,
    }
    np.savez(
        path,
        settings=json.dumps(settings),
        numbers=rows.inputs.numbers,
        codes=rows.inputs.codes.astype(np.int64),
        target=rows.target.astype(np.float32),
        start=first_parameters(SHAPE, START),
        test_numbers=test.inputs.numbers,
        test_codes=test.inputs.codes.astype(np.int64),
    )


def job_of(partners: int, rounds: int) -> NetworkJob:
    members = tuple(f"p{number}" for number in range(partners))
    return NetworkJob.model_validate(
        {
            "name": "benchmark",
            "requester": members[0],
            "purpose": "benchmark",
            "dataset": "adult",
            "members": members,
            "target": "income",
            "features": FEATURES,
            "model": {
                "width": SHAPE.width,
                "start": START,
                "algorithm": "fedavg",
                "rounds": rounds,
                "local_steps": ROWS_EACH // BATCH,
                "learning_rate": LEARNING_RATE,
                "sampling_rate": BATCH / ROWS_EACH,
            },
            "privacy": {"trust": "none"},
        }
    )


def run_ours() -> None:
    """Train the task of the command line and write the result, as the peers' scripts do."""
    import torch

    from fedmkt.horizontal.network_together import train_together
    from fedmkt.privacy.mechanisms import ReproducibleNoise

    torch.set_num_threads(1)
    source, target = sys.argv[1:3]
    with np.load(source) as file:
        given = dict(file)
    settings: dict[str, Any] = json.loads(str(given["settings"]))
    job = job_of(settings["partners"], settings["rounds"])
    codes = given["codes"].astype(np.uint16)
    parts, noise = {}, {}
    for place, member in enumerate(job.members):
        own = slice(place * ROWS_EACH, (place + 1) * ROWS_EACH)
        inputs = NetworkInputs(given["numbers"][own], codes[own])
        parts[member] = NetworkRows(inputs, given["target"][own].astype(np.uint8))
        noise[member] = ReproducibleNoise(settings["seed"] * len(job.members) + place)
    began, own_began = time.perf_counter(), time.process_time()
    state, _ = train_together(parts, job, SHAPE, noise, run="benchmark")
    spent = {
        "rounds_s": time.perf_counter() - began,
        "own_s": time.process_time() - own_began,
    }
    test = NetworkInputs(given["test_numbers"], given["test_codes"].astype(np.uint16))
    scores = Network(SHAPE, state.parameters).scores(test)
    np.savez(target, parameters=state.parameters, scores=scores, **spent)


def measure(python: str, program: str, task: Path, test: NetworkRows) -> Found:
    """Run one of them to its end. Raises: RuntimeError for one that fails or takes too long."""
    with tempfile.TemporaryDirectory() as home:
        result = Path(home) / "result.npz"
        began = time.perf_counter()
        done = subprocess.run(
            [python, "-c", program, str(task), str(result)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=home,
            env={**os.environ, **QUIET, "FLWR_HOME": home, "PYTHONPATH": str(HERE)},
        )
        whole_s = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr[-2000:]}")
        with np.load(result) as file:
            parameters, scores = file["parameters"], file["scores"]
            rounds_s, own_s = float(file["rounds_s"]), float(file["own_s"])
    own = Network(SHAPE, parameters).scores(test.inputs)
    np.testing.assert_allclose(own, scores, atol=1e-3)
    return Found(rounds_s, own_s, whole_s - rounds_s, auc(test.target, own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--short", action="store_true", help="ours alone, few partners")
    options = parser.parse_args()
    size = Size(10, 2) if options.short else Size(100, 10)
    programs = {OURS: (sys.executable, "import federated_networks as it; it.run_ours()")}
    for name, (module, variable) in PEERS.items():
        if not options.short and (python := os.environ.get(variable)):
            programs[name] = (python, f"import {module} as it; it.main()")
    print_header(
        f"Networks: {size.partners} partners x {ROWS_EACH} rows, {size.rounds} rounds, "
        f"{SHAPE.length:,} parameters"
    )
    test = rows_of(bundled.load("adult_test"))
    found: dict[str, list[Found]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds[:1] if options.short else options.seeds:
            task = Path(folder) / f"task-{seed}.npz"
            write_task(task, seed, size, test)
            for name, (python, program) in programs.items():
                found[name].append(measure(python, program, task, test))
    print_found(found)


def print_found(found: dict[str, list[Found]]) -> None:
    columns = (
        "simulation",
        "all rounds, s",
        "processor, s",
        "start and end, s",
        "AUC of each seed",
    )
    rows = []
    for name, taken in found.items():
        seconds = median([one.rounds_s for one in taken])
        other = median([one.other_s for one in taken])
        scores = "  ".join(f"{one.auc:.4f}" for one in taken)
        own = median([one.own_s for one in taken])
        busy = "" if math.isnan(own) else f"{own:.2f}"
        rows.append((name, f"{seconds:.2f}", busy, f"{other:.1f}", scores))
    print_table(columns, rows)
    ours = found[OURS]
    for name, taken in found.items():
        if name == OURS:
            continue
        pairs = list(zip(taken, ours, strict=True))
        faster = median([peer.rounds_s / own.rounds_s for peer, own in pairs])
        apart = max(abs(peer.auc - own.auc) for peer, own in pairs)
        print(f"\n{faster:.1f} times as fast as {name}; more than 1: {verdict(-faster, -1.0)}")
        print(f"AUC at most {apart:.4f} apart; at most {NOISE_AUC}: {verdict(apart, NOISE_AUC)}")


if __name__ == "__main__":
    main()
