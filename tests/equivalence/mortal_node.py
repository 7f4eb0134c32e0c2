"""A node whose process dies of its second message, once for each home; workers import it."""

import os
from collections.abc import Mapping
from pathlib import Path

from fedmkt.node.app import open_handler as open_node
from fedmkt.transport.channel import Handler
from fedmkt.transport.flower import make_client_app

_seen: list[bytes] = []


def open_mortal(config: Mapping[str, object]) -> Handler:
    """Answer as a node does, but die of the second message, once for each home."""
    once = Path(str(config["home"])) / "died"
    handle = open_node(config)

    def answer(request: bytes) -> bytes:
        reply = handle(request)
        _seen.append(request)
        if len(_seen) == 2 and not once.exists():
            once.touch()
            os._exit(9)
        return reply

    return answer


app = make_client_app(open_mortal)
