"""One exchange of the coordinator with three nodes of this process, by size of the messages.

    python benchmarks/exchange_latency.py [--repeats 50]

Every node gets a payload and sends one of the same size back, through Flower's messages and the
in-process grid, as in the demonstration; nodes do no work and store nothing. This is what an
exchange costs on top of what is done in it: Flower's records, threads, and waiting for the replies.
No network and no copy of the bytes themselves is in these figures; a deployment adds both.
"""

import argparse
import os
from collections.abc import Mapping
from functools import partial

from machine import median, print_header, print_table, spread, wall

from fedmkt.transport.channel import Channel, Handler
from fedmkt.transport.flower import make_client_app, make_server_app
from fedmkt.transport.in_process import run_in_process

NODES = 3
SIZES = {"1 kB": 1_000, "1 MB": 1_000_000}
DEADLINE_S = 60


def echo(_config: Mapping[str, object]) -> Handler:
    return lambda request: request


def measure(size: int, repeats: int) -> list[float]:
    """Return the milliseconds of each of `repeats` exchanges, after one that is not counted."""
    taken: list[float] = []

    def main(channel: Channel, _config: Mapping[str, object]) -> None:
        nodes = channel.node_ids(at_least=NODES, deadline_s=DEADLINE_S)
        for _ in range(repeats + 1):
            requests = {node: os.urandom(size) for node in nodes}
            spent, replies = wall(partial(channel.exchange, requests, deadline_s=DEADLINE_S))
            assert replies == requests
            taken.append(spent * 1000)

    run_in_process(
        make_server_app(main),
        make_client_app(echo),
        node_configs={number: {} for number in range(1, NODES + 1)},
        run_config={},
    )
    return taken[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=50)
    args = parser.parse_args()
    print_header(f"Exchange latency: {NODES} nodes in process, medians of {args.repeats}")
    rows = []
    for label, size in SIZES.items():
        taken = measure(size, args.repeats)
        rows.append((f"{label} to each node and back", f"{median(taken):.2f}", spread(taken)))
    print_table(("payload", "ms", "smallest to largest"), rows)


if __name__ == "__main__":
    main()
