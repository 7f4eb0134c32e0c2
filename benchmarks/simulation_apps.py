"""One ServerApp and ClientApp with trivial work, run on one of two simulations; needs flwr alone.

    python benchmarks/simulation_apps.py in_process 1000 3
    python benchmarks/simulation_apps.py ray 1000 3

Prints a line of JSON: seconds of each round.
"""

import json
import sys
import time
from collections.abc import Iterable

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

SIZE = 1_000  # bytes in a request and in a reply
SLEEP_S = 0.001
ONLINE_S = 120.0
client = ClientApp()
server = ServerApp()
rounds: list[float] = []
wanted = {"nodes": 0, "rounds": 0}


@client.train("trivial")
def answer(message: Message, _context: Context) -> Message:
    return Message(message.content, reply_to=message)


@server.main()
def coordinate(grid: Grid, _context: Context) -> None:
    nodes = online(grid)
    for _ in range(wanted["rounds"]):
        start = time.perf_counter()
        replies = ask_all(grid, nodes)
        rounds.append(time.perf_counter() - start)
        if len(replies) != len(nodes) or any(one.has_error() for one in replies):
            sys.exit("a node gave no answer")


def online(grid: Grid) -> list[int]:
    """Return the nodes' ids once all are there."""
    until = time.monotonic() + ONLINE_S
    while time.monotonic() < until:
        nodes = list(grid.get_node_ids())
        if len(nodes) == wanted["nodes"]:
            return nodes
        time.sleep(SLEEP_S)
    sys.exit("nodes are missing")


def ask_all(grid: Grid, nodes: Iterable[int]) -> list[Message]:
    """Send each node a record of its own and return the replies."""
    messages = [
        Message(
            RecordDict({"config": ConfigRecord({"payload": bytes(SIZE)})}), node, "train.trivial"
        )
        for node in nodes
    ]
    waiting, replies = set(grid.push_messages(messages)), []
    while waiting:
        found = list(grid.pull_messages(waiting))
        waiting -= {one.metadata.reply_to_message_id for one in found}
        replies += found
        if not found:
            time.sleep(SLEEP_S)
    return replies


def main() -> None:
    kind, nodes, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    wanted.update(nodes=nodes, rounds=count)
    if kind == "ray":
        from flwr.simulation import run_simulation

        run_simulation(server, client, num_supernodes=nodes)
    else:
        from fedmkt.transport.in_process import run_in_process

        configs = {node: {"name": f"p{node}"} for node in range(1, nodes + 1)}
        run_in_process(server, client, node_configs=configs, run_config={})
    print(json.dumps(rounds), flush=True)


if __name__ == "__main__":
    main()
