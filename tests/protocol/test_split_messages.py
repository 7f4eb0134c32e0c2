"""Activations and gradients on their way: what opens, where, and what is refused."""

import numpy as np
import pytest

from fedmkt.contract.split_job import SplitJob, SplitPrivacy, SplitSettings
from fedmkt.contract.vertical_jobs import Party
from fedmkt.core.errors import MessageInvalid, SealBroken
from fedmkt.identity.keys import Identity
from fedmkt.node.shared_state import SharedState
from fedmkt.node.split_data import most_shown, opened_numbers, sealed_numbers
from fedmkt.security.run_keys import open_keys, read_bundles

MEMBERS = ("bank", "retailer", "map_provider")
ROWS, PADDED, STEP = 5, 9, "activations/1"
SETTINGS = SplitSettings(activations=3)
SHOWN = np.random.default_rng(1).uniform(-1, 1, (ROWS, 3)).astype(np.float32)
BOUND = most_shown(SETTINGS.activation_bound, 0.0)


def states() -> dict[str, SharedState]:
    """Return all members' states of one run."""
    identities = {member: Identity.generate() for member in MEMBERS}
    directory = {member: identity.public for member, identity in identities.items()}
    made = {
        member: open_keys(identity, run="run", contract="c" * 64, member=member, facts={})
        for member, identity in identities.items()
    }
    bundles = {member: bundle for member, (_, bundle) in made.items()}
    job = SplitJob(
        name="split",
        requester="bank",
        purpose="prospecting",
        parties=tuple(
            Party(member=one, dataset=f"{one}-customers", features=("age",)) for one in MEMBERS
        ),
        alignment="aligned",
        owner="bank",
        target="buys",
        model=SETTINGS,
        labels=SplitPrivacy(mode="split_shared_labels"),
    )
    return {
        member: SharedState(
            job,
            read_bundles(keys, bundles, contract="c" * 64, roster=MEMBERS, directory=directory),
        )
        for member, (keys, _) in made.items()
    }


STATES = states()


def sealed(values: np.ndarray = SHOWN, *, step: str = STEP) -> bytes:
    return sealed_numbers(STATES["retailer"], "bank", step, values, padded=PADDED)


def opened(
    data: bytes, *, at: str = "bank", sender: str = "retailer", rows: int = ROWS
) -> np.ndarray:
    return opened_numbers(STATES[at], sender, STEP, data, rows=rows, most=BOUND)


def test_numbers_come_through_to_the_last_bit() -> None:
    np.testing.assert_array_equal(opened(sealed()), SHOWN)


def test_messages_for_fewer_customers_are_as_long() -> None:
    assert len(sealed(SHOWN[:2])) == len(sealed())


@pytest.mark.parametrize(("at", "sender"), [("bank", "map_provider"), ("map_provider", "retailer")])
def test_another_partners_numbers_do_not_open(at: str, sender: str) -> None:
    with pytest.raises(SealBroken):
        opened(sealed(), at=at, sender=sender)


def test_numbers_of_another_round_do_not_open() -> None:
    with pytest.raises(SealBroken):
        opened(sealed(step="activations/0"))


def test_every_altered_byte_is_found() -> None:
    data = sealed()
    for place in range(0, len(data), 7):
        altered = bytearray(data)
        altered[place] ^= 1
        with pytest.raises(SealBroken):
            opened(bytes(altered))


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS + 1, 0])
def test_numbers_of_more_or_fewer_customers_are_refused(rows: int) -> None:
    with pytest.raises(MessageInvalid, match="each customer"):
        opened(sealed(), rows=rows)


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf, 4.1, -1e30])
def test_a_number_that_is_none_or_over_the_bound_is_refused(wild: float) -> None:
    values = SHOWN.copy()
    values[3, 1] = wild
    with pytest.raises(MessageInvalid, match="bound"):
        opened(sealed(values))


def test_honest_noise_is_within_what_is_taken() -> None:
    noisy = most_shown(4.0, 1.0)
    # A normal draw passes so many deviations with probability below 2^-180.
    assert noisy - 4.0 >= 16.0
