"""What one caller takes of a guard, and what is left for others.

The guards are processes of their own before a stand-in for the SuperLink.
"""

import contextlib
import itertools
import os
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from end_to_end.guard_callers import (
    StandIn,
    answer_to,
    head_of,
    raw,
    read_all,
    standing_in,
    wait_until,
)
from end_to_end.superlink import HOST, free_ports

from fedmkt.transport.guard_settings import GuardSettings

SMALL = {
    "most_body_bytes": 2**20,
    "most_header_bytes": 2**11,
    "most_connections_each": 3,
    "requests_per_s_each": 5.0,
    "burst_each": 5,
    "handshake_s": 1.0,
    "idle_s": 1.0,
    "silence_s": 1.0,
}
OTHER = "127.0.0.99"

_numbers = itertools.count(1)
Guard = tuple[int, subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with standing_in(tmp_path_factory.mktemp("guarded") / "link") as running:
        yield running


@pytest.fixture(scope="module")
def guard(link: StandIn) -> Guard:
    return link.start_guard("guard")


@pytest.fixture(scope="module")
def small_guard(link: StandIn) -> int:
    return link.start_guard("small", **SMALL)[0]


@pytest.fixture
def source() -> str:
    """An address that nobody has called from, with all its rate and connections."""
    return f"127.0.1.{next(_numbers)}"


def test_ten_gigabytes_are_refused_by_their_stated_length(link: StandIn, guard: Guard) -> None:
    port, process = guard
    before = psutil.Process(process.pid).memory_info().rss
    request = head_of("/v1/fleet/push-object", f"content-length: {10 * 2**30}")
    started = time.monotonic()
    assert answer_to(link, port, request).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - started < 2
    assert psutil.Process(process.pid).memory_info().rss - before < 8 * 2**20


def test_a_body_in_chunks_is_cut_at_the_limit(link: StandIn, small_guard: int, source: str) -> None:
    request = head_of("/v1/fleet/push-object", "transfer-encoding: chunked")
    chunk = b"10000\r\n" + bytes(2**16) + b"\r\n"
    with raw(link, small_guard, source=source) as connection:
        connection.sendall(request)
        with contextlib.suppress(OSError):
            for _ in range(2 * int(SMALL["most_body_bytes"]) // 2**16):
                connection.sendall(chunk)
        answer = read_all(connection)
    assert not answer or answer.startswith(b"HTTP/1.1 413")
    answer = answer_to(link, small_guard, request + chunk * 17, source=source)
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("size", [2**12, 70_000, 2**20])
def test_a_head_over_the_limit_is_refused(
    link: StandIn, small_guard: int, source: str, size: int
) -> None:
    with raw(link, small_guard, source=source) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(head_of("/v1/fleet/get-run", "flwr-x: " + "x" * size))
        answer = read_all(connection)
    # Of the largest the answer may be lost, since the connection ends before all of it was sent.
    assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")) or (size == 2**20 and not answer)


def test_a_client_is_held_to_its_rate_and_no_header_makes_it_another(
    link: StandIn, small_guard: int, source: str
) -> None:
    context = ssl.create_default_context(cafile=str(link.folder / "ca.crt"))
    calling = httpx.HTTPTransport(verify=context, local_address=source)
    started, passed, status = time.monotonic(), 0, 200
    with httpx.Client(base_url=f"https://{HOST}:{small_guard}", transport=calling) as client:
        while status == 200 and passed < 100:
            shown = {"x-forwarded-for": f"10.0.0.{passed}"}
            status = client.post("/v1/fleet/get-run", headers=shown).status_code
            passed += 1
    waited = time.monotonic() - started
    assert status == 429
    assert passed <= 1 + SMALL["burst_each"] + SMALL["requests_per_s_each"] * waited


def test_connections_are_counted_before_they_say_anything(
    link: StandIn, small_guard: int, source: str
) -> None:
    request = head_of("/v1/fleet/get-run", "content-length: 0", "connection: close")
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            plain = socket.create_connection((HOST, small_guard), 5, source_address=(source, 0))
            return stack.enter_context(plain)

        held = [connect() for _ in range(int(SMALL["most_connections_each"]))]
        assert read_all(connect()) == b""
        # Those before it have their places, and another address has its own.
        held[0].settimeout(0.2)
        with pytest.raises(TimeoutError):
            held[0].recv(1)
        answer = answer_to(link, small_guard, request, source=OTHER)
        assert answer.startswith(b"HTTP/1.1 200")
    wait_until(lambda: passes(link, small_guard, request, source), 5)


def passes(link: StandIn, port: int, request: bytes, source: str) -> bool:
    with contextlib.suppress(OSError):
        return answer_to(link, port, request, source=source).startswith(b"HTTP/1.1 200")
    return False


def test_bare_connections_of_one_address_leave_descriptors_and_quiet(
    link: StandIn, guard: Guard, source: str
) -> None:
    port, process = guard
    each = GuardSettings.model_fields["most_connections_each"].default
    with contextlib.ExitStack() as stack:
        for _ in range(5 * each):
            plain = socket.create_connection((HOST, port), 5, source_address=(source, 0))
            stack.enter_context(plain)
        request = head_of("/v1/fleet/get-run", "content-length: 0", "connection: close")
        assert answer_to(link, port, request, source=OTHER).startswith(b"HTTP/1.1 200")
        assert psutil.Process(process.pid).num_fds() < 2 * each
    assert link.log("guard") == ""


def test_more_connections_than_the_system_allows_files_are_refused_at_the_start(
    link: StandIn,
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _, process = link.start_guard("many", most_connections=hard)
    assert process.wait(10) == 1
    assert "most_connections" in link.log("many")


def test_a_handshake_that_does_not_begin_is_cut_off(small_guard: int, source: str) -> None:
    started = time.monotonic()
    with socket.create_connection((HOST, small_guard), 10, source_address=(source, 0)) as plain:
        assert read_all(plain) == b""
    assert time.monotonic() - started < 5 * SMALL["handshake_s"]


def test_a_head_that_drips_in_is_cut_off(link: StandIn, small_guard: int, source: str) -> None:
    with raw(link, small_guard, source=source) as connection:
        started = time.monotonic()
        dripping = threading.Thread(target=drip, args=(connection,))
        dripping.start()
        read_all(connection)
        assert time.monotonic() - started < 4 * SMALL["idle_s"]
        dripping.join()


def drip(connection: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        for each in head_of("/v1/fleet/get-run", "x: " + "y" * 200):
            connection.send(bytes([each]))
            time.sleep(0.1)


def test_a_body_that_stops_is_cut_off(link: StandIn, small_guard: int, source: str) -> None:
    started = time.monotonic()
    request = head_of("/v1/fleet/get-run", "content-length: 100") + b"x"
    assert answer_to(link, small_guard, request, source=source).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 5 * SMALL["silence_s"]


def test_a_question_is_not_held_for_a_node_that_is_gone(
    link: StandIn, guard: Guard, source: str
) -> None:
    request = head_of("/v1/fleet/pull-messages", "content-length: 3") + b"abc"
    with raw(link, guard[0], source=source) as connection:
        connection.sendall(request)
        assert link.asked.wait(5)
        assert not link.let_go.wait(0.3)
    assert link.let_go.wait(5)


def test_nothing_passes_to_a_superlink_of_an_older_tls(tmp_path: Path) -> None:
    request = head_of("/v1/fleet/get-run", "content-length: 0")
    with standing_in(tmp_path / "old", latest=ssl.TLSVersion.TLSv1_2) as old:
        assert answer_to(old, old.start_guard("guard")[0], request).startswith(b"HTTP/1.1 502")


def test_a_guard_without_its_superlink_answers_502_and_ends_on_sigterm(link: StandIn) -> None:
    (nobody,) = free_ports(1)
    port, process = link.start_guard("alone", superlink=f"{HOST}:{nobody}")
    request = head_of("/v1/fleet/get-run", "content-length: 0")
    assert answer_to(link, port, request).startswith(b"HTTP/1.1 502")
    with raw(link, port), raw(link, port) as asking:
        asking.sendall(head_of("/v1/fleet/get-run", "content-length: 100"))
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
    said = link.log("alone")
    assert "the SuperLink did not answer" in said
    assert "Exception" not in said
