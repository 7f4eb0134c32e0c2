"""A receipt says that noise was in what a run spent only where it was, made or not."""

from collections.abc import Sequence

import pytest

from fedmkt.node.closing import EXACT, _noised
from fedmkt.privacy.events import Event, NonPrivateEvent, RandomisedResponseEvent
from fedmkt.privacy.mechanisms import noise_event

NOISE = noise_event(l2_bound=1.0, noise_multiplier=1.0, shares=1, dimensions=1)
LABELS = RandomisedResponseEvent(epsilon=1.0)
NONE = NonPrivateEvent(dimensions=1)
MADE, PLAIN = "Examples PrivateUpdate MaskedUpdate", "Examples NoiselessUpdate MaskedUpdate"


@pytest.mark.parametrize(
    ("spent", "stages", "noised"),
    [
        ([], [], False),
        ([NOISE], [], True),
        ([LABELS], [], True),
        ([NONE], [], False),
        ([NOISE, NONE], [], False),
        ([NOISE, NOISE], [MADE], True),
        ([NOISE, NOISE], [MADE, PLAIN], False),
        ([NOISE, NONE], [MADE], False),
        ([NONE, NONE], [PLAIN], False),
        ([LABELS], ["RandomisedLabels ShownGradients", f"{EXACT} ShownActivations"], True),
        ([NONE], ["ShownGradients"], False),
    ],
)
def test_all_that_was_spent_carries_noise_or_the_receipt_does_not_say_so(
    spent: Sequence[Event], stages: Sequence[str], noised: bool
) -> None:
    assert _noised(spent, stages) == noised
