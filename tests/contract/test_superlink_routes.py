"""A SuperLink answers what this project uses, and nothing else that Flower has."""

import asyncio
import importlib
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from fedmkt.core.errors import SettingInvalid
from fedmkt.transport import superlink_routes
from fedmkt.transport.superlink_routes import ANSWERED, CONTROL, answer_only_known

FLOWER = "flwr.superlink.main"
OF_OTHER_CODE = ("start-automation", "create-task", "push-task-message", "pull-task-message")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A SuperLink's app, by Flower's own list of layers and one more."""
    flower = importlib.import_module(FLOWER)
    monkeypatch.setattr(flower, superlink_routes._LAYERS, flower._get_middleware)
    answer_only_known()
    return flower.create_app()


def routes(app: Any) -> set[tuple[str, str]]:
    return {
        (method, context.route.path)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.route, APIRoute)
        for method in context.route.methods
    }


def answers(app: Any, asked: set[tuple[str, str]]) -> dict[str, int]:
    async def ask() -> dict[str, int]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://superlink") as client:
            return {path: (await client.request(how, path)).status_code for how, path in asked}

    return asyncio.run(ask())


def test_what_is_not_used_is_not_there(app: Any) -> None:
    found = routes(app)
    unused = {
        (how, path) for how, path in found if path not in ANSWERED and not path.startswith(CONTROL)
    }
    assert {f"/v1/runtime/{name}" for name in OF_OTHER_CODE} <= {path for _, path in unused}
    spelt = {("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/v1/runtime/push-messages/")}
    assert set(answers(app, unused | spelt).values()) == {404}


def test_what_is_used_is_there(app: Any) -> None:
    assert {path for _, path in routes(app)} >= ANSWERED
    used = {(how, path) for how, path in routes(app) if path in ANSWERED}
    assert 404 not in answers(app, used).values()


def test_a_flower_without_a_place_for_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(importlib.import_module(FLOWER), superlink_routes._LAYERS)
    with pytest.raises(SettingInvalid, match="no place"):
        answer_only_known()
