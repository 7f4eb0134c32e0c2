"""A receipt says that noise was there where every priced release was made with it."""

import pytest

from fedmkt.node.closing import EXACT, _noised
from fedmkt.privacy.events import Event, NonPrivateEvent
from fedmkt.privacy.mechanisms import noise_event

PRICED = noise_event(l2_bound=1.0, noise_multiplier=1.0, shares=1, dimensions=1)
OPEN = NonPrivateEvent(dimensions=1)
NOISED, PLAIN = "Examples PrivateUpdate MaskedUpdate", "Examples NoiselessUpdate MaskedUpdate"


@pytest.mark.parametrize(
    ("spent", "stages", "noised"),
    [
        ([PRICED, PRICED], [NOISED, NOISED], True),
        ([PRICED, PRICED], [NOISED, PLAIN], False),
        ([PRICED], [f"Activations {EXACT}"], True),
        ([PRICED], [], True),
        ([OPEN], [], False),
        ([PRICED, OPEN], [NOISED], False),
        ([], [], False),
    ],
)
def test_noise_is_claimed_where_all_that_was_priced_was_made_with_it(
    spent: list[Event], stages: list[str], noised: bool
) -> None:
    assert _noised(spent, stages) == noised
