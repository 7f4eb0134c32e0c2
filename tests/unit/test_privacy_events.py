"""Events are checked when made and survive JSON unchanged."""

import json
import math

import pytest

from fedmkt.core.errors import EpsilonInvalid, EventUnknown
from fedmkt.privacy.events import GaussianEvent, NonPrivateEvent, event_from_json, event_to_json

GAUSSIAN = GaussianEvent(noise_multiplier=3.7, sigma=2.0**26 / 3, shares=3, dimensions=800)


@pytest.mark.parametrize("event", [GAUSSIAN, NonPrivateEvent(dimensions=5)])
def test_an_event_survives_json_text_bit_for_bit(event):
    assert event_from_json(json.loads(json.dumps(event_to_json(event)))) == event


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"kind": "laplace", "dimensions": 1},
        {"kind": "non_private"},
        {"kind": "non_private", "dimensions": 1, "sigma": 2.0},
        {"kind": "non_private", "dimensions": True},
        {"kind": "non_private", "dimensions": 1.5},
        {**event_to_json(GAUSSIAN), "sampling": 0.1},
        {**event_to_json(GAUSSIAN), "noise_multiplier": "3.7"},
    ],
)
def test_an_event_that_is_not_understood_whole_is_refused(value):
    with pytest.raises(EventUnknown):
        event_from_json(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("noise_multiplier", bad) for bad in (0.0, -1.0, math.nan, math.inf, 1e-320, 1e10)],
        *[("sigma", bad) for bad in (0.0, -1.0, math.nan, math.inf, 2.0**63)],
        *[(name, bad) for name in ("shares", "dimensions") for bad in (0, -1, 2**40)],
    ],
)
def test_an_event_that_cannot_be_priced_cannot_be_made(field, value):
    fields = {**event_to_json(GAUSSIAN), field: value}
    with pytest.raises(EpsilonInvalid):
        event_from_json(fields)
