"""What leaves a node when its handler raises, and what a reply may hold."""

import logging
import re
from collections.abc import Callable, Mapping

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.core.errors import FedmktError, MessageInvalid
from fedmkt.transport.channel import Channel, Failure, Handler
from fedmkt.transport.flower import Config, make_client_app, make_server_app
from fedmkt.transport.in_process import InProcessGrid, run_in_process
from fedmkt.transport.payload import (
    failure_record,
    payload_record,
    read_reply,
    read_request,
)

SECRET = "Erika Mustermann, DE89370400440532013000"


def _sent() -> Message:
    InProcessGrid(ClientApp(), {}).close()  # Flower's Message asks who the sender is
    return Message(payload_record(b"x"), 7, "train.fedmkt")


def _answers(app: ClientApp) -> list[Message]:
    """Every message one node sends back to one request."""
    seen: list[Message] = []

    def keep(_node: int, message: Message) -> bool:
        if message.metadata.reply_to_message_id:
            seen.append(message)
        return False

    def main(channel: Channel, _config: Config) -> None:
        channel.exchange({7: b"x"}, deadline_s=5)

    run_in_process(make_server_app(main), app, node_configs={7: {}}, run_config={}, lose=keep)
    return seen


def _on_the_wire(message: Message) -> bytes:
    parts = [message.deflate()]
    if message.has_content():
        parts += [message.content.deflate()]
        parts += [record.deflate() for record in message.content.config_records.values()]
    return b"".join(parts)


class SecretInCode(FedmktError):
    def __init__(self) -> None:
        super().__init__(problem=SECRET)
        self.code = SECRET  # type: ignore[misc]


def _plain(_: bytes) -> bytes:
    raise ValueError(SECRET)


def _chained(_: bytes) -> bytes:
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        raise MessageInvalid(kind="open", problem=SECRET) from error


def _named(_: bytes) -> bytes:
    raise type(SECRET, (Exception,), {})()


def _noted(_: bytes) -> bytes:
    error = RuntimeError()
    error.add_note(SECRET)
    raise error


def _grouped(_: bytes) -> bytes:
    raise ExceptionGroup(SECRET, [ValueError(SECRET)])


def _coded(_: bytes) -> bytes:
    raise SecretInCode


def _not_bytes(_: bytes) -> bytes:
    return SECRET  # type: ignore[return-value]


def _unprintable(_: bytes) -> bytes:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError(SECRET)

    raise Unprintable


LEAKS: Mapping[str, tuple[Handler, str]] = {
    "plain": (_plain, "internal_error"),
    "chained": (_chained, "message_invalid"),
    "type name": (_named, "internal_error"),
    "note": (_noted, "internal_error"),
    "group": (_grouped, "internal_error"),
    "code of the instance": (_coded, "error"),
    "not bytes": (_not_bytes, "internal_error"),
    "unprintable": (_unprintable, "internal_error"),
}


@pytest.mark.parametrize(("handler", "code"), LEAKS.values(), ids=list(LEAKS))
def test_of_an_exception_only_a_code_leaves_the_node(handler: Handler, code: str) -> None:
    (answer,) = _answers(make_client_app(lambda _config: handler))
    assert SECRET.encode() not in _on_the_wire(answer)
    assert b"Error" not in _on_the_wire(answer)
    assert read_reply(answer) == Failure(code)


def test_what_opening_a_handler_raises_is_scrubbed_too() -> None:
    def open_handler(_config: Config) -> Handler:
        raise FileNotFoundError(SECRET)

    (answer,) = _answers(make_client_app(open_handler))
    assert SECRET.encode() not in _on_the_wire(answer)
    assert read_reply(answer) == Failure("internal_error")


def test_an_app_that_does_not_scrub_is_caught_by_the_same_look() -> None:
    app = ClientApp()

    @app.train("fedmkt")
    def answer(_message: Message, _context: object) -> Message:
        raise ValueError(SECRET)

    (leaking,) = _answers(app)
    assert SECRET.encode() in _on_the_wire(leaking)
    assert read_reply(leaking) == Failure("app_raised")


def test_the_local_log_names_type_place_and_message_but_no_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        (answer,) = _answers(make_client_app(lambda _config: _plain))
    node_line = next(r.getMessage() for r in caplog.records if r.levelno == logging.ERROR)
    assert re.search(r"^ValueError at .*test_transport_flower\.py:\d+ \(run 1, message ", node_line)
    assert answer.metadata.reply_to_message_id[:16] in node_line
    assert SECRET not in caplog.text


def test_a_handler_sees_its_nodes_configuration_and_nothing_of_the_run() -> None:
    seen: list[Config] = []

    def open_handler(config: Config) -> Handler:
        seen.append(config)
        return lambda request: request

    def main(channel: Channel, config: Config) -> None:
        assert dict(config) == {"job": "j"}
        channel.exchange({7: b"x"}, deadline_s=5)

    run_in_process(
        make_server_app(main),
        make_client_app(open_handler),
        node_configs={7: {"home": "h", "rows": 3}},
        run_config={"job": "j"},
    )
    assert seen == [{"home": "h", "rows": 3}]


def _garbled(fields: dict[str, object]) -> RecordDict:
    return RecordDict({"fedmkt": ConfigRecord(fields)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        _garbled({}),
        _garbled({"payload": "text"}),
        _garbled({"failure": b"code"}),
        _garbled({"failure": SECRET}),
        _garbled({"failure": ""}),
        _garbled({"failure": "a" * 65}),
        _garbled({"failure": "code\n"}),
        _garbled({"failure": "code", "payload": b"x"}),
    ],
)
def test_a_garbled_reply_is_a_failure_that_quotes_nothing(content: RecordDict) -> None:
    assert read_reply(Message(content, reply_to=_sent())) == Failure("reply_invalid")


@pytest.mark.parametrize("content", [RecordDict(), _garbled({}), _garbled({"payload": "text"})])
def test_a_request_without_a_payload_is_refused(content: RecordDict) -> None:
    with pytest.raises(MessageInvalid):
        read_request(Message(content, reply_to=_sent()))


@pytest.mark.parametrize(
    ("number", "code"),
    [(2, "app_raised"), (5, "node_unavailable"), (8, "app_crashed"), (99, "unknown_error")],
)
def test_flowers_own_errors_become_codes_without_their_reason(number: int, code: str) -> None:
    error = Error(number, reason=SECRET)
    assert read_reply(Message(error, reply_to=_sent())) == Failure(code)


@settings(deadline=None, max_examples=50)
@given(payload=st.binary(max_size=200))
def test_any_bytes_come_back_as_they_were(payload: bytes) -> None:
    assert read_reply(Message(payload_record(payload), reply_to=_sent())) == payload


@settings(deadline=None, max_examples=100)
@given(code=st.text(max_size=80))
def test_no_text_but_a_code_passes_the_last_gate(code: str) -> None:
    reply = read_reply(Message(failure_record(Failure(code)), reply_to=_sent()))
    if re.fullmatch(r"[a-z][a-z0-9_]{0,63}", code):
        assert reply == Failure(code)
    else:
        assert reply == Failure("internal_error")


def test_an_empty_exchange_returns_at_once() -> None:
    def main(channel: Channel, _config: Config) -> None:
        assert dict(channel.exchange({}, deadline_s=60)) == {}

    run: Callable[..., None] = run_in_process
    run(make_server_app(main), ClientApp(), node_configs={}, run_config={})
