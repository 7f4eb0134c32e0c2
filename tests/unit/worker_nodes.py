"""Client apps that worker processes import: what a node does is what its request says."""

import os
import time
from collections.abc import Mapping

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedmkt.transport.channel import Handler
from fedmkt.transport.flower import make_client_app

SECRET = "Erika Mustermann"
_seen: list[bytes] = []


def open_handler(config: Mapping[str, object]) -> Handler:
    def handle(request: bytes) -> bytes:
        _seen.append(request)
        if request == b"die":
            os._exit(9)
        if request == b"exit":
            raise SystemExit(SECRET)
        if request == b"hang":
            time.sleep(3600)
        return f"{config['name']} {os.getpid()} {len(_seen)}".encode()

    return handle


app = make_client_app(open_handler)
raising = ClientApp()


@raising.train("fedmkt")
def _raise(message: Message, context: Context) -> Message:
    raise ValueError(SECRET)
