"""Whatever bytes come, reading them ends soon, in little memory, in a message or a named error.

Inputs: SHORT of any bytes and SHORT // 10 mutations of each kind of message and of each kind of
signed body; where the slow tests run, LONG and LONG // 20.
"""

import contextlib
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedmkt.core.errors import FedmktError
from fedmkt.identity.keys import Identity
from fedmkt.identity.signed_message import open_message, sign_message
from fedmkt.wire.canonical import decode, encode
from fedmkt.wire.envelope import Envelope
from fedmkt.wire.run import Body, CloseRequest, OpenRequest, is_refusal
from fedmkt.wire.shared import SHARED_REQUESTS
from fedmkt.wire.steps import Request, parse_request, step_name
from fedmkt.wire.training import MaskRequest, SharesRequest, UnmaskRequest, VoteRequest

SHORT, LONG = 300, 4_000
MOST_MEMORY = 4 * 2**20
"""Inputs are a few kilobytes; what is built from one is far below this."""

KINDS: tuple[type[Body], ...] = (
    OpenRequest,
    CloseRequest,
    SharesRequest,
    MaskRequest,
    VoteRequest,
    UnmaskRequest,
    *SHARED_REQUESTS,
)
IDENTITY = Identity.generate()
CONTRACT = "c" * 64
# Heads that claim much, nest, tag, or leave their end open.
HOSTILE = [
    b"\x5b" + (10**10).to_bytes(8, "big"),
    b"\x7b" + (10**10).to_bytes(8, "big"),
    b"\x9b" + (10**10).to_bytes(8, "big"),
    b"\xbb" + (10**10).to_bytes(8, "big"),
    b"\x81" * 500,
    b"\xa1\x01" * 500,
    b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01",
    b"\xc5\x82\x1a\x3b\x9a\xca\x00\x01",
    b"\xc2\x58\x20" + b"\xff" * 32,
    b"\xd8\x23\x62((",
    b"\x9f\x01",
    b"\x5f\x41a",
    b"\xf9\x7e\x00",
    b"\xff",
]


def example(annotation: Any) -> Any:
    """Return a value that a field of this type may have."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return {name: example(parts[1]) for name in ("bank", "retailer")}
    if origin is tuple:
        return tuple(example(part) for part in parts if part is not Ellipsis)
    if parts:
        return parts[0]
    return {str: "ab" * 8, bytes: b"\x01" * 40, int: 1, float: 0.5}[annotation]


def honest(kind: type[Body]) -> Request:
    values = {name: example(field.annotation) for name, field in kind.model_fields.items()}
    return kind.model_validate(values)  # type: ignore[return-value]


def signed(step: str, body: bytes) -> bytes:
    return sign_message(Envelope(CONTRACT, "run-1", step, "coordinator", "bank", body), IDENTITY)


def read(data: bytes) -> Request:
    message = open_message(
        data, directory={"coordinator": IDENTITY.public}, receiver="bank", contract=CONTRACT
    )
    return parse_request(message.step, message.body)


def is_read_or_refused(reader: Callable[[bytes], object], data: bytes) -> None:
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    with contextlib.suppress(FedmktError):
        reader(data)
    assert tracemalloc.get_traced_memory()[1] - before < MOST_MEMORY


@pytest.fixture(autouse=True)
def _traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes flipped, left out, doubled, put in, or the rest cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        match draw(st.sampled_from(["flip", "cut", "leave out", "double", "put in", "hostile"])):
            case "flip" if at < len(changed):
                changed[at] ^= draw(st.integers(1, 255))
            case "cut":
                del changed[at:]
            case "leave out":
                del changed[at : at + draw(st.integers(1, 9))]
            case "double":
                changed[at:at] = changed[at : at + draw(st.integers(1, 64))]
            case "put in":
                changed[at:at] = draw(st.binary(min_size=1, max_size=9))
            case _:
                changed[at:at] = draw(st.sampled_from(HOSTILE))
    return bytes(changed)


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=timedelta(seconds=2),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def any_bytes(data: bytes) -> None:
    for reader in (lambda raw: decode(raw, kind="fuzz"), read, is_refusal):
        is_read_or_refused(reader, data)


def a_mutated_message(kind: type[Body], data: st.DataObject) -> None:
    request = honest(kind)
    message = signed(step_name(request), request.to_bytes())
    is_read_or_refused(read, data.draw(mutated(message)))


def a_mutated_body_that_is_signed(kind: type[Body], data: st.DataObject) -> None:
    request = honest(kind)
    body = data.draw(mutated(request.to_bytes()))
    is_read_or_refused(read, signed(step_name(request), body))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_mutated_is_read(kind: type[Body]) -> None:
    request = honest(kind)
    assert read(signed(step_name(request), request.to_bytes())) == request


def test_values_of_any_shape_are_read_back_or_refused() -> None:
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    plain |= st.text() | st.binary()
    nested = st.recursive(
        plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=15
    )

    @examples(SHORT // 3)
    @given(nested)
    def law(value: object) -> None:
        data = encode(value)
        try:
            assert decode(data, kind="fuzz") == value
        except FedmktError:
            # Larger numbers than 64 bits and deeper nestings are no message's.
            assert b"\xc2" in data or b"\xc3" in data or _depth(value) > 15

    law()


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@examples(SHORT)
@given(st.binary(max_size=4096) | st.sampled_from(HOSTILE).flatmap(mutated))
def test_any_bytes(data: bytes) -> None:
    any_bytes(data)


@pytest.mark.parametrize("kind", KINDS)
@examples(SHORT // 10)
@given(st.data())
def test_mutated_messages(kind: type[Body], data: st.DataObject) -> None:
    a_mutated_message(kind, data)


@pytest.mark.parametrize("kind", KINDS)
@examples(SHORT // 10)
@given(st.data())
def test_mutated_bodies_that_are_signed(kind: type[Body], data: st.DataObject) -> None:
    a_mutated_body_that_is_signed(kind, data)


@pytest.mark.slow
@examples(LONG)
@given(st.binary(max_size=4096) | st.sampled_from(HOSTILE).flatmap(mutated))
def test_any_bytes_at_length(data: bytes) -> None:
    any_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@examples(LONG // 20)
@given(st.data())
def test_mutated_messages_at_length(kind: type[Body], data: st.DataObject) -> None:
    a_mutated_message(kind, data)
    a_mutated_body_that_is_signed(kind, data)
