"""A Flower node that answers in the process that holds the connection: no process a message.

Leans on Flower's internals, as `superlink_database` does: its Fleet connection, and how messages
are taken apart into objects. Tested with the versions in `TESTED`; with any other it refuses, and
its caller falls back to Flower's own runner.

Guarantee: nothing of a bundle is ever unpacked or imported here. The app that answers is the one
that is handed in; a run is answered only if its bundle's hash is allowed, and the bundle that the
SuperLink gives out under that hash has it.
Not guaranteed: isolation of the app from the connection. What kills the process ends the node; its
supervisor starts it again, and its store knows what was answered.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    pull_and_inflate_object_from_tree,
    push_object_contents_from_iterable,
)
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_connection import http_request_response

from fedmkt.core.errors import BundleNotAllowed, LinkUnreachable, SettingInvalid
from fedmkt.transport.channel import Failure
from fedmkt.transport.flower import Config
from fedmkt.transport.grid_waits import FIRST_WAIT_S, LONGEST_WAIT_S
from fedmkt.transport.payload import failure_record
from fedmkt.transport.superlink_waiting import HELD_S
from fedmkt.transport.tested import TESTED, is_tested

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.03, 1.0
_PAUSE_SHARE = 0.05  # of the time since the last message
_POLL_SHARE = 2.0  # of the time that looking took, so that looking does not crowd out answering;
# more where looking takes longer than it did at best: then many look, and others' answers wait
_SENDING_S = 2.0  # after that other messages go first: whoever was sending may be gone

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Link:
    """Where the SuperLink is and how this node shows who it is.

    address: HOST:PORT. root_certificates: PEM. key_file: OpenSSH private key on NIST P-384.
    """

    address: str
    root_certificates: bytes = field(repr=False)
    key_file: Path


@dataclass
class WarmRunner:
    """One node's connection and the app that answers. allowed: SHA-256 of bundles, hexadecimal.

    looked: told after each look for a message, with whether there was one.
    """

    app: ClientApp
    node_config: Config
    allowed: frozenset[str]
    stopping: Callable[[], bool] = lambda: False
    looked: Callable[[bool], None] = lambda _found: None
    _checked: dict[int, bool] = field(default_factory=dict)
    _unfinished: "list[_Incoming]" = field(default_factory=list)

    def run(self, link: Link) -> None:
        """Connect, and answer messages until `stopping`.

        Raises: SettingInvalid (the key file), LinkUnreachable (the connection ended).
        """
        with http_request_response(
            link.address,
            insecure=False,
            root_certificates=link.root_certificates,
            authentication_keys=_keys(link.key_file),
        ) as connection:
            talk = Connection(*connection)
            _log.info("connected to %s as node %d", link.address, talk.node_id)
            last, quickest_s = time.monotonic(), math.inf
            while not self.stopping():
                looked = time.monotonic()
                received = _receive(talk)
                self.looked(received is not None)
                if received is None:
                    self._look_again(talk)
                    now = time.monotonic()
                    quickest_s = min(quickest_s, now - looked)
                    time.sleep(pause_s(now - last, now - looked, quickest_s))
                    continue
                header, tree = received
                looked_s, until = time.monotonic() - looked, time.monotonic() + header.metadata.ttl
                self._handle(talk, _Incoming(header, tree, until, looked_s), _SENDING_S)
                last = time.monotonic()
        if not self.stopping():
            # Flower logs what ends a connection, and goes on as if nothing had been.
            raise LinkUnreachable(address=link.address, problem="the connection ended")

    def _look_again(self, talk: "Connection") -> None:
        """Look once for the rest of each message that was not all there."""
        unfinished, self._unfinished = self._unfinished, []
        for one in unfinished:
            self._handle(talk, one, 0.0)

    def _handle(self, talk: "Connection", one: "_Incoming", wait_s: float) -> None:
        run_id, started = one.header.metadata.run_id, time.monotonic()
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run_id, 1, talk.node_id
        try:
            message = _fetched(talk, one, wait_s)
            reply = self._answer(message, talk)
            send_reply(reply, time.monotonic() - started, talk)
        except ObjectPullError:
            # A coordinator that died while it sent must not keep the node from the next one.
            if time.monotonic() < one.until:
                self._unfinished.append(one)
            else:
                _log.info("run %d: a message never came whole", run_id)
        except RunNotRunningException:  # not an Exception: it would end the node
            _log.info("run %d is over; its message was left", run_id)
        except Exception as error:  # noqa: BLE001
            # Privacy: the type alone. A message that cannot be had or delivered is the
            # coordinator's to ask for again; what was answered is in the node's store.
            _log.error("run %d: a message was dropped (%s)", run_id, type(error).__name__)

    def _answer(self, message: Message, talk: "Connection") -> Message:
        run_id = message.metadata.run_id
        if run_id not in self._checked:
            self._checked[run_id] = is_allowed(run_id, self.allowed, talk)
        if not self._checked[run_id]:
            return refusal(message)
        context = Context(
            run_id=run_id,
            node_id=talk.node_id,
            node_config=dict(self.node_config),
            state=RecordDict(),
            run_config={},
        )
        return self.app(message, context)


def require_tested(installed: str | None = None) -> None:
    """Raise SettingInvalid unless the installed Flower is one this module was tested with."""
    if not is_tested(installed):
        problem = f"the fast runner was tested with {', '.join(TESTED)} alone"
        raise SettingInvalid(setting=f"Flower {installed or version('flwr')}", problem=problem)


class Connection(NamedTuple):
    """What Flower's connection to the Fleet routes offers, in its order."""

    node_id: int
    receive: Callable[[], tuple[Message, ObjectTree] | None]
    send: Callable[[Message, ObjectTree, float], tuple[set[str], str]]
    get_run: Callable[[int], Run]
    get_fab: Callable[[str, int], Fab]
    pull: Callable[[int, str], bytes]
    push: Callable[[int, str, str, bytes], None]
    confirm: Callable[[int, str], None]


class _Incoming(NamedTuple):
    """A message that was announced.

    until: the monotonic time at which its sender gives it up. looked_s: how long finding it took.
    """

    header: Message
    tree: ObjectTree
    until: float
    looked_s: float


def is_allowed(run_id: int, allowed: frozenset[str], talk: Connection) -> bool:
    """Tell whether a run's bundle is allowed, by what the SuperLink states and by its bytes."""
    stated = talk.get_run(run_id).fab_hash
    if stated not in allowed:
        return False
    # Security: the hash is the SuperLink's word until the bytes were looked at.
    return hashlib.sha256(talk.get_fab(stated, run_id).content).hexdigest() == stated


def refusal(message: Message) -> Message:
    """Return the answer to a message of a run whose bundle is not allowed."""
    _log.error("run %d: its bundle is not among those this node runs", message.metadata.run_id)
    return Message(failure_record(Failure(BundleNotAllowed.code)), reply_to=message)


def _receive(talk: Connection) -> tuple[Message, ObjectTree] | None:
    try:
        return talk.receive()
    except RunNotRunningException:
        return None


def _fetched(talk: Connection, one: _Incoming, wait_s: float) -> Message:
    """Return the whole message. Raises: ObjectPullError when it is not all there after `wait_s`."""
    run_id = one.header.metadata.run_id
    message: Message = pull_and_inflate_object_from_tree(
        one.tree,
        partial(talk.pull, run_id),
        partial(talk.confirm, run_id),
        return_type=Message,
        max_time=wait_s,
        # Where a look takes long, asking again soon only makes what is awaited later.
        initial_backoff=max(FIRST_WAIT_S, one.looked_s),
        backoff_cap=max(LONGEST_WAIT_S, _POLL_SHARE * one.looked_s),
    )
    # The content's own bytes do not hold its name.
    message.metadata.__dict__["_message_id"] = one.tree.object_id
    return message


def _keys(file: Path) -> tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey]:
    try:
        key = load_ssh_private_key(file.read_bytes(), None)
    except (OSError, ValueError):
        problem = "it cannot be read as an OpenSSH private key"
        raise SettingInvalid(setting=str(file), problem=problem) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingInvalid(setting=str(file), problem="it is not an elliptic curve key")
    return key, key.public_key()


def send_reply(reply: Message, took_s: float, talk: Connection) -> None:
    """Send a reply and the objects of it that the SuperLink asks for."""
    run_id = reply.metadata.run_id
    reply.metadata.__dict__["_message_id"] = reply.object_id
    with no_object_id_recompute():
        wanted, session = talk.send(reply, get_object_tree(reply), took_s)
        contents = (
            (object_id, one.deflate())
            for object_id, one in get_all_nested_objects(reply).items()
            if object_id in wanted
        )
        push_object_contents_from_iterable(contents, partial(talk.push, run_id, session))


def pause_s(idle_s: float, looked_s: float, quickest_s: float) -> float:
    """Return how long to wait until the next look for a message, all in seconds.

    idle_s: since the last message. looked_s, quickest_s: what the last look took, and the best one.
    """
    if looked_s >= HELD_S:
        return _SHORTEST_PAUSE_S  # the SuperLink waited in our place
    crowded = looked_s / quickest_s if quickest_s > 0 else 1.0
    least_s = max(_SHORTEST_PAUSE_S, _POLL_SHARE * looked_s * crowded)
    return min(_LONGEST_PAUSE_S, max(least_s, _PAUSE_SHARE * idle_s))
