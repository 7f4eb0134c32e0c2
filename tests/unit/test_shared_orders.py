"""Orders of jobs over shared customers: what the signature covers, and which restarts it allows."""

from dataclasses import dataclass
from itertools import combinations

import pytest

from fedmkt.contract.collaboration import Collaboration
from fedmkt.contract.job import AnyJob
from fedmkt.contract.order import (
    Order,
    job_as_run,
    may_restart,
    order_of,
    run_without,
    sign_order,
    verify_order,
)
from fedmkt.contract.vertical_jobs import LabelPrivacy, Party, ScoringJob, VerticalJob
from fedmkt.coordinator.app import lost_partners
from fedmkt.core.errors import (
    MessageInvalid,
    NodeFailed,
    QuorumLost,
    SignatureInvalid,
)
from fedmkt.identity.keys import Identity
from fedmkt.identity.signed_message import Directory

OWNER, PARTNERS = "bank", ("retailer", "map_provider", "weather_service")
CONTRACT = "a" * 64


@dataclass
class Signed:
    """A contract's stand-in: orders are signed under its hash alone."""

    hash: str = CONTRACT


def job(partners: tuple[str, ...] = PARTNERS, *, restart: bool = True) -> VerticalJob:
    return VerticalJob(
        name="training",
        requester=OWNER,
        purpose="prospecting",
        parties=tuple(
            Party(member=member, dataset=f"{member}-customers", features=("age",))
            for member in (OWNER, *partners)
        ),
        alignment="aligned",
        owner=OWNER,
        target="buys",
        restart=restart,
        labels=LabelPrivacy(mode="encrypted_without_noise"),
    )


def scoring() -> ScoringJob:
    return ScoringJob(
        name="scoring",
        requester=OWNER,
        purpose="prospecting",
        parties=tuple(Party(member=one, dataset=f"{one}-customers") for one in (OWNER, *PARTNERS)),
        alignment="aligned",
        owner=OWNER,
        model="trained",
    )


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.generate()


@pytest.fixture(scope="module")
def directory(identity: Identity) -> Directory:
    return {OWNER: identity.public, "retailer": Identity.generate().public}


def signed(
    asked: AnyJob, identity: Identity, run: str = "run-1", contract: str = CONTRACT
) -> Order:
    stand_in: Collaboration = Signed(contract)  # type: ignore[assignment]
    return sign_order(stand_in, run, asked, identity)


# --- the signature ----------------------------------------------------------------------------


def test_an_order_holds_for_its_run_job_and_contract(
    identity: Identity, directory: Directory
) -> None:
    order = signed(job(), identity)
    verify_order(CONTRACT, order, directory)
    forged = {
        "another run": order.model_copy(update={"run": "run-2"}),
        "another job": order.model_copy(update={"job": job(PARTNERS[:2])}),
        "a restart that was not asked for": order.model_copy(
            update={"job": job(), "run": run_without("run-1", PARTNERS[:1])}
        ),
    }
    for changed in forged.values():
        with pytest.raises(SignatureInvalid):
            verify_order(CONTRACT, changed, directory)
    with pytest.raises(SignatureInvalid):
        verify_order("b" * 64, order, directory)


def test_an_order_that_allows_a_restart_is_another_than_one_that_does_not(
    identity: Identity, directory: Directory
) -> None:
    order = signed(job(restart=False), identity)
    with pytest.raises(SignatureInvalid):
        verify_order(CONTRACT, order.model_copy(update={"job": job(restart=True)}), directory)


def test_a_requester_the_contract_does_not_know_signs_nothing(directory: Directory) -> None:
    stranger = Identity.generate()
    asked = job().model_copy(update={"requester": "stranger"})
    with pytest.raises(SignatureInvalid):
        verify_order(CONTRACT, signed(asked, stranger), directory)
    with pytest.raises(SignatureInvalid):
        verify_order(CONTRACT, signed(job(), stranger), directory)


# --- restarts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [(), ("retailer",), ("weather_service",)])
def test_a_restart_carries_the_first_order_in_its_name(
    identity: Identity, directory: Directory, lost: tuple[str, ...]
) -> None:
    order = signed(job(), identity)
    run = run_without("run-1", lost)
    found = order_of(run, job(), order.signature, lost)
    assert found == order
    verify_order(CONTRACT, found, directory)
    assert (run == "run-1") == (not lost)


def test_every_set_of_lost_members_has_a_run_of_its_own() -> None:
    sets = [lost for size in (0, 1, 2) for lost in combinations(sorted(PARTNERS), size)]
    assert len({run_without("run-1", lost) for lost in sets}) == len(sets)


def test_a_run_whose_name_does_not_tell_who_was_lost_is_refused(identity: Identity) -> None:
    order = signed(job(), identity)
    for run, lost in (
        ("run-1", ("retailer",)),
        (run_without("run-1", ("map_provider",)), ("retailer",)),
        (run_without("run-1", ("retailer",)), ("map_provider",)),
    ):
        with pytest.raises(MessageInvalid):
            order_of(run, job(), order.signature, lost)


def test_a_restart_named_without_saying_who_was_lost_is_another_order(
    identity: Identity, directory: Directory
) -> None:
    order = signed(job(), identity)
    found = order_of(run_without("run-1", ("retailer",)), job(), order.signature, ())
    with pytest.raises(SignatureInvalid):
        verify_order(CONTRACT, found, directory)


@pytest.mark.parametrize(
    ("asked", "lost", "allowed"),
    [
        (job(), ("retailer",), True),
        (job(restart=False), ("retailer",), False),  # the order does not say so
        (job(), ("map_provider", "retailer"), False),  # one partner's scores would be seen
        (job(PARTNERS[:2]), ("retailer",), False),
        (job(), (OWNER,), False),  # nobody else has the labels
        (job(), (OWNER, "retailer"), False),
        (job(), ("stranger",), False),
        (job(), ("retailer", "retailer"), False),
        (scoring(), ("retailer",), False),  # its total needs every part of the model
        (job((*PARTNERS, "car_maker")), ("map_provider", "retailer"), True),
        (job((*PARTNERS, "car_maker")), ("retailer", "map_provider"), False),  # one order of names
    ],
)
def test_a_restart_is_allowed_by_the_order_alone_down_to_two_partners(
    asked: AnyJob, lost: tuple[str, ...], allowed: bool
) -> None:
    assert may_restart(asked, lost) == allowed
    if not allowed:
        with pytest.raises(MessageInvalid):
            order_of(run_without("run-1", lost), asked, "0" * 128, lost)


def test_a_restart_leaves_out_the_lost_and_changes_nothing_else() -> None:
    left = job_as_run(job(), ("retailer",))
    assert isinstance(left, VerticalJob)
    assert left.members == (OWNER, "map_provider", "weather_service")
    assert left.model_copy(update={"parties": job().parties}) == job()
    assert job_as_run(job(), ()) == job()


# --- which failures lose a partner ------------------------------------------------------------


def quorum_lost(*missing: str, step: str = "scores/1") -> QuorumLost:
    return QuorumLost(
        step=step, answered=1, needed=3, deadline_s=1.0, missing=", ".join(sorted(missing))
    )


def failed(member: str, error: str = "internal_error", step: str = "scores/1") -> NodeFailed:
    return NodeFailed(member=member, step=step, error=error)


@pytest.mark.parametrize(
    ("failure", "lost"),
    [
        (quorum_lost("retailer"), ("retailer",)),
        (failed("retailer"), ("retailer",)),
        (quorum_lost("retailer", "map_provider"), ()),
        (quorum_lost(OWNER), ()),
        (failed("a member", step="open"), ()),
        # The run is finished but for receipts; it is resumed, not paid for again.
        (quorum_lost("retailer", step="close"), ()),
        # Who found the owner cheating must not be the one that is left out.
        (failed("retailer", "totals_implausible"), ()),
        (failed("retailer", "seal_broken"), ()),
        # Its store was put back: it cannot go on in this run, but the others can.
        (failed("retailer", "run_not_open"), ("retailer",)),
    ],
)
def test_a_partner_is_lost_by_not_answering_and_not_by_finding_a_fault(
    failure: QuorumLost | NodeFailed, lost: tuple[str, ...]
) -> None:
    assert lost_partners(job(), failure, ()) == lost
    assert lost_partners(job(restart=False), failure, ()) == ()


def test_a_second_loss_counts_the_first() -> None:
    assert lost_partners(job(), failed("retailer"), ("map_provider",)) == ()
    four = job((*PARTNERS, "car_maker"))
    assert lost_partners(four, failed("retailer"), ("map_provider",)) == ("retailer",)
