"""What the supervisor tells the SuperLink, played here, and how often it looks and writes."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedmkt.core.errors import LinkUnreachable
from fedmkt.deployment import running
from fedmkt.deployment import supervisor as supervising
from fedmkt.deployment.link_processes import link_commands
from fedmkt.deployment.plan import Command, Layout, Plan, Status
from fedmkt.deployment.supervisor import Supervisor
from fedmkt.transport.control import LinkNode


def test_the_passphrase_reaches_the_coordinators_app_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDMKT_PASSPHRASE", "correct horse")
    monkeypatch.setenv("FEDMKT_PASSPHRASE_FILE", "/run/passphrase")
    both = {"FEDMKT_PASSPHRASE", "FEDMKT_PASSPHRASE_FILE"}
    told = {
        command.name: {
            name for name in supervising._environment(tmp_path, command) if "PASS" in name
        }
        for command in link_commands(
            Layout(tmp_path),
            control_port=1,
            host="127.0.0.1",
            port=2,
            certificate=tmp_path / "server.pem",
            key=tmp_path / "server.key",
        )
    }
    assert told == {"superlink": set(), "executor": both, "guard": set()}


class Link:
    """A SuperLink's control routes: it takes no key again that it took before."""

    def __init__(self, keys: dict[str, bytes], taken: set[bytes], done: Callable[[], None]) -> None:
        self.keys, self.taken, self.done = keys, taken | set(keys.values()), done
        self.asked = False

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None: ...

    def nodes(self) -> dict[str, LinkNode]:
        if self.asked:
            self.done()
        self.asked = True
        return {name: LinkNode(key, None) for name, key in self.keys.items()}

    def register(self, name: str, public_key: bytes) -> None:
        if public_key in self.taken:
            raise LinkUnreachable(address="127.0.0.1:9444", problem="HTTPStatusError")
        self.taken.add(public_key)
        self.keys[name] = public_key

    def unregister(self, name: str) -> None:
        self.keys.pop(name, None)


def supervised(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    link_keys: dict[str, bytes],
    admitted: dict[str, bytes],
    *,
    taken: frozenset[bytes] = frozenset(),
    revoked: frozenset[str] = frozenset(),
) -> dict[str, bytes]:
    """Supervise a process until the SuperLink was asked twice; return who may connect then."""
    for member, key in admitted.items():
        (folder / f"{member}.pub").write_bytes(key)
    plan = Plan(
        control_port=9444,
        fleet_port=9443,
        commands=(Command(name="executor", arguments=(sys.executable, "-c", "")),),
        admitted={member: str(folder / f"{member}.pub") for member in admitted},
    )
    one = Supervisor(Layout(folder), plan)
    link = Link(link_keys, set(taken), one.stop)
    monkeypatch.setattr(supervising, "operators_control", lambda *_: link)
    monkeypatch.setattr(supervising, "read_contract", lambda _home: None)
    monkeypatch.setattr(supervising, "read_revocations", lambda _home: ())
    monkeypatch.setattr(supervising, "revoked_members", lambda *_: revoked)
    one.run()
    return link.keys


def test_a_members_new_link_key_takes_the_place_of_its_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"bank": b"old", "retailer": b"same"}
    admitted = {"bank": b"new", "retailer": b"same", "shop": b"first"}
    assert supervised(tmp_path, monkeypatch, known, admitted) == admitted


def test_a_link_key_that_is_not_taken_again_keeps_nobody_else_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    admitted = {"bank": b"before", "shop": b"first"}
    taken = frozenset({b"before"})
    found = supervised(tmp_path, monkeypatch, {"bank": b"old"}, admitted, taken=taken)
    assert found == {"shop": b"first"}
    assert "bank is not let in" in caplog.text


def test_a_member_revoked_while_nothing_ran_is_shut_out_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"bank": b"b", "retailer": b"r"}
    lost = frozenset({"retailer"})
    found = supervised(tmp_path, monkeypatch, dict(keys), keys, revoked=lost)
    assert found == {"bank": b"b"}


def test_a_port_is_asked_once_a_look_and_what_stays_as_it_is_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = (sys.executable, "-c", "import time; time.sleep(60)")
    guard = Command(name="guard", arguments=waits, port=9443)
    one = Supervisor(Layout(tmp_path), Plan(control_port=9, fleet_port=9443, commands=(guard,)))
    asked: list[float] = []
    written: list[Status] = []

    def listens(_host: str, _port: int) -> bool:
        asked.append(time.monotonic())
        if len(asked) == 10:
            one.stop()
        return True

    monkeypatch.setattr(running, "listens", listens)
    monkeypatch.setattr(Layout, "write_status", lambda _layout, status: written.append(status))
    one.run()
    lasted_s = asked[-1] - asked[0]
    assert lasted_s >= 9 * supervising._LOOK_S
    # Before its start, started, up, stopped; and again for each 5 s.
    assert len(written) <= 4 + lasted_s / supervising._WRITE_S
