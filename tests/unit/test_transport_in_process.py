"""The in-process grid behaves as separate processes would where it matters."""

import threading
import time

import pytest
from flwr.app import Message

from fedmkt.transport.channel import Channel, Failure, Handler
from fedmkt.transport.flower import Config, make_client_app, make_server_app
from fedmkt.transport.in_process import InProcessGrid, run_in_process
from fedmkt.transport.payload import payload_record

NODES: dict[int, Config] = {1: {"name": "a"}, 2: {"name": "b"}, 3: {"name": "c"}}


def _echo(_config: Config) -> Handler:
    return lambda request: request


def _ask_all(channel: Channel, deadline_s: float = 5.0) -> dict[int, bytes | Failure]:
    return dict(channel.exchange(dict.fromkeys(NODES, b"x"), deadline_s=deadline_s))


def test_an_exception_of_the_coordinator_comes_out_unchanged() -> None:
    error = RuntimeError("mine")

    def main(_channel: Channel, _config: Config) -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        run_in_process(
            make_server_app(main), make_client_app(_echo), node_configs=NODES, run_config={}
        )
    assert caught.value is error


def test_a_node_handles_one_message_at_a_time_and_nodes_run_side_by_side() -> None:
    inside: dict[object, int] = {}
    most: dict[object, int] = {}
    together = threading.Barrier(2, timeout=5)

    def open_handler(config: Config) -> Handler:
        name = config["name"]

        def handle(request: bytes) -> bytes:
            inside[name] = inside.get(name, 0) + 1
            most[name] = max(most.get(name, 0), inside[name])
            together.wait()  # passes only while another node is inside as well
            time.sleep(0.01)
            inside[name] -= 1
            return request

        return handle

    grid = InProcessGrid(make_client_app(open_handler), {1: {"name": "a"}, 2: {"name": "b"}})
    ids = grid.push_messages(
        [Message(payload_record(b"x"), node, "train.fedmkt") for node in (1, 1, 1, 2, 2, 2)]
    )
    replies: list[Message] = []
    until = time.monotonic() + 5
    while len(replies) < 6 and time.monotonic() < until:
        replies += grid.pull_messages(ids)
        time.sleep(0.005)
    grid.close()
    assert len(replies) == 6
    assert most == {"a": 1, "b": 1}


def test_sender_and_receiver_share_no_record() -> None:
    grid = InProcessGrid(make_client_app(_echo), {1: {}})
    content = payload_record(b"before")
    message = Message(content, 1, "train.fedmkt")
    grid_ids = list(grid.push_messages([message]))
    content.config_records["fedmkt"]["payload"] = b"after"
    message.metadata.dst_node_id = 9
    replies: list[Message] = []
    until = time.monotonic() + 5
    while not replies and time.monotonic() < until:
        replies += grid.pull_messages(grid_ids)
    grid.close()
    assert replies[0].content.config_records["fedmkt"]["payload"] == b"before"
    assert replies[0].metadata.src_node_id == 1


def test_a_lost_request_never_reaches_its_node() -> None:
    reached: list[object] = []

    def open_handler(config: Config) -> Handler:
        reached.append(config["name"])
        return lambda request: request

    def lose(node_id: int, message: Message) -> bool:
        return node_id == 2 and not message.metadata.reply_to_message_id

    def main(channel: Channel, _config: Config) -> None:
        assert _ask_all(channel, deadline_s=0.2) == {1: b"x", 3: b"x"}

    run_in_process(
        make_server_app(main),
        make_client_app(open_handler),
        node_configs=NODES,
        run_config={},
        lose=lose,
    )
    assert sorted(map(str, reached)) == ["a", "c"]


def test_a_lost_reply_leaves_its_node_having_done_the_work() -> None:
    reached: list[object] = []

    def open_handler(config: Config) -> Handler:
        reached.append(config["name"])
        return lambda request: request

    def lose(node_id: int, message: Message) -> bool:
        return node_id == 2 and bool(message.metadata.reply_to_message_id)

    def main(channel: Channel, _config: Config) -> None:
        assert _ask_all(channel, deadline_s=0.2) == {1: b"x", 3: b"x"}

    run_in_process(
        make_server_app(main),
        make_client_app(open_handler),
        node_configs=NODES,
        run_config={},
        lose=lose,
    )
    assert sorted(map(str, reached)) == ["a", "b", "c"]


def test_a_restart_comes_before_every_message() -> None:
    events: list[str] = []

    def open_handler(config: Config) -> Handler:
        events.append(f"opened {config['name']}")
        return lambda request: request

    def main(channel: Channel, _config: Config) -> None:
        for _ in range(2):
            channel.exchange({1: b"x"}, deadline_s=5)

    run_in_process(
        make_server_app(main),
        make_client_app(open_handler),
        node_configs=NODES,
        run_config={},
        restart=lambda node_id: events.append(f"restarted {node_id}"),
    )
    assert events == ["restarted 1", "opened a", "restarted 1", "opened a"]


def test_a_node_whose_process_would_die_is_a_crash_and_answers_again_later() -> None:
    died: list[bool] = []

    def open_handler(_config: Config) -> Handler:
        def handle(request: bytes) -> bytes:
            if not died:
                died.append(True)
                raise SystemExit("with a customer's name")
            return request

        return handle

    def main(channel: Channel, _config: Config) -> None:
        assert dict(channel.exchange({1: b"x"}, deadline_s=5)) == {1: Failure("app_crashed")}
        assert dict(channel.exchange({1: b"x"}, deadline_s=5)) == {1: b"x"}

    run_in_process(
        make_server_app(main), make_client_app(open_handler), node_configs=NODES, run_config={}
    )
    assert died


def test_a_request_outlives_its_deadline_by_little() -> None:
    lives_s: list[float] = []

    def note(_node_id: int, message: Message) -> bool:
        lives_s.append(message.metadata.ttl)
        return True

    def main(channel: Channel, _config: Config) -> None:
        channel.exchange({1: b"x"}, deadline_s=0.1)

    run_in_process(
        make_server_app(main), make_client_app(_echo), node_configs=NODES, run_config={}, lose=note
    )
    assert len(lives_s) == 1
    assert 0.1 < lives_s[0] < 2.0
