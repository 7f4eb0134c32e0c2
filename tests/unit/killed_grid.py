"""Run two worker processes, tell their ids, and wait; to be killed meanwhile."""

import sys

from fedmkt.transport.backends import Backend
from fedmkt.transport.channel import Channel
from fedmkt.transport.flower import Config, make_server_app


def main(channel: Channel, _config: Config) -> None:
    replies = channel.exchange({1: b"who", 2: b"who"}, deadline_s=120)
    print(*(bytes(reply).split()[1].decode() for reply in replies.values()), flush=True)  # type: ignore[arg-type]
    channel.exchange({1: b"hang"}, deadline_s=3600)


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    Backend("workers", 2).run_apps(
        make_server_app(main),
        "unit.worker_nodes:app",
        node_configs={1: {"name": "a"}, 2: {"name": "b"}},
        run_config={},
    )
