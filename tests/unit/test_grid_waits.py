"""The coordinator's grid waits for a reply's parts no longer than its exchange goes on."""

import threading
import time

import pytest
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectUnavailableError
from flwr.superlink.grid import http_grid

from fedmkt.transport.grid_waits import GRID_PULLS, pulling_until, quicken_grid

NEVER_S = 120.0


def test_a_reply_that_is_announced_and_never_sent_is_given_up_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_grid, GRID_PULLS, inflatable_utils.pull_objects)
    quicken_grid()
    asked = []

    def unavailable(object_id: str) -> bytes:
        asked.append(object_id)
        raise ObjectUnavailableError(object_id)

    failed = threading.Event()

    def pull() -> None:
        with pulling_until(time.monotonic() + 0.3), pytest.raises(ObjectPullError):
            http_grid.pull_objects(["part"], unavailable)
        failed.set()

    threading.Thread(target=pull, daemon=True).start()
    assert failed.wait(NEVER_S)
    assert len(asked) > 1


def test_what_comes_late_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_grid, GRID_PULLS, inflatable_utils.pull_objects)
    quicken_grid()
    looks = iter([ObjectUnavailableError("part"), b"content"])

    def pull(_object_id: str) -> bytes:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    with pulling_until(time.monotonic() + NEVER_S):
        assert http_grid.pull_objects(["part"], pull) == {"part": b"content"}
