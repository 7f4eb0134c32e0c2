"""Flower's own runner of a node, for versions that the warm one was not tested with.

Guarantee: a run whose bundle is not allowed is answered with a named error, and the hash of a
bundle's bytes is checked where it comes in, before anything of it is unpacked or imported. A Flower
in which that place is not found is not run at all. When the connection ends, the process ends.
"""

import hashlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flwr.supercore.run import RunNotRunningException
from flwr.supernode import start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode

from fedmkt.core.errors import BundleNotAllowed, SettingInvalid
from fedmkt.transport.warm_runner import Connection, is_allowed, refusal, send_reply

_CONNECT = "http_request_response"
_CHECKED = ("receive", "send", "get_run", "get_fab")

_log = logging.getLogger(__name__)


def run_stock(
    words: list[str], *, allowed: frozenset[str], looked: Callable[[], None] = lambda: None
) -> None:
    """Run Flower's own node with its command line's `words`, and end the process with it.

    Args: words: of them `--port 0` stands for a free port. allowed: SHA-256 of bundles,
        hexadecimal. looked: told after each look for a message. Raises: SettingInvalid.
    """
    connect = getattr(start_client_internal, _CONNECT, None)
    if connect is None:
        raise _unfit()
    setattr(start_client_internal, _CONNECT, checking(connect, allowed, looked))
    sys.argv = ["flower-supernode", *_with_port(words)]
    # Flower starts further programs of its own by name.
    scripts = str(Path(sys.executable).parent)
    os.environ["PATH"] = f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"
    code = 1
    try:
        flower_supernode()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except SettingInvalid as error:
        _log.error("%s", error)
    except BaseException as error:  # noqa: BLE001
        # Privacy: the type alone.
        _log.error("the node ended (%s)", type(error).__name__)
    # Flower's thread would keep the process alive, and nobody would see that the node is gone.
    os._exit(code)


def checking(
    connect: Callable[..., Any], allowed: frozenset[str], looked: Callable[[], None] = lambda: None
) -> Callable[..., Any]:
    """Return Flower's `connect` with messages and bundles checked as they come in.

    What is returned raises SettingInvalid when a connection does not offer what is checked.
    """

    @contextmanager
    def checked(*given: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*given, **named) as offered:
            fits = _fits(offered)
            if fits:
                yield _gated(Connection(*offered), allowed, looked)
        if not fits:  # raised out here, because Flower keeps what is raised inside
            raise _unfit()

    return checked


def _gated(talk: Connection, allowed: frozenset[str], looked: Callable[[], None]) -> Connection:
    known: dict[int, bool] = {}

    def receive() -> Any:
        received = talk.receive()
        looked()
        if received is None:
            return None
        run_id = received[0].metadata.run_id
        if run_id not in known:
            known[run_id] = is_allowed(run_id, allowed, talk)
        if known[run_id]:
            return received
        try:
            send_reply(refusal(received[0]), 0.0, talk)
        except RunNotRunningException:
            _log.info("run %d is over", run_id)
        return None

    def get_fab(stated: str, run_id: int) -> Any:
        fab = talk.get_fab(stated, run_id)
        # Security: by the bytes; the hash beside them is the SuperLink's word. Looked at once
        # more, since these are the bytes that will be run.
        found = hashlib.sha256(fab.content).hexdigest()
        if found not in allowed:
            raise BundleNotAllowed(bundle=found[:16])
        return fab

    return talk._replace(receive=receive, get_fab=get_fab)


def _fits(offered: Sequence[Any]) -> bool:
    # Security: by name as well as by place. Another order would leave bundles unchecked.
    names = tuple(getattr(part, "__name__", "") for part in offered[1 : 1 + len(_CHECKED)])
    return names == _CHECKED and len(offered) == len(Connection._fields)


def _unfit() -> SettingInvalid:
    problem = "it has no place where a bundle's hash can be checked; install a tested version"
    return SettingInvalid(setting="Flower", problem=problem)


def _with_port(words: list[str]) -> list[str]:
    """Put a port nobody listened on a moment ago for `--port 0`, which Flower does not take."""
    at = words.index("--port") + 1 if "--port" in words else 0
    if not at or words[at] != "0":
        return words
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return [*words[:at], str(probe.getsockname()[1]), *words[at + 1 :]]
