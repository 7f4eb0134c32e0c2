"""One exchange with three nodes over a real SuperLink: Flower's own runner against the warm one.

    python benchmarks/deployed_exchange.py [--repeats 10] [--stock-repeats 4]

A SuperLink, an executor and three nodes as processes on loopback, with TLS, node authentication and
process isolation. A coordinator sends every node a payload and gets one of the same size back.
Nodes echo, so the figure is what an exchange costs on top of what is done in it. Both runners are
measured one after the other in this run; the stock one starts a process for every message.
"""

import argparse
import hashlib
import json
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from machine import median, print_header, print_table, spread, wall

from fedmkt.deployment import up
from fedmkt.deployment.link_keys import write_node_key
from fedmkt.deployment.link_processes import executor_command, prepare, superlink_command
from fedmkt.deployment.plan import HOST, Command, Layout, Plan
from fedmkt.deployment.supervisor import Supervisor
from fedmkt.transport.bundle import build_bundle, bundle_files
from fedmkt.transport.channel import Channel, Handler
from fedmkt.transport.control import operators_control
from fedmkt.transport.flower import make_client_app, make_server_app
from fedmkt.transport.warm_runner import Link, WarmRunner

NODES = ("one", "two", "three")
SIZES = {"1 kB": 1_000, "1 MB": 1_000_000}
START_S, RUN_S, DEADLINE_S = 60.0, 400.0, 60.0
HERE = Path(__file__).resolve()
APP = """import sys

sys.path.insert(0, {folder!r})
from deployed_exchange import {name} as _app

app = _app
"""


def echo(_config: Mapping[str, object]) -> Handler:
    return lambda request: request


def measure(channel: Channel, config: Mapping[str, object]) -> None:
    """Write the milliseconds of each exchange, by size, to the file the run names."""
    nodes = channel.node_ids(at_least=len(NODES), deadline_s=DEADLINE_S)
    taken: dict[str, list[float]] = {}
    for label, size in SIZES.items():
        taken[label] = []
        for _ in range(int(str(config["home"])) + 1):
            requests = {node: secrets.token_bytes(size) for node in nodes}
            spent, replies = wall(partial(channel.exchange, requests, deadline_s=DEADLINE_S))
            assert replies == requests
            taken[label].append(spent * 1000)
    Path(str(config["order"])).write_text(json.dumps(taken))


client_app = make_client_app(echo)
server_app = make_server_app(measure)


def files() -> dict[str, bytes]:
    """Return the bundle of this benchmark: two shims that import it."""
    shims = {"client_app.py": "client_app", "server_app.py": "server_app"}
    folder = str(HERE.parent)
    return bundle_files() | {
        file: APP.format(folder=folder, name=name).encode() for file, name in shims.items()
    }


@contextmanager
def running(folder: Path, *, warm: bool) -> Iterator[Layout]:
    """Run the processes, nodes of one kind among them, until the context ends."""
    layout = Layout(folder)
    prepare(layout.superlink)
    port, *ports = up._free_ports(1 + len(NODES))
    link = f"{HOST}:{port}"
    commands = [
        Command(name="superlink", arguments=superlink_command(layout.superlink, port), port=port),
        Command(name="executor", arguments=executor_command(layout.superlink, link)),
    ]
    for name, own in zip(NODES, ports, strict=True):
        key = layout.superlink / f"{name}.key"
        public = layout.superlink / f"{name}.pub"
        public.write_bytes(write_node_key(key))
        certificate = str(layout.root_certificate)
        stock = (
            str(Path(sys.executable).parent / "flower-supernode"), "--superlink", link,
            "--root-certificates", certificate, "--auth-supernode-private-key", str(key),
            "--host", HOST, "--port", str(own),
        )  # fmt: skip
        fast = (sys.executable, str(HERE), "--node", link, certificate, str(key))
        commands.append(
            Command(
                name=name, member=name, public_key=str(public), arguments=fast if warm else stock
            )
        )
    plan = Plan(control_port=port, fleet_port=port, commands=tuple(commands))
    layout.write_plan(plan)
    supervisor = Supervisor(layout, plan)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            status = layout.read_status()
            if status is not None and status.healthy:
                break
            time.sleep(0.2)
        yield layout
    finally:
        supervisor.stop()
        thread.join()


def exchange_times(*, warm: bool, repeats: int) -> dict[str, list[float]]:
    """Return the milliseconds of exchanges by size."""
    with (
        tempfile.TemporaryDirectory() as name,
        running(Path(name) / "link", warm=warm) as layout,
        operators_control(layout.superlink, layout.read_plan().control_port) as control,
    ):
        out = Path(name) / "taken.json"
        run = control.start({"home": str(repeats), "order": str(out)}, files())
        until = time.monotonic() + RUN_S
        while not (status := control.run(run).status).startswith("finished"):
            assert time.monotonic() < until, status
            time.sleep(0.2)
        assert status == "finished:completed", status
        # The first exchange meets runners that have slept.
        return {label: each[1:] for label, each in json.loads(out.read_text()).items()}


def node(link: str, certificate: str, key: str) -> None:
    """Be a warm node."""
    allowed = frozenset({hashlib.sha256(build_bundle(files())).hexdigest()})
    WarmRunner(client_app, {}, allowed).run(Link(link, Path(certificate).read_bytes(), Path(key)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--stock-repeats", type=int, default=4)
    parser.add_argument("--node", nargs=3, metavar=("LINK", "CERTIFICATE", "KEY"))
    args = parser.parse_args()
    if args.node:
        node(*args.node)
        return
    print_header(f"Exchange over a SuperLink: {len(NODES)} nodes, medians of {args.repeats}")
    warm = exchange_times(warm=True, repeats=args.repeats)
    stock = exchange_times(warm=False, repeats=args.stock_repeats)
    rows = [
        (
            f"{label} to each node and back",
            f"{median(stock[label]):.0f}",
            f"{median(warm[label]):.0f}",
            spread(warm[label]),
            f"{median(stock[label]) / median(warm[label]):.1f}",
        )
        for label in SIZES
    ]
    print_table(("exchange", "stock ms", "warm ms", "spread", "stock / warm"), rows)


if __name__ == "__main__":
    main()
