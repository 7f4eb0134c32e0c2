"""Finding shared customers: two members on one machine, from identifiers to links at both.

    python benchmarks/alignment.py [--ids 100000] [--full]

Each member is a process of its own with half of the cores, and both have half of their customers
in common, under one key. Timed is everything between two lists of identifiers and the links at both
members: hashing, blinding, checks, the bytes between them, linking and comparing digests; no
network and no dummies. `--full` adds 1,000,000 customers. More tables: one member's own work when
it has all cores, as on a machine of its own, and the primitives. Rates are by wall time and by
processor time, which a busy machine disturbs less.

OpenMined's package pins a protobuf that does not fit here, so it is measured in the same run in an
environment of its own, if one is named:

    python -m venv /tmp/openmined && /tmp/openmined/bin/pip install openmined-psi
    FEDMKT_OPENMINED_PYTHON=/tmp/openmined/bin/python python benchmarks/alignment.py

There only the client learns the intersection. It runs in one process; since the server's list and
the client's request could be made at the same time, only the longer of these two counts.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np
from machine import median, print_header, print_table, wall

from fedmkt.security.psi.group import BlindingKey, Points, blind, hash_to_points
from fedmkt.security.psi.linking import (
    digest_of,
    find_positions,
    link,
    links_from_bytes,
    links_to_bytes,
)
from fedmkt.security.psi.lists import own_list, pass_on, tags_from_bytes, tags_to_bytes

CORES = os.cpu_count() or 1
Rates = tuple[float, float]  # by wall time and by processor time
DOMAIN = b"benchmark"
TARGET_PER_SECOND = 15_000
TARGET_MB = 1000
FULL = 1_000_000
OPENMINED_IDS = 100_000
PRIMITIVE_IDS = 20_000
REPEATS = 5
OPENMINED = """
import json, sys, time
import private_set_intersection.python as psi
count = int(sys.argv[1])
mine = [f"customer{i}@example.org" for i in range(count)]
theirs = [f"customer{i + count // 2}@example.org" for i in range(count)]
client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
wall, used = [time.perf_counter()], [time.process_time()]
def lap():
    wall.append(time.perf_counter())
    used.append(time.process_time())
setup = server.CreateSetupMessage(1e-9, count, theirs, psi.DataStructure.RAW)
lap()
request = client.CreateRequest(mine)
lap()
response = server.ProcessRequest(request)
lap()
found = client.GetIntersection(setup, response)
lap()
assert len(found) == count - count // 2
steps = [[b - a for a, b in zip(at, at[1:])] for at in (wall, used)]
print(json.dumps({"steps": steps, "version": psi.__version__}))
"""


@dataclass
class Report:
    """What a member measured: seconds from first to last step, of the processor, and by step."""

    total_s: float = 0.0
    processor_s: float = 0.0
    peak_mb: float = 0.0
    steps_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.steps_s[name] = self.steps_s.get(name, 0.0) + time.perf_counter() - start


def identifiers(count: int, first: int) -> list[bytes]:
    return [b"customer%d@example.org" % i for i in range(first, first + count)]


def exchange(pipe: Connection, data: bytes, *, speaks: bool) -> bytes:
    """Send and receive; one member speaks first, or both would wait before a full pipe."""
    if speaks:
        pipe.send_bytes(data)
    received = pipe.recv_bytes()
    if not speaks:
        pipe.send_bytes(data)
    return received


def member(pipe: Connection, results: Connection, count: int, leads: bool) -> None:
    """Run one member, with half of the cores; the one that leads compares and sends the links."""
    values = identifiers(count, 0 if leads else count // 2)
    key, report, workers = BlindingKey.generate(), Report(), max(1, CORES // 2)
    exchange(pipe, b"ready", speaks=leads)
    start, used = time.perf_counter(), time.process_time()
    with report.step("own list: hash, shuffle, blind"):
        own, order = own_list([values], padded_rows=count, domain=DOMAIN, key=key, workers=workers)
    with report.step("bytes, and waiting for the other"):
        data = exchange(pipe, tags_to_bytes(own), speaks=leads)
    with report.step("checks of two lists"):
        received = tags_from_bytes(data, columns=1, rows=count, member="other")
    with report.step("other's list: blind"):
        theirs = pass_on(received, key, member="other", workers=workers)
    with report.step("bytes, and waiting for the other"):
        data = exchange(pipe, tags_to_bytes(theirs), speaks=leads)
    with report.step("checks of two lists"):
        mine = tags_from_bytes(data, columns=1, rows=count, member="own")
    with report.step("links"):
        sent = links_to_bytes(link({"own": mine, "other": theirs})) if leads else b""
    with report.step("bytes, and waiting for the other"):
        received_links = exchange(pipe, sent, speaks=leads)
    with report.step("positions and digest"):
        links = links_from_bytes(sent or received_links, alignment="benchmark")
        found = order[find_positions(mine, links, alignment="benchmark")]
        digest = digest_of(links, alignment="benchmark").encode()
    assert exchange(pipe, digest, speaks=leads) == digest
    report.total_s = time.perf_counter() - start
    report.processor_s = time.process_time() - used
    report.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    shared = np.arange(count // 2, count) if leads else np.arange(count - count // 2)
    np.testing.assert_array_equal(np.sort(found), shared)
    results.send(report)


def two_members(count: int) -> Rates:
    """Run and report an alignment; return customers a second and member."""
    context = multiprocessing.get_context("spawn")
    ends, results = context.Pipe(), [context.Pipe() for _ in range(2)]
    members = [
        context.Process(target=member, args=(end, result[1], count, end is ends[0]))
        for end, result in zip(ends, results, strict=True)
    ]
    for each in members:
        each.start()
    for end in ends:
        end.close()
    reports: list[Report] = [result[0].recv() for result in results]
    for each in members:
        each.join()
    rates = (
        count / max(report.total_s for report in reports),
        count / max(report.processor_s for report in reports),
    )
    print_members(count, reports, rates)
    return rates


def print_members(count: int, reports: list[Report], rates: Rates) -> None:
    steps = [
        (name, *(f"{each.steps_s[name]:.2f}" for each in reports)) for name in reports[0].steps_s
    ]
    print_table(
        (f"two members x {count:,} customers on {CORES} cores, seconds", "leads", "follows"),
        [
            *steps,
            ("wall", *(f"{each.total_s:.2f}" for each in reports)),
            ("processor", *(f"{each.processor_s:.2f}" for each in reports)),
            (f"peak memory, MB (at most {TARGET_MB})", *(f"{r.peak_mb:.0f}" for r in reports)),
        ],
    )
    print_rates(f"each of two members, {count:,} customers", rates)


def print_rates(title: str, rates: Rates) -> None:
    print_table(
        (f"{title}: a second", "wall", "processor", "target"),
        [
            ("own customers aligned", *(f"{rate:,.0f}" for rate in rates), judged(rates[0])),
            ("identifiers blinded, own and other's", *(f"{2 * rate:,.0f}" for rate in rates), ""),
        ],
    )


def one_member(count: int) -> None:
    """Report one member's own work with all cores: the other works on its own machine."""
    values, others = identifiers(count, 0), identifiers(count, count // 2)
    key, other_key = BlindingKey.generate(), BlindingKey.generate()
    theirs = own_list([others], padded_rows=count, domain=DOMAIN, key=other_key)[0]
    used = time.process_time()
    seconds, (own, _) = wall(lambda: own_list([values], padded_rows=count, domain=DOMAIN, key=key))
    used = time.process_time() - used
    mine = pass_on(own, other_key, member="own")

    def rest() -> int:
        received = tags_from_bytes(tags_to_bytes(theirs), columns=1, rows=count, member="other")
        full = pass_on(received, key, member="other")
        back = tags_from_bytes(tags_to_bytes(mine), columns=1, rows=count, member="own")
        return link({"own": back, "other": full}).count

    start = time.process_time()
    more, found = wall(rest)
    used += time.process_time() - start
    assert found == count - count // 2
    rates = (count / (seconds + more), count * CORES / used)
    print_rates(f"one member, {count:,} customers, {CORES} cores to itself", rates)


def judged(rate: float) -> str:
    return f"at least {TARGET_PER_SECOND:,}: {'yes' if rate >= TARGET_PER_SECOND else '**no**'}"


def blind_one_thread(points: Points, key: bytes) -> Points:
    return blind(points, BlindingKey.from_bytes(key), member="own", workers=1)


def primitives(count: int) -> None:
    """Report hashing and blinding in one thread, all threads, all processes, taken in turn."""
    values, key = identifiers(count, 0), BlindingKey.generate()
    points = hash_to_points(values, domain=DOMAIN)
    parts, keys = np.array_split(points, 8 * CORES), [key.to_bytes()] * 8 * CORES
    taken: dict[str, list[float]] = {}
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(blind_one_thread, parts, keys))  # starts the processes
        calls = {
            "hash to the curve, one thread": lambda: hash_to_points(
                values, domain=DOMAIN, workers=1
            ),
            f"hash to the curve, {CORES} threads": lambda: hash_to_points(values, domain=DOMAIN),
            "blind, one thread": lambda: blind(points, key, member="own", workers=1),
            f"blind, {CORES} threads": lambda: blind(points, key, member="own"),
            f"blind, {CORES} processes": lambda: list(pool.map(blind_one_thread, parts, keys)),
        }
        for _ in range(REPEATS):
            for name, call in calls.items():
                taken.setdefault(name, []).append(wall(call)[0])
    rows = [(name, f"{count / median(seconds):,.0f}") for name, seconds in taken.items()]
    print_table((f"primitives, medians of {REPEATS}", "a second"), rows)


def openmined(python: str, ours: Rates) -> None:
    """Report OpenMined's package beside our two members' rates."""
    command = [python, "-c", OPENMINED, str(OPENMINED_IDS)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    measured = json.loads(done.stdout)
    together, apart = [], []
    for setup, request, answer, compare in measured["steps"]:
        together.append(OPENMINED_IDS / (max(setup, request) + answer + compare))
        apart.append(OPENMINED_IDS / (setup + request + answer + compare))
    lines = (("first steps at the same time", together), ("one step after another", apart))
    title = f"openmined-psi {measured['version']}, {OPENMINED_IDS:,} customers each"
    print_table(
        (f"{title}: a second", "wall", "processor"),
        [
            *((name, *(f"{rate:,.0f}" for rate in rates)) for name, rates in lines),
            *(
                (f"fedmkt to: {name}", *(f"{a / b:.1f}x" for a, b in zip(ours, rates, strict=True)))
                for name, rates in lines
            ),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--ids", type=int, default=100_000)
    parser.add_argument("--full", action="store_true", help=f"also {FULL:,} customers each")
    args = parser.parse_args()
    print_header("Alignment of two members")
    primitives(PRIMITIVE_IDS)
    ours = two_members(args.ids)
    one_member(args.ids)
    if python := os.environ.get("FEDMKT_OPENMINED_PYTHON"):
        openmined(python, ours)
    else:
        print("\nopenmined-psi: not measured; FEDMKT_OPENMINED_PYTHON names no Python.")
    if args.full:
        two_members(FULL)


if __name__ == "__main__":
    main()
