"""A message beyond its limits is refused by name, before memory is taken for it."""

import time
import tracemalloc
import zlib

import numpy as np
import pytest

from fedmkt.core.errors import MessageInvalid, MessageTooLarge, ProtocolError
from fedmkt.wire import limits
from fedmkt.wire.canonical import decode, encode
from fedmkt.wire.training import MaskReply, MaskRequest

TEN_GB = (10 * 2**30).to_bytes(8, "big")


def refused(data: bytes) -> tuple[ProtocolError, int]:
    """Return why data are refused, and the memory that took."""
    tracemalloc.start()
    with pytest.raises((MessageInvalid, MessageTooLarge)) as refusal:
        decode(data, kind="test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return refusal.value, peak


@pytest.mark.parametrize(
    "head",
    [b"\x5b" + TEN_GB, b"\x7b" + TEN_GB, b"\x9b" + TEN_GB, b"\xbb" + TEN_GB],
    ids=["bytes", "text", "list", "map"],
)
def test_a_head_that_claims_ten_gigabytes_takes_no_memory(head: bytes) -> None:
    for data in (head, head + b"\x00" * 1000, b"\x81" + head):
        _, peak = refused(data)
        assert peak < 100_000


@pytest.mark.parametrize("head", [b"\x81", b"\xa1\x01"], ids=["lists", "maps"])
def test_deep_nesting_is_refused(head: bytes) -> None:
    fits = head * limits.MOST_DEPTH + b"\x00"
    assert decode(fits, kind="test") is not None
    error, peak = refused(head * 1_000_000 + b"\x00")
    assert (error.code, error.fields["what"]) == ("message_too_large", "levels")
    assert peak < 100_000


@pytest.mark.parametrize("empty", [b"\x80", b"\xa0", b"\x00"], ids=["lists", "maps", "numbers"])
def test_more_items_than_any_message_has_are_refused_without_building_them(empty: bytes) -> None:
    count = 2 * limits.MOST_ITEMS
    error, peak = refused(b"\x9a" + count.to_bytes(4, "big") + empty * count)
    assert (error.code, error.fields["what"]) == ("message_too_large", "items")
    assert peak < 100_000


def test_a_long_text_is_refused_and_as_many_bytes_are_not() -> None:
    size = limits.MOST_TEXT + 1
    error, _ = refused(encode("x" * size))
    assert error.fields["what"] == "bytes of text"
    assert decode(encode(b"x" * size), kind="test") == b"x" * size
    assert decode(encode("x" * (size - 1)), kind="test") == "x" * (size - 1)


def test_a_message_of_more_bytes_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BYTES", 1000)
    assert len(decode(encode(b"x" * 900), kind="test")) == 900
    with pytest.raises(MessageTooLarge) as refusal:
        decode(encode(b"x" * 1000), kind="test")
    assert refusal.value.fields == {"kind": "test", "limit": 1000, "what": "bytes"}


@pytest.mark.parametrize(
    "data",
    [
        b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01",  # 10^(10^9), in eight bytes
        b"\xc2\x58\x20" + b"\xff" * 32,
        b"\xd8\x23\x62((",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\x9f\x01\xff",
        b"\xf7",
        b"\xf8\xff",
        b"\x01\x02",
        b"",
        b"\x18",
        b"\x1c",
    ],
    ids=["decimal", "big number", "pattern", "shared", "open end", "undefined", "simple", "after",
         "nothing", "half a head", "reserved"],
)  # fmt: skip
def test_what_no_message_is_made_of_is_refused(data: bytes) -> None:
    started = time.monotonic()
    error, _ = refused(data)
    assert error.code == "message_invalid"
    assert time.monotonic() - started < 1


def test_a_number_of_a_few_bytes_that_takes_hours_is_refused_where_a_count_belongs() -> None:
    fields = {"kind": "mask", "sum_index": 0, "intercept": 0.0, "effects": b""}
    plain = encode(fields)
    key = encode("sum_index")
    at = plain.index(key) + len(key)
    hostile = plain[:at] + b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01" + plain[at + 1 :]
    started = time.monotonic()
    with pytest.raises(MessageInvalid):
        MaskRequest.from_bytes(hostile)
    assert time.monotonic() - started < 1


def test_compressed_content_stays_bytes() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    tracemalloc.start()
    values = MaskReply.from_bytes(MaskReply(values=bomb).to_bytes()).values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values == bomb
    assert peak < 20 * len(bomb)


def test_an_unknown_field_is_refused_without_its_name() -> None:
    secret = "Erika-Mustermann"
    for fields in ({secret: 1}, {"kind": "masked", "values": b"", secret: b""}):
        with pytest.raises(MessageInvalid) as refusal:
            MaskReply.from_bytes(encode(fields))
        assert secret not in str(refusal.value)


def test_looking_at_an_honest_message_costs_next_to_nothing() -> None:
    data = MaskReply(values=np.zeros(7_000_000 // 8).tobytes()).to_bytes()
    started = time.perf_counter()
    for _ in range(100):
        limits.check_message(data, kind="test")
    looked = (time.perf_counter() - started) / 100
    started = time.perf_counter()
    for _ in range(20):
        MaskReply.from_bytes(data)
    assert looked < 0.1 * (time.perf_counter() - started) / 20
