"""Over a real SuperLink nodes answer, and of what they raise nothing but a code leaves them."""

import json
from pathlib import Path

from end_to_end.superlink import app_files, running_superlink

SECRET = "Erika-Mustermann-DE89370400440532013000"

_CLIENT = """
from pathlib import Path
from fedmkt.core.errors import MessageInvalid
from fedmkt.transport.flower import make_client_app

def open_handler(config):
    secret = Path(config["customers"]).read_text()
    def handle(request):
        if request == b"refuse":
            raise MessageInvalid(kind=secret, problem=secret)
        if request == b"raise":
            try:
                raise KeyError(secret)
            except KeyError as error:
                raise type(secret, (ValueError,), {})(secret) from error
        return b"reply of " + config["org"].encode() + b" to " + request
    return handle

app = make_client_app(open_handler)
"""

_SERVER = """
import json
import os
from pathlib import Path
from fedmkt.transport.channel import Failure
from fedmkt.transport.flower import make_server_app

def main(channel, config):
    nodes = channel.node_ids(at_least=3, deadline_s=60)
    requests = dict(zip(nodes, (b"echo", b"refuse", b"raise")))
    replies = channel.exchange(requests, deadline_s=60)
    Path(config["home"]).write_text(json.dumps({
        requests[node].decode(): reply.code if isinstance(reply, Failure) else reply.decode()
        for node, reply in replies.items()
    }))

app = make_server_app(main)
"""


def test_nodes_answer_and_no_byte_of_an_exception_reaches_the_server(tmp_path: Path) -> None:
    customers = tmp_path / "customers.txt"
    customers.write_text(SECRET)
    names = ("bank", "map_provider", "retailer")
    nodes = {name: {"org": name, "customers": str(customers)} for name in names}
    outcome, record = tmp_path / "outcome.json", tmp_path / "sent_by_nodes"
    with running_superlink(tmp_path / "link", nodes, record_to=record) as link:
        run = link.run(
            app_files(client=_CLIENT, server=_SERVER), {"home": str(outcome)}, timeout_s=120
        )
        logs = link.logs()
    assert run.status == "finished:completed", logs
    assert not [name for name, process in link.processes.items() if _group_lives(process.pid)]
    first = min(link.node_ids, key=link.node_ids.__getitem__)
    assert json.loads(outcome.read_text()) == {
        "echo": f"reply of {first} to echo",
        "refuse": "message_invalid",
        "raise": "internal_error",
    }
    # What a node did send is found, so what is not found was not sent.
    assert f"reply of {first} to echo".encode() in record.read_bytes()
    servers = [record, outcome, *_files_of(tmp_path / "link", "superlink", "executor")]
    assert {path.name for path in servers} >= {"superlink.log", "executor.log", "state.db"}
    for path in servers:
        assert SECRET.encode() not in path.read_bytes(), path


def _group_lives(group: int) -> bool:
    """Whether a process of the group runs; one that ended but was not yet reaped does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return False


def _files_of(link: Path, *processes: str) -> list[Path]:
    """All files of the server's side: its store, and the logs and homes of its processes."""
    homes = [path for name in processes for path in (link / name).rglob("*") if path.is_file()]
    logs = [link / f"{name}.log" for name in processes]
    return [*homes, *logs, *link.glob("state.db*")]
