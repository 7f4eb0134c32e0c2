"""What a training's requests may hold is looked at before anything is computed from it."""

import math

import pytest

from fedmkt.core.errors import MessageInvalid
from fedmkt.wire.canonical import encode
from fedmkt.wire.training import MaskRequest

ASKED = MaskRequest(sum_index=0, intercept=-1.5, effects=b"")


@pytest.mark.parametrize("wild", [math.inf, -math.inf, math.nan])
def test_a_model_whose_intercept_is_not_finite_is_no_request(wild: float) -> None:
    assert MaskRequest.from_bytes(ASKED.to_bytes()) == ASKED
    with pytest.raises(MessageInvalid, match="field intercept"):
        MaskRequest.from_bytes(encode(ASKED.model_dump() | {"intercept": wild}))
