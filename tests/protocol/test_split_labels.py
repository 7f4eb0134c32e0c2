"""An owner of a split training trains on the labels that it drew when the run was opened."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from protocol.test_split_messages import MEMBERS, SETTINGS
from protocol.test_split_sizes import (
    OWNER,
    PARTNERS,
    SECRET,
    SHAPE,
    job,
    loaded_with,
    numbers_from,
    priced,
    waiting,
)

from fedmkt.contract.split_job import SplitPrivacy
from fedmkt.node import split_owner
from fedmkt.privacy.mechanisms import OsNoise
from fedmkt.privacy.randomised_response import unbiased
from fedmkt.vertical.split_network import OwnerRows
from fedmkt.vertical.split_shape import first_owner
from fedmkt.wire.shared import GradientsRequest

EPSILON, ROUND, ROWS, PADDED = 1.0, 1, 200, 220


class Drawn(OsNoise):
    """The deployed noise, which gives other labels each time it is asked; counts how often."""

    def __init__(self) -> None:
        self.asked = 0

    def stream(self, label: str) -> "Drawn":
        return self

    def words(self, count: int) -> NDArray[np.uint64]:
        self.asked += 1
        return super().words(count)


class Home:
    """What these steps ask of a node's home."""

    def __init__(self) -> None:
        self.member, self.noise = OWNER, Drawn()


def test_no_round_and_no_restart_draws_labels_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(
        priced(), job=job().model_copy(update={"labels": SplitPrivacy(epsilon=EPSILON)})
    )
    loaded, home, trained = loaded_with(ROWS, PADDED), Home(), []
    memory: dict[str, Any] = split_owner.first_memory(home, "run", asked, loaded)  # type: ignore[arg-type]
    drawn = np.frombuffer(memory["labels"], dtype=np.uint8)
    assert (drawn != loaded.labels[: len(drawn)]).any()

    def noted(networks: Any, rows: OwnerRows, seen: Any, *_: Any, **__: Any) -> Any:
        trained.append(rows.target)
        return networks, [np.zeros_like(one) for one in seen]

    monkeypatch.setattr(split_owner, "owner_round", noted)
    networks = first_owner(SHAPE, SETTINGS, parties=len(MEMBERS), secret=SECRET)
    kept = {"bottom": networks.bottom.to_plain(), "top": networks.top.to_plain()}
    before = home.noise.asked
    for index in (ROUND, ROUND + 1):
        rows, step = loaded.rows(asked.job, index), f"activations/{index}"
        sealed = {one: numbers_from(one, OWNER, step, rows, padded=PADDED) for one in PARTNERS}
        split_owner.gradients(
            home,  # type: ignore[arg-type]
            waiting(OWNER, "gradients", index, labels=memory["labels"], **kept),
            GradientsRequest(index=index, sealed=sealed),
            asked,
            loaded,
        )
    for target in trained:
        assert np.array_equal(target, unbiased(drawn, EPSILON))
    assert len(trained) == 2
    assert home.noise.asked == before
