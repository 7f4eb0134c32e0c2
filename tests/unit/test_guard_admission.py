"""Rates, shares, paces, and who counts as one client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmkt.core.errors import FileMissing, SettingInvalid
from fedmkt.transport import admission
from fedmkt.transport.admission import Buckets, Pace, Shares, client_key
from fedmkt.transport.guard_settings import read_settings


@given(st.lists(st.floats(0, 3), max_size=60))
def test_no_client_passes_more_than_its_burst_and_its_rate(waits: list[float]) -> None:
    buckets = Buckets(rate=2, burst=5)
    at, passed = 0.0, 0
    for wait in waits:
        at += wait
        passed += buckets.take("a", at)
        assert passed <= 5 + 2 * at + 1e-6


def test_a_client_that_waits_passes_again_and_another_is_not_held_up() -> None:
    buckets = Buckets(rate=1, burst=2)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("b", 0.0)
    assert [buckets.take("a", 1.0) for _ in range(2)] == [True, False]


def test_no_more_clients_are_remembered_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_MOST_CLIENTS", 3)
    buckets = Buckets(rate=1, burst=1)
    for number in range(10):
        buckets.take(str(number), 0.0)
    assert list(buckets._left) == ["7", "8", "9"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.booleans()), max_size=60))
def test_what_is_taken_never_passes_its_limits_and_comes_free(
    steps: list[tuple[str, int, bool]],
) -> None:
    shares = Shares(most=10, most_each=6)
    held = dict.fromkeys("abc", 0)
    for client, amount, gives_back in steps:
        if gives_back:
            amount = min(amount, held[client])
            shares.leave(client, amount)
            held[client] -= amount
        else:
            fits = held[client] + amount <= 6 and sum(held.values()) + amount <= 10
            assert shares.take(client, amount) is fits
            held[client] += amount * fits
        assert shares.held == sum(held.values())
    assert set(shares._by_client) <= {client for client in held if held[client]}


def test_one_client_leaves_room_for_another() -> None:
    shares = Shares(most=10, most_each=6)
    assert shares.take("a", 6)
    assert not shares.take("a", 1)
    assert shares.take("b", 4)


def test_a_sender_has_the_time_its_bytes_need_and_one_pause() -> None:
    pace = Pace(rate=100, grace_s=5)
    pace.arrived(1_000_000, waited_s=1)
    assert pace.left_s == 5  # what was sent fast buys no longer pause
    pace.arrived(100, waited_s=1)
    assert pace.left_s == 5
    for _ in range(3):
        pace.arrived(1, waited_s=1.51)
    assert pace.left_s == pytest.approx(5 - 3 * 1.5)
    pace.arrived(1, waited_s=1.51)
    assert pace.left_s == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
    ],
)
def test_a_network_of_ipv6_is_one_client_and_an_address_of_ipv4(
    one: str, other: str, same: bool
) -> None:
    assert (client_key(one) == client_key(other)) is same


def test_settings_are_read_and_what_is_misspelt_is_named(tmp_path) -> None:
    file = tmp_path / "guard.toml"
    with pytest.raises(FileMissing):
        read_settings(file)
    lines = [
        'host = "0.0.0.0"', "port = 443", 'certificate = "a.pem"', 'key = "a.key"',
        'superlink = "127.0.0.1:9000"', 'superlink_certificates = "ca.crt"',
    ]  # fmt: skip
    file.write_text("\n".join(lines))
    settings = read_settings(file)
    assert (settings.port, settings.most_body_bytes) == (443, 256 * 2**20)
    file.write_text("\n".join([*lines, "most_body_byte = 5"]))
    with pytest.raises(SettingInvalid, match="did you mean most_body_bytes"):
        read_settings(file)
