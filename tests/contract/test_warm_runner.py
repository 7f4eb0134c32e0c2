"""The warm runner: what it leans on in Flower is there, and it keeps what the stock one keeps."""

import hashlib
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from end_to_end import superlink, warm_node
from end_to_end.small_world import small_world
from end_to_end.superlink import app_files, running_superlink
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable import inflatable_object, inflatable_utils
from flwr.superlink.grid import http_grid
from flwr.supernode import start_client_internal
from flwr.supernode.fleet_http_connection import http_request_response

from fedmkt.core.errors import BundleNotAllowed, SettingInvalid
from fedmkt.deployment import node_process
from fedmkt.storage.contract_files import read_contract
from fedmkt.transport.bundle import build_bundle, bundle_hash
from fedmkt.transport.stock_runner import checking
from fedmkt.transport.warm_runner import TESTED, require_tested

NAMES = ("bank", "map_provider", "retailer")
WHAT = {"bank": "echo", "map_provider": "raise", "retailer": "echo"}
CLIENT = "raise RuntimeError('a bundle was imported at a node')\napp = None\n"
SERVER = """
import json
from pathlib import Path
from fedmkt.transport.channel import Failure
from fedmkt.transport.flower import make_server_app

def main(channel, config):
    nodes = channel.node_ids(at_least=3, deadline_s=60)
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


def test_flowers_own_runner_gets_a_bundle_only_if_its_bytes_are_allowed() -> None:
    """The hash that stands beside a bundle is the SuperLink's word, and is not looked at."""
    good, bad = (Fab(hash_str="0" * 64, content=data, verifications={}) for data in (b"g", b"b"))

    @contextmanager
    def connect(_address: str) -> Iterator[tuple[object, ...]]:
        yield 1, None, None, None, lambda stated, _run: good if stated == "good" else bad, None

    allowed = frozenset({hashlib.sha256(b"g").hexdigest()})
    with checking(connect, allowed)("127.0.0.1:1") as parts:
        get_fab = parts[4]
        assert get_fab("good", 1) is good
        with pytest.raises(BundleNotAllowed):
            get_fab("bad", 1)


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
    allowed = {name: known if name != "retailer" else "0" * 64 for name in NAMES}

    def warm(folder: Path, name: str, _config: object, fleet_port: int, _port: int) -> list[str]:
        link = f"{superlink.HOST}:{fleet_port}"
        keys = [f"{folder}/ca.crt", f"{folder}/{name}.key"]
        script = str(Path(warm_node.__file__))
        return ["python", script, link, *keys, name, WHAT[name], allowed[name]]

    monkeypatch.setattr(superlink, "_node_command", warm)
    outcome = tmp_path / "outcome.json"
    with running_superlink(tmp_path / "link", {name: {} for name in NAMES}) as link:
        run = link.run(files, {"home": str(outcome)}, timeout_s=120)
        logs = link.logs()
    assert run.status == "finished:completed", logs
    told = json.loads(outcome.read_text())
    assert {name: told[str(link.node_ids[name])] for name in NAMES} == {
        "bank": ["bank got ", len("bank got ") + 2_000_000],
        "map_provider": "internal_error",
        "retailer": "bundle_not_allowed",
    }
    assert warm_node.SECRET not in logs
    assert "a bundle was imported at a node" not in logs
