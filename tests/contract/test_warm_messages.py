"""The warm runner: messages that come in pieces, late or never, and its sign of life."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Message
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError
from flwr.supercore.task_identity import TaskIdentity
from typer.testing import CliRunner

from fedmkt.cli.commands import app as commands
from fedmkt.deployment.health import HeartbeatFile
from fedmkt.deployment.link_keys import write_node_key
from fedmkt.transport import warm_runner
from fedmkt.transport.channel import Handler
from fedmkt.transport.flower import make_client_app
from fedmkt.transport.payload import payload_record, read_request

BUNDLE = b"bundle"
ALLOWED = hashlib.sha256(BUNDLE).hexdigest()


@dataclass
class Link:
    """A SuperLink's side: messages announced one a look, whose contents may be still on their way.

    away: payloads of messages whose contents are not there yet. most_looks: the node stops then.
    """

    announced: list[bytes]
    away: set[bytes] = field(default_factory=set)
    ttl_s: float = 60.0
    most_looks: int = 200
    looks: int = 0
    sent: list[bytes] = field(default_factory=list)
    contents: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)

    def receive(self) -> object:
        self.looks += 1
        if not self.announced:
            return None
        payload = self.announced.pop(0)
        message = Message(payload_record(payload), 1, "train.fedmkt", ttl=self.ttl_s)
        message.metadata.__dict__["_message_id"] = message.object_id
        for object_id, one in get_all_nested_objects(message).items():
            self.contents[object_id] = (payload, one.deflate())
        return message, get_object_tree(message)

    def pull(self, _run: int, object_id: str) -> bytes:
        payload, content = self.contents[object_id]
        if payload in self.away:
            raise ObjectUnavailableError(object_id)
        return content

    def send(self, reply: Message, *_: object) -> tuple[set[str], str]:
        self.sent.append(read_request(reply))
        return set(), ""

    @contextmanager
    def connect(self, *_: object, **__: object) -> Iterator[tuple[object, ...]]:
        yield (
            1,
            self.receive,
            self.send,
            lambda _run: SimpleNamespace(fab_hash=ALLOWED),
            lambda stated, _run: Fab(hash_str=stated, content=BUNDLE, verifications={}),
            self.pull,
            lambda *_: None,
            lambda *_: None,
        )


@pytest.fixture
def work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Link, Handler, Callable[[bool], None]], None]:
    """Return what runs a warm node on a link until its looks are used up or all was answered."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setattr(warm_runner, "_SENDING_S", 0.05)
    monkeypatch.setattr(warm_runner, "_LONGEST_PAUSE_S", 0.01)
    write_node_key(tmp_path / "link.key")

    def worked(link: Link, handler: Handler, looked: Callable[[bool], None]) -> None:
        monkeypatch.setattr(warm_runner, "http_request_response", link.connect)
        app = make_client_app(lambda _config: handler)
        runner = warm_runner.WarmRunner(
            app, {}, frozenset({ALLOWED}), lambda: link.looks >= link.most_looks, looked
        )
        runner.run(warm_runner.Link("127.0.0.1:1", b"", tmp_path / "link.key"))
        assert runner._unfinished == []

    return worked


def echo(request: bytes) -> bytes:
    return b"echo " + request


def unheard(_found: bool) -> None:
    """Hear nothing."""


def test_others_are_answered_while_a_message_is_half_sent(work: Callable[..., None]) -> None:
    link = Link([b"half", b"whole", b"another"], away={b"half"}, most_looks=20)

    def handler(request: bytes) -> bytes:
        if request == b"another":
            link.away.clear()  # now its sender has sent the rest
        return echo(request)

    work(link, handler, unheard)
    assert link.sent == [b"echo whole", b"echo another", b"echo half"]


def test_what_never_comes_whole_is_given_up_at_its_senders_time(
    work: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    link = Link([b"half", b"whole"], away={b"half"}, ttl_s=0.3, most_looks=60)
    started = time.monotonic()
    with caplog.at_level("INFO"):
        work(link, echo, unheard)
    assert link.sent == [b"echo whole"]
    assert caplog.text.count("a message never came whole") == 1
    assert time.monotonic() - started >= 0.3


def test_a_node_says_that_it_waits_and_that_it_answers(
    work: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "node.toml").write_text('member = "bank"\n')
    told: list[str] = []

    def health() -> None:
        asked = CliRunner().invoke(commands, ["health", str(tmp_path)])
        told.append(f"{asked.exit_code} {asked.output}")

    def handler(request: bytes) -> bytes:
        health()
        return echo(request)

    health()
    beats = HeartbeatFile(tmp_path)
    found: list[bool] = []

    def looked(one: bool) -> None:
        found.append(one)
        beats.looked(one)

    work(Link([b"first", b"second"], most_looks=5), handler, looked)
    health()
    assert found == [True, True, False, False, False]
    assert [one[0] for one in told] == ["1", "0", "0", "0"]
    assert "has not looked for a message" in told[0]
    assert all("has been answering a message for 0 s" in one for one in told[1:3])
    assert "last looked for a message 0 s ago" in told[3]
