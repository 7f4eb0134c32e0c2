"""Flower's own runner of a node, for versions that the warm one was not tested with.

Guarantee: the hash of a run's bundle is checked where the bundle comes in, before anything of it is
unpacked or imported. A Flower in which that place is not found is not run at all.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flwr.supernode import start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode

from fedmkt.core.errors import BundleNotAllowed, SettingInvalid

_CONNECT = "http_request_response"
_GET_FAB = 4  # its place among what a connection offers


def run_stock(words: list[str], *, allowed: frozenset[str]) -> None:
    """Run Flower's own node with its command line's `words`.

    Args: allowed: SHA-256 of bundles, hexadecimal. Raises: SettingInvalid.
    """
    connect = getattr(start_client_internal, _CONNECT, None)
    if connect is None:
        problem = "it has no place where a bundle's hash can be checked; install a tested version"
        raise SettingInvalid(setting="Flower", problem=problem)
    setattr(start_client_internal, _CONNECT, checking(connect, allowed))
    sys.argv = ["flower-supernode", *words]
    flower_supernode()


def checking(connect: Callable[..., Any], allowed: frozenset[str]) -> Callable[..., Any]:
    """Return Flower's `connect` with bundles checked as they come in."""

    @contextmanager
    def checked(*given: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*given, **named) as offered:
            parts = list(offered)
            get_fab = parts[_GET_FAB]

            def get_checked(stated: str, run_id: int) -> Any:
                fab = get_fab(stated, run_id)
                # Security: by the bytes; the hash beside them is the SuperLink's word.
                found = hashlib.sha256(fab.content).hexdigest()
                if found not in allowed:
                    raise BundleNotAllowed(bundle=found[:16])
                return fab

            parts[_GET_FAB] = get_checked
            yield tuple(parts)

    return checked
