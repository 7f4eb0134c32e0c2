"""The node's side of an overlap job: how many customers two members share, and nothing more.

Guarantee: the first party sees two shuffled lists of blinded points, so it learns one number, which
carries the other member's noise; the other member and the coordinator see that number with both
members' noise. Nobody learns which customers are shared.
Not guaranteed: that a member brings its own customers only; runs are capped for that.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fedmkt.contract.vertical_jobs import OverlapJob
from fedmkt.core.errors import StepOutOfOrder
from fedmkt.data.identifiers import Customers, identifier_bytes
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.answer import Answer, Priced
from fedmkt.node.customers import (
    covered_customers,
    opened_list,
    reading_of,
    still_covered,
    unchanged,
)
from fedmkt.node.home import NodeHome
from fedmkt.node.shared_state import SharedProgram, SharedState, begin, opened, price_shared
from fedmkt.privacy.events import Release
from fedmkt.security.psi import lists, size_noise
from fedmkt.security.psi.group import BlindingKey
from fedmkt.security.psi.linking import link
from fedmkt.wire.shared import BlindRequest, CountReply, CountRequest, HopRequest, ListReply
from fedmkt.wire.steps import Request

SIZE, OVERLAP = 0, 1
_NOISED = "PrivateUpdate BlindedList"


@dataclass(frozen=True, slots=True)
class OverlapProgram(SharedProgram[OverlapJob, Priced, Customers]):
    """Counts the customers two members share."""

    def price(self, home: NodeHome, job: OverlapJob) -> Priced:
        """Check and price a job."""
        event = size_noise.count_event(job.privacy.noise_multiplier)
        releases = (
            Release(SIZE, "size of this member's set", event),
            Release(OVERLAP, "size of the overlap", event),
        )
        privacy = job.privacy
        return price_shared(
            home,
            job,
            releases,
            claimed=privacy.epsilon,
            delta=privacy.delta,
        )

    def load(self, home: NodeHome, priced: Priced) -> Customers:
        """Read the customers consent covers, each once."""
        job = priced.job
        assert isinstance(job, OverlapJob)
        return covered_customers(home, priced, (job.key,))

    def recheck(self, home: NodeHome, priced: Priced, loaded: Customers) -> None:
        """Check that everybody who was read still agrees. Raises: ConsentWithdrawn, DataError."""
        still_covered(home, priced, loaded)

    def open(self, home: NodeHome, run: str, priced: Priced, loaded: Customers) -> Answer:
        """Make this run's keys and state the size of this member's list."""
        job = priced.job
        assert isinstance(job, OverlapJob)
        multiplier = job.privacy.noise_multiplier
        padding = size_noise.dummies(
            noise_multiplier=multiplier, source=home.noise.stream(f"{run}/size/{home.member}")
        )
        shift = size_noise.shift_for(multiplier)
        rows = size_noise.overlap_rows(len(loaded.customer_keys), shift=shift, padding=padding)
        state, bundle = begin(home, run, job, {"rows": rows})
        state = state.remembering(
            key=BlindingKey.generate().to_bytes(), rows=rows, read=reading_of(loaded)
        )
        passed = state.passed(_NOISED)
        return opened(bundle, passed, priced.dataset.name, {"rows": rows}, commits=1)

    def step(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[Priced, Customers]],
    ) -> Answer:
        """Answer one request."""
        match request:
            case BlindRequest():
                return _blind(home, state, request, unchanged(state, *data()))
            case HopRequest():
                return _hop(state, request)
            case CountRequest():
                return _count(state, request, data()[0])
        raise StepOutOfOrder(step=request.kind, run=state.run)


def _job(state: SharedState) -> OverlapJob:
    assert isinstance(state.job, OverlapJob)
    return state.job


def _other(state: SharedState) -> str:
    return next(member for member in state.job.members if member != state.keys.member)


def _blind(
    home: NodeHome, state: SharedState, request: BlindRequest, customers: Customers
) -> Answer:
    """Blind this member's list, shared dummies included, and seal it to the other member."""
    state = state.knowing(home, request.bundles)
    other = _other(state)
    multiplier, secret = (
        _job(state).privacy.noise_multiplier,
        state.keys.pair_secret(other, "overlap pool"),
    )
    shift = size_noise.shift_for(multiplier)
    values = size_noise.overlap_list(
        [value for value in identifier_bytes(customers)[0] if value is not None],
        own_pool=size_noise.pool_values(secret, owner=home.member, shift=shift),
        own_kept=size_noise.dummies(
            noise_multiplier=multiplier,
            source=home.noise.stream(f"{state.run}/overlap/{home.member}"),
        ),
        other_pool=size_noise.pool_values(secret, owner=other, shift=shift),
    )
    tags, _ = lists.own_list(
        [values],
        padded_rows=state.memory["rows"],
        domain=f"fedmkt/v1/overlap/{state.run}".encode(),
        key=BlindingKey.from_bytes(state.memory["key"]),
    )
    sealed = state.keys.seal_to(other, "list", lists.tags_to_bytes(tags))
    facts: dict[str, JSON] = {"members": sorted(request.bundles)}
    return Answer(
        ListReply(sealed={other: sealed}),
        state.passed(_NOISED),
        "released",
        facts,
        commits=(OVERLAP,),
    )


def _hop(state: SharedState, request: HopRequest) -> Answer:
    """Blind and shuffle the other member's list, and seal it to the first party."""
    if request.index != 1:
        raise StepOutOfOrder(step=f"hop/{request.index}", run=state.run)
    other, counter = _other(state), state.job.members[0]
    tags = opened_list(state, other, other, "list", request.sealed, columns=1)
    key = BlindingKey.from_bytes(state.memory["key"])
    # Privacy: in a new order, so that nobody can follow a shared customer back to a row.
    passed = lists.shuffled(lists.pass_on(tags, key, member=other))
    sealed = state.keys.seal_to(counter, f"passed {other}", lists.tags_to_bytes(passed))
    state = state.remembering(key=b"")
    facts: dict[str, JSON] = {"hop": 1, "list": other, "rows": int(tags.shape[1])}
    return Answer(ListReply(sealed={counter: sealed}), state, "answered", facts)


def _count(state: SharedState, request: CountRequest, priced: Priced) -> Answer:
    """Count what both lists hold; tell the number with its noise, if it reaches the minimum."""
    members = state.job.members
    if state.keys.member != members[0] or set(request.sealed) != set(members):
        raise StepOutOfOrder(step="count", run=state.run)
    counter, other = members
    tags = {
        counter: opened_list(
            state, counter, other, f"passed {counter}", request.sealed[counter], columns=1
        ),
        other: opened_list(
            state, other, counter, f"passed {other}", request.sealed[other], columns=1
        ),
    }
    links = link(tags)
    shift = size_noise.shift_for(_job(state).privacy.noise_multiplier)
    overlap = max(0, size_noise.noised_overlap(links.count, shift=shift))
    told = overlap if overlap >= priced.dataset.minimum_overlap else None
    return Answer(CountReply(overlap=told), state, "answered", {"overlap": told})
