"""The warm runner: what it leans on in Flower is there, and it keeps what the stock one keeps."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from end_to_end import superlink, warm_node
from end_to_end.small_world import small_world
from end_to_end.superlink import app_files, running_superlink
from flwr.app import Message
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable import inflatable_object, inflatable_utils
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import http_grid
from flwr.supernode import start_client_internal
from flwr.supernode.fleet_http_connection import http_request_response

from fedmkt.core.errors import BundleNotAllowed, LinkUnreachable, SettingInvalid
from fedmkt.deployment import node_process
from fedmkt.deployment.link_keys import write_node_key
from fedmkt.storage.contract_files import read_contract
from fedmkt.transport import warm_runner
from fedmkt.transport.bundle import build_bundle, bundle_hash
from fedmkt.transport.flower import make_client_app
from fedmkt.transport.payload import payload_record
from fedmkt.transport.stock_runner import checking
from fedmkt.transport.tested import TESTED
from fedmkt.transport.warm_runner import require_tested

WHAT = {
    "bank": "echo",
    "map_provider": "raise",
    "retailer": "echo",
    "stock_bank": "stock",
    "stock_retailer": "stock",
}
REFUSING = ("retailer", "stock_retailer")
IMPORTED = "imported"
CLIENT = """
import os
from pathlib import Path
from fedmkt.transport.flower import make_client_app

Path(os.environ["FLWR_HOME"], "imported").touch()
app = make_client_app(lambda config: lambda request: b"stock got " + request)
"""
SERVER = """
import json
from pathlib import Path
from fedmkt.transport.channel import Failure
from fedmkt.transport.flower import make_server_app

def main(channel, config):
    nodes = channel.node_ids(at_least=5, deadline_s=60)
    for size in (3, 2_000_000):
        requests = {node: b"x" * size for node in nodes}
        replies = channel.exchange(requests, deadline_s=60)
    Path(config["home"]).write_text(json.dumps({
        str(node): reply.code if isinstance(reply, Failure) else [reply[:9].decode(), len(reply)]
        for node, reply in replies.items()
    }))

app = make_server_app(main)
"""


def test_what_is_leant_on_in_flower_is_as_it_was() -> None:
    connection = inspect.signature(http_request_response)
    assert {"server_address", "insecure", "root_certificates", "authentication_keys"} <= set(
        connection.parameters
    )
    pull = inspect.signature(inflatable_utils.pull_and_inflate_object_from_tree)
    assert [*pull.parameters][:3] == [
        "object_tree",
        "pull_object_fn",
        "confirm_object_received_fn",
    ]
    push = inspect.signature(inflatable_utils.push_object_contents_from_iterable)
    assert len(push.parameters) >= 2
    assert callable(http_grid.pull_objects)
    for pulled in (
        inflatable_utils.pull_objects,
        inflatable_utils.pull_and_inflate_object_from_tree,
    ):
        assert {"initial_backoff", "backoff_cap"} <= set(inspect.signature(pulled).parameters)
    for name in ("get_all_nested_objects", "get_object_tree", "no_object_id_recompute"):
        assert callable(getattr(inflatable_object, name))


def test_a_version_it_was_not_tested_with_is_refused() -> None:
    require_tested(TESTED[0])
    with pytest.raises(SettingInvalid, match=r"1\.40\.0"):
        require_tested("1.40.0")


def test_with_an_untested_flower_the_node_runs_on_its_own_runner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(node_process, "version", lambda _: "1.40.0")
    monkeypatch.setattr(node_process, "run_stock", lambda command, **_: started.append(command))
    world = small_world(tmp_path / "world")
    home = world.node(world.members[0])
    words = ["--home", str(home), "--link", "127.0.0.1:1", "--certificate", "ca.crt"]
    with caplog.at_level("WARNING"):
        node_process.main([*words, "--key", "link.key"])
    world.close()
    assert "--superlink" in started[0]
    assert "slower" in caplog.text


class _Talk:
    """What a connection offers, by Flower's names. fabs: bundles by the hash stated for them."""

    def __init__(self, fabs: dict[str, bytes], received: object = None) -> None:
        self.fabs, self.received = fabs, received

    def receive(self) -> object:
        return self.received

    def send(self, *_: object) -> None: ...

    def get_run(self, _run: int) -> None: ...

    def get_fab(self, stated: str, _run: int) -> Fab:
        return Fab(hash_str=stated, content=self.fabs[stated], verifications={})

    def other(self, *_: object) -> bytes:
        raise RunNotRunningException

    @contextmanager
    def connect(self, *_: object, **__: object) -> Iterator[tuple[object, ...]]:
        offered = (1, self.receive, self.send, self.get_run, self.get_fab)
        # As Flower does: what ends a connection is logged and goes no further.
        with suppress(Exception):
            yield (*offered, self.other, self.other, self.other)

    @contextmanager
    def connect_otherwise(self, *_: object) -> Iterator[tuple[object, ...]]:
        with suppress(Exception):
            yield (1, self.receive, self.send, self.get_fab, self.get_run, *(self.other,) * 3)


def test_flowers_own_runner_gets_a_bundle_only_if_its_bytes_are_allowed() -> None:
    """The hash that stands beside a bundle is the SuperLink's word, and is not looked at."""
    talk = _Talk({"good": b"g", "bad": b"b"})
    allowed = frozenset({hashlib.sha256(b"g").hexdigest()})
    with checking(talk.connect, allowed)() as parts:
        get_fab = parts[4]
        assert get_fab("good", 1).content == b"g"
        with pytest.raises(BundleNotAllowed):
            get_fab("bad", 1)


def test_a_bundle_is_allowed_by_its_bytes_not_by_the_hash_that_stands_beside_it() -> None:
    good = hashlib.sha256(b"g").hexdigest()

    def asked(stated: str, content: bytes) -> bool:
        talk = _Talk({stated: content})
        talk.get_run = lambda _run: SimpleNamespace(fab_hash=stated)  # type: ignore[method-assign, assignment, return-value]
        with talk.connect() as parts:
            return warm_runner.is_allowed(1, frozenset({good}), warm_runner.Connection(*parts))
        raise AssertionError("the connection ended")

    assert asked(good, b"g")
    assert not asked(good, b"b"), "the SuperLink's word is not enough"
    assert not asked(hashlib.sha256(b"b").hexdigest(), b"b")


def test_a_flower_that_offers_things_in_another_order_is_not_run() -> None:
    connect = checking(_Talk({}).connect_otherwise, frozenset())
    with pytest.raises(SettingInvalid), connect():
        raise AssertionError("it was run")


def test_a_connection_that_ends_by_itself_is_a_named_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail() -> None:
        raise ValueError("the SuperLink said no")

    talk = _Talk({})
    monkeypatch.setattr(talk, "receive", fail)
    with pytest.raises(LinkUnreachable):
        _run_on(talk, monkeypatch, tmp_path, stopping=lambda: False)


def test_a_message_of_a_run_that_is_over_does_not_end_the_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    header = Message(payload_record(b"late"), 1, "train.fedmkt")
    header.metadata.__dict__["_message_id"] = header.object_id
    talk = _Talk({}, received=(header, inflatable_object.get_object_tree(header)))
    looks = iter((False, False, True, True))
    with caplog.at_level("INFO"):
        _run_on(talk, monkeypatch, tmp_path, stopping=lambda: next(looks))
    assert caplog.text.count("is over") == 2


def _run_on(
    talk: _Talk, monkeypatch: pytest.MonkeyPatch, folder: Path, *, stopping: Callable[[], bool]
) -> None:
    monkeypatch.setattr(warm_runner, "http_request_response", talk.connect)
    write_node_key(folder / "link.key")
    app = make_client_app(lambda _config: lambda request: request)
    link = warm_runner.Link("127.0.0.1:1", b"", folder / "link.key")
    warm_runner.WarmRunner(app, {}, frozenset(), stopping).run(link)


def test_flowers_own_runner_offers_the_place_where_bundles_are_checked() -> None:
    source = inspect.getsource(start_client_internal.start_client_internal)
    assert callable(start_client_internal.http_request_response)
    assert source.index("get_run,") < source.index("get_fab,") < source.index("pull_object,")


def test_the_contract_says_which_bundles_a_node_runs(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    contract = read_contract(world.coordinator)
    assert node_process.allowed_bundles(contract, ()) == {bundle_hash()}
    agreed = contract.model_copy(update={"bundle_hashes": ("1" * 64,)})
    assert node_process.allowed_bundles(agreed, ("2" * 64,)) == {"1" * 64, "2" * 64}
    world.close()


def test_a_bundles_hash_is_the_same_in_every_process() -> None:
    assert len(bundle_hash()) == 64
    assert bundle_hash() == bundle_hash()


def test_nodes_answer_refuse_and_fail_over_a_superlink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = app_files(client=CLIENT, server=SERVER)
    known = hashlib.sha256(build_bundle(files)).hexdigest()
    allowed = {name: "0" * 64 if name in REFUSING else known for name in WHAT}

    def warm(folder: Path, name: str, _config: object, fleet_port: int, _port: int) -> list[str]:
        link = f"{superlink.HOST}:{fleet_port}"
        keys = [f"{folder}/ca.crt", f"{folder}/{name}.key"]
        script = str(Path(warm_node.__file__))
        return ["python", script, link, *keys, name, WHAT[name], allowed[name]]

    monkeypatch.setattr(superlink, "_node_command", warm)
    outcome = tmp_path / "outcome.json"
    with running_superlink(tmp_path / "link", {name: {} for name in WHAT}) as link:
        run = link.run(files, {"home": str(outcome)}, timeout_s=120)
        logs = link.logs()
    assert run.status == "finished:completed", logs
    told = json.loads(outcome.read_text())
    assert {name: told[str(link.node_ids[name])] for name in WHAT} == {
        "bank": ["bank got ", len("bank got ") + 2_000_000],
        "map_provider": "internal_error",
        "retailer": "bundle_not_allowed",
        "stock_bank": ["stock got", len("stock got ") + 2_000_000],
        "stock_retailer": "bundle_not_allowed",
    }
    assert warm_node.SECRET not in logs
    # Flower's own runner imports an allowed bundle; nothing else imports any.
    imported = [name for name in WHAT if (tmp_path / "link" / name / IMPORTED).exists()]
    assert imported == ["stock_bank"]
