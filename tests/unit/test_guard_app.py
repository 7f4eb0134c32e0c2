"""What one request may take of a guard: its share of memory, its time, and its headers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedmkt.transport.guard_app import Guard
from fedmkt.transport.guard_settings import GuardSettings

ONE, OTHER, THIRD = "192.0.2.1", "192.0.2.2", "192.0.2.3"
Sender = Callable[[], Awaitable[dict[str, Any]]]


class SuperLink(httpx.AsyncBaseTransport):
    """Answers once it has read a body, and may then be held."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.headers: list[httpx.Headers] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.cut = 0
        self._slow_s = slow_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.headers.append(request.headers)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        try:
            async for _ in request.stream:
                await asyncio.sleep(self._slow_s)
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        return httpx.Response(200, stream=httpx.ByteStream(b""))


def guarding(superlink: SuperLink, **limits: float) -> Guard:
    nothing = Path("/nowhere")
    settings = GuardSettings.model_validate(
        {
            "host": "x", "port": 1, "certificate": nothing, "key": nothing,
            "superlink": "x:1", "superlink_certificates": nothing, "burst_each": 10_000, **limits,
        }
    )  # fmt: skip
    return Guard(settings, httpx.AsyncClient(transport=superlink, base_url="https://x"))


async def status(
    guard: Guard, client: str, sender: Sender, *headers: tuple[bytes, bytes]
) -> int | None:
    """Return what a guard answers a client, None where it answers nothing."""
    path = "/v1/fleet/push-object"
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "client": (client, 1), "headers": list(headers),
    }  # fmt: skip
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message.get("status"))

    async with asyncio.timeout(10):
        await guard(scope, sender, send)
    return said[0] if said else None


def sends(*chunks: bytes, every_s: float = 0.0, goes: asyncio.Event | None = None) -> Sender:
    """Return a client that sends these and then stays, until it goes."""
    left = iter(chunks)
    more = len(chunks)

    async def receive() -> dict[str, Any]:
        nonlocal more
        if more == 0:
            await (goes or asyncio.Event()).wait()
            return {"type": "http.disconnect"}
        await asyncio.sleep(every_s)
        more -= 1
        return {"type": "http.request", "body": next(left), "more_body": more > 0}

    return receive


async def holding(guard: Guard, client: str, size: int) -> asyncio.Task[int | None]:
    """Return a request that has come whole and was not answered yet."""
    asked = asyncio.create_task(status(guard, client, sends(bytes(size))))
    before = guard._flight.held
    async with asyncio.timeout(5):
        while guard._flight.held == before:
            await asyncio.sleep(0)
    return asked


def test_one_address_holds_its_share_of_the_bytes_and_all_hold_no_more_than_all() -> None:
    async def run() -> None:
        superlink = SuperLink()
        guard = guarding(superlink, most_bytes_in_flight=100, most_bytes_in_flight_each=60)
        superlink.answers.clear()
        held = [await holding(guard, ONE, 60)]
        assert await status(guard, ONE, sends(b"x")) == 503
        held.append(await holding(guard, OTHER, 40))
        assert await status(guard, OTHER, sends(b"x")) == 503
        assert await status(guard, THIRD, sends(b"x")) == 503
        superlink.answers.set()
        assert await asyncio.gather(*held) == [200, 200]
        assert await status(guard, THIRD, sends(bytes(60))) == 200

    asyncio.run(run())


@pytest.mark.parametrize("last", [(bytes(10),), (bytes(5), bytes(6)), (bytes(9), bytes(9))])
def test_answered_and_refused_requests_hold_nothing(last: tuple[bytes, ...]) -> None:
    async def run() -> None:
        guard = guarding(SuperLink(), most_bytes_in_flight=10, most_body_bytes=12)
        for _ in range(5):
            await status(guard, ONE, sends(*last))
            assert await status(guard, ONE, sends(bytes(10))) == 200

    asyncio.run(run())


def test_a_request_that_goes_on_sending_ends_at_its_time() -> None:
    async def run() -> float:
        guard = guarding(SuperLink(), request_s=0.3)
        started = time.monotonic()
        assert await status(guard, ONE, sends(*[bytes(2**14)] * 400, every_s=0.01)) == 504
        return time.monotonic() - started

    assert 0.3 <= asyncio.run(run()) < 2


def test_a_body_that_trickles_within_each_pause_is_cut_off() -> None:
    async def run() -> float:
        guard = guarding(SuperLink(), silence_s=0.3, least_body_bytes_per_s=10_000)
        started = time.monotonic()
        trickle = [bytes(2**20), *[b"x"] * 100]
        assert await status(guard, ONE, sends(*trickle, every_s=0.1)) == 408
        return time.monotonic() - started

    assert asyncio.run(run()) < 2


def test_a_body_that_keeps_to_the_least_rate_passes_however_long_it_takes() -> None:
    async def run() -> None:
        guard = guarding(SuperLink(), silence_s=0.8, least_body_bytes_per_s=1_000)
        assert await status(guard, ONE, sends(*[bytes(500)] * 10, every_s=0.1)) == 200

    asyncio.run(run())


def test_the_time_the_superlink_takes_to_read_is_not_the_senders() -> None:
    async def run() -> None:
        guard = guarding(SuperLink(slow_s=0.2), silence_s=0.6, least_body_bytes_per_s=10_000)
        assert await status(guard, ONE, sends(*[b"x"] * 5)) == 200

    asyncio.run(run())


def test_a_superlink_is_not_waited_for_once_the_client_is_gone() -> None:
    async def run() -> None:
        superlink, goes = SuperLink(), asyncio.Event()
        superlink.answers.clear()
        guard = guarding(superlink)
        asked = asyncio.create_task(status(guard, ONE, sends(b"x", goes=goes)))
        await asyncio.sleep(0.05)
        assert (superlink.cut, asked.done()) == (0, False)
        goes.set()
        async with asyncio.timeout(2):
            await asked
        assert superlink.cut == 1
        assert guard._flight.held == 0

    asyncio.run(run())


def test_headers_of_nodes_pass_and_those_of_executors_and_operators_do_not() -> None:
    passing = {"flwr-public-key": "a", "flwr-signature": "b", "content-type": "c", "accept": "d"}
    stopped = {
        "flwr-superexec-timestamp": "e", "flwr-superexec-signature": "f", "flwr-task-token": "g",
        "authorization": "h", "cookie": "i", "x-forwarded-for": "j",
    }  # fmt: skip

    async def run() -> httpx.Headers:
        superlink = SuperLink()
        shown = [(name.encode(), text.encode()) for name, text in (passing | stopped).items()]
        assert await status(guarding(superlink), ONE, sends(b"x"), *shown) == 200
        return superlink.headers[0]

    came = asyncio.run(run())
    assert {name: came[name] for name in passing} == passing
    assert not stopped.keys() & set(came)
