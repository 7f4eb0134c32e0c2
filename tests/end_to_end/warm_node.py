"""A node on the warm runner, for tests: python warm_node.py LINK CERTIFICATE KEY NAME WHAT HASH.

WHAT: `echo`, `raise` with a secret in the error, or `stock` for Flower's own runner, which runs the
bundle's app. HASH: of the one bundle it runs.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from fedmkt.deployment.node_process import _stock_command
from fedmkt.transport.channel import Handler
from fedmkt.transport.flower import make_client_app
from fedmkt.transport.stock_runner import run_stock
from fedmkt.transport.warm_runner import Link, WarmRunner

SECRET = "Erika-Mustermann-DE89370400440532013000"


def main(link: str, certificate: str, key: str, name: str, what: str, allowed: str) -> None:
    def open_handler(config: Mapping[str, object]) -> Handler:
        def handle(request: bytes) -> bytes:
            if what == "raise":
                raise ValueError(SECRET)
            return f"{config['org']} got ".encode() + request

        return handle

    if what == "stock":
        given = argparse.Namespace(link=link, certificate=certificate, key=key, home=".")
        run_stock(_stock_command(given), allowed=frozenset({allowed}))
    runner = WarmRunner(make_client_app(open_handler), {"org": name}, frozenset({allowed}))
    runner.run(Link(link, Path(certificate).read_bytes(), Path(key)))


if __name__ == "__main__":
    main(*sys.argv[1:])
