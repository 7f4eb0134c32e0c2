"""One training with 3 to 50 nodes on one machine: SuperLink, guard, TLS, keys of nodes.

    python benchmarks/fifty_nodes.py [--nodes 3 10 25 50] [--own]

Guard, SuperLink, executor and coordinator are what `fedmkt up` starts. A node is a process with a
home, a key, a ledger, an audit log, a table and a connection of its own, and runs what a node runs.
Light about it: nodes are forked from one process that loaded the library, so that they share its
code in memory and load it once. --own starts each node by itself, as `fedmkt up` does.
All share this machine's processors: times are upper bounds of what nodes elsewhere would see.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from machine import print_header, print_table
from process_use import Use, Watch, memory_mb

from fedmkt.contract.collaboration import Cap, Dataset
from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.data import bundled
from fedmkt.deployment import jobs, node_process, up
from fedmkt.deployment.plan import HOST, Command, Layout, Plan
from fedmkt.deployment.supervisor import Supervisor
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.demo_plan import features
from fedmkt.simulation.world import Terms, build_world

ROWS_EACH, DATASET, TARGET = 600, "prospects", "income"
MODEL = AdditiveSettings(max_bins=64, rounds=3)
START_S, SETTLE_S, IDLE_S, RUN_S = 300.0, 20.0, 10.0, 1200.0
FORKED = "nodes"


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured with so many nodes. Times in seconds, memory in MB, traffic in bytes."""

    nodes: int
    online_s: float
    start_s: float
    training_s: float
    exchanges: int
    up_bytes: int
    down_bytes: int
    idle: Use
    busy: Use
    node_pss: float
    node_own: float
    node_rss: float


def members_named(count: int) -> tuple[str, ...]:
    return tuple(f"member-{number:02}" for number in range(count))


def make_world(folder: Path, members: tuple[str, ...]) -> Job:
    """Make homes, contract and tables; return the job that is measured."""
    table = bundled.load("adult_train")
    tables = {name: table.slice(n * ROWS_EACH, ROWS_EACH) for n, name in enumerate(members)}
    dataset = Dataset(
        name=DATASET,
        population=DATASET,
        holders=members,
        uses={"prospecting": (members[0],)},
        modes=("local", "distributed"),
        table=bundled.schema("adult"),
    )
    caps = (Cap(dataset=DATASET, lifetime_epsilon=10, period_epsilon=10),)
    terms = Terms("scale", (dataset,), caps, datetime.now(UTC) + timedelta(days=1))
    build_world(folder, terms, tables, noise_seed=None)
    noise = noise_multiplier_for(epsilon=4.0, delta=1e-5, releases=MODEL.releases)
    return Job(
        name="scale",
        requester=members[0],
        purpose="prospecting",
        dataset=DATASET,
        members=members,
        target=TARGET,
        features=features(),
        model=MODEL,
        privacy=PrivacySettings(trust="local", epsilon=4.0, noise_multiplier=noise),
    )


def planned(layout: Layout, members: tuple[str, ...]) -> Plan:
    """Return what `fedmkt up` plans, with one process that forks all nodes in their places."""
    plan = up._planned(layout, members)
    keys = {one.member: one.public_key for one in plan.commands if one.member}
    link = tuple(one for one in plan.commands if not one.member)
    forks = Command(
        name=FORKED,
        arguments=(
            sys.executable, str(Path(__file__).resolve()),
            "--fork", str(layout.folder), f"{HOST}:{plan.fleet_port}", *members,
        ),
    )  # fmt: skip
    return plan.model_copy(update={"commands": (*link, forks), "admitted": keys})


def fork_nodes(folder: Path, link: str, members: list[str]) -> None:
    """Be the parent of all nodes, until one ends or this process is asked to."""
    layout = Layout(folder)
    for member in members:
        if os.fork() == 0:
            command = up._node_command(layout, member, link)
            node_process.main(list(command[3:]))
            os._exit(0)
    # The process group is ended with this process (`fedmkt.deployment.child`).
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    _, status = os.wait()
    sys.exit(f"a node ended with {os.waitstatus_to_exitcode(status)}")


@contextmanager
def running(layout: Layout, plan: Plan) -> Iterator[float]:
    """Run the processes until the context ends; give the seconds until all nodes are online."""
    layout.write_plan(plan)
    (layout.folder / "logs").mkdir(exist_ok=True)
    supervisor = Supervisor(layout, plan)
    thread = threading.Thread(target=supervisor.run)
    begun = time.monotonic()
    thread.start()
    try:
        while not ((status := layout.read_status()) and status.healthy):
            assert time.monotonic() < begun + START_S, status
            time.sleep(0.2)
        yield time.monotonic() - begun
    finally:
        supervisor.stop()
        thread.join()


def measure(count: int, *, own: bool) -> Found:
    """Bring up so many nodes, look at them idle, run one training, take them down."""
    members = members_named(count)
    with tempfile.TemporaryDirectory() as name:
        layout = Layout(Path(name))
        job = make_world(layout.folder, members)
        plan = up._planned(layout, members) if own else planned(layout, members)
        with running(layout, plan) as online_s:
            return train(layout, job, online_s)


def train(layout: Layout, job: Job, online_s: float) -> Found:
    """Run the job on what is up."""
    status = layout.read_status()
    assert status is not None
    watch = Watch({one.name: one.pid for one in status.processes if one.pid})
    time.sleep(SETTLE_S)  # nodes look for messages ever more seldom, up to once a second
    with watch.using() as idle:
        time.sleep(IDLE_S)
    begun = datetime.now(UTC)
    with watch.using() as busy:
        run = jobs.submit(layout, job)
        until = time.monotonic() + RUN_S
        while not (standing := jobs.standing(layout, run)).over:
            assert time.monotonic() < until, standing
            time.sleep(2.0)  # each look asks the SuperLink
    assert standing.state == "finished", standing
    last = standing.events[-1]
    pss, own_mb, rss = memory_mb(watch.nodes(job.members))
    return Found(
        nodes=len(job.members),
        online_s=online_s,
        start_s=(standing.events[0].at - begun).total_seconds(),
        training_s=(last.at - standing.events[0].at).total_seconds(),
        exchanges=last.exchanges,
        up_bytes=last.bytes_up,
        down_bytes=last.bytes_down,
        idle=idle,
        busy=busy,
        node_pss=pss,
        node_own=own_mb,
        node_rss=rss,
    )


def report(found: list[Found]) -> None:
    """Print how things grow."""
    heads = [f"{one.nodes} nodes" for one in found]

    def table(title: str, lines: dict[str, list[str]]) -> None:
        print_table((title, *heads), [(label, *cells) for label, cells in lines.items()])

    table(
        f"one training: {MODEL.rounds} rounds",
        {
            "s until all nodes are online": [f"{one.online_s:.0f}" for one in found],
            "s from submitting to the first exchange": [f"{one.start_s:.1f}" for one in found],
            "s of training": [f"{one.training_s:.1f}" for one in found],
            "exchanges": [str(one.exchanges) for one in found],
            "s an exchange": [f"{one.training_s / one.exchanges:.2f}" for one in found],
            "kB up from a node": [f"{one.up_bytes / one.nodes / 1e3:.0f}" for one in found],
            "kB down to a node": [f"{one.down_bytes / one.nodes / 1e3:.0f}" for one in found],
            "MB up and down in all": [
                f"{(one.up_bytes + one.down_bytes) / 1e6:.1f}" for one in found
            ],
        },
    )
    parts = ("superlink", "guard", "executor", "app", "nodes")
    table(
        "processor s of the run",
        {part: [f"{one.busy.processor_s(part):.1f}" for one in found] for part in parts},
    )
    table(
        f"processor share while idle, over {IDLE_S:.0f} s",
        {part: [f"{one.idle.processor_s(part) / IDLE_S:.1%}" for one in found] for part in parts},
    )
    table(
        "MB, largest resident",
        {
            **{part: [f"{one.busy.peak_mb(part):.0f}" for one in found] for part in parts[:-1]},
            "a node: resident": [f"{one.node_rss:.0f}" for one in found],
            "a node: its share, what is shared divided": [f"{one.node_pss:.0f}" for one in found],
            "a node: its own alone": [f"{one.node_own:.0f}" for one in found],
        },
    )
    print(f"\nload average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 10, 25, 50])
    parser.add_argument("--own", action="store_true", help="each node loads the library itself")
    parser.add_argument("--fork", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.fork:
        folder, link, *members = args.fork
        fork_nodes(Path(folder), link, members)
        return
    print_header("Nodes on one machine: " + ("each by itself" if args.own else "forked"))
    found: list[Found] = []
    try:
        found.extend(measure(count, own=args.own) for count in args.nodes)
    finally:
        report(found)


if __name__ == "__main__":
    main()
