"""A coordinator in a test's hands: it opens runs over shared customers and relays what it likes."""

from collections.abc import Mapping
from typing import TypeVar

from fedmkt.contract.job import AnyJob
from fedmkt.contract.order import sign_order
from fedmkt.contract.vertical_jobs import SharedJob, VerticalJob
from fedmkt.coordinator.vertical import added
from fedmkt.core.errors import FedmktError
from fedmkt.identity.sealed import open_sealed
from fedmkt.identity.signed_message import open_message, sign_message
from fedmkt.node.app import node_at
from fedmkt.node.node import Node
from fedmkt.node.programs import opened_state
from fedmkt.node.shared_state import SharedState
from fedmkt.privacy.events import Event
from fedmkt.simulation.world import World
from fedmkt.storage.contract_files import read_contract
from fedmkt.storage.key_file import read_key
from fedmkt.storage.ledger_store import Entry
from fedmkt.wire.envelope import Envelope
from fedmkt.wire.run import (
    Body,
    CloseReply,
    CloseRequest,
    OpenReply,
    OpenRequest,
    Refused,
    is_refusal,
)
from fedmkt.wire.shared import (
    DoneReply,
    NoisedReply,
    NoisedRequest,
    ProductsRequest,
    ResidualsReply,
    ResidualsRequest,
    ResultRequest,
    ScoresReply,
    ScoresRequest,
    SealedReply,
)

BodyT = TypeVar("BodyT", bound=Body)


class Relay:
    """Holds the coordinator's key. Nodes are called directly, without a network."""

    def __init__(self, world: World, run: str = "run-1") -> None:
        self.world, self.run = world, run
        self.contract = read_contract(world.coordinator)
        self.identity = read_key(world.coordinator / "identity.key")
        self.heads: dict[str, tuple[str, bytes]] = {}
        self.bundles: dict[str, bytes] = {}

    def node(self, member: str) -> Node:
        """Return a member's node."""
        return node_at(self.world.node(member))

    def raw(self, member: str, step: str, body: Body) -> Envelope:
        """Send a request; return the reply's envelope. Raises: what the node raises."""
        envelope = Envelope(
            self.contract.hash, self.run, step, "coordinator", member, body.to_bytes()
        )
        data = self.node(member).handle(sign_message(envelope, self.identity))
        home = self.node(member).home
        reply = open_message(
            data, directory=home.directory, receiver="coordinator", contract=self.contract.hash
        )
        self.heads[member] = (reply.head, reply.head_signature)
        return reply

    def ask(self, member: str, step: str, body: Body, reply: type[BodyT]) -> BodyT:
        """Send a request; return the reply's body."""
        return reply.from_bytes(self.raw(member, step, body).body)

    def open(
        self, job: SharedJob, members: tuple[str, ...] | None = None, *, lost: tuple[str, ...] = ()
    ) -> dict[str, bytes]:
        """Open a run at its members; return the key bundles."""
        requester = read_key(self.world.node(job.requester) / "identity.key")
        base = self.run.partition(" without ")[0]
        order = sign_order(self.contract, base, _any(job), requester)
        request = OpenRequest(job=job.signed_bytes(), order_signature=order.signature, lost=lost)
        self.bundles = {
            member: self.ask(member, "open", request, OpenReply).bundle
            for member in members or job.members
        }
        return self.bundles

    def failure(self, member: str, step: str, body: Body) -> str:
        """Send a request that breaks the protocol; return the code of what the node raises."""
        try:
            self.raw(member, step, body)
        except FedmktError as error:
            return error.code
        raise AssertionError(f"{member} answered {step}")

    def refusal(self, member: str, step: str, body: Body) -> str:
        """Send a request that is refused; return the rule's code."""
        reply = self.raw(member, step, body)
        assert is_refusal(reply.body)
        return Refused.from_bytes(reply.body).code

    def close(self, members: tuple[str, ...], *, finished: bool) -> dict[str, bytes]:
        """Close the run; return the receipts."""
        outcome = "finished" if finished else "abandoned"
        request = CloseRequest(outcome=outcome, model=b"", heads=dict(self.heads))
        return {
            member: self.ask(member, "close", request, CloseReply).receipt for member in members
        }

    def state(self, member: str) -> SharedState:
        """Return what a member's node remembers of the run: what an insider of it would know."""
        home = self.node(member).home
        with home.store.transaction() as tx:
            sealed = home.runs.load(tx, self.run)
        assert sealed
        key = home.identity.derive_key("run state")
        data = open_sealed(key, sealed, context=self.run.encode(), what="run state")
        state = opened_state(data).state
        assert isinstance(state, SharedState)
        return state

    def entries(self, member: str) -> tuple[Entry, ...]:
        """Return a member's ledger entries of the run."""
        home = self.node(member).home
        with home.store.transaction() as tx:
            return home.ledger.entries(tx, self.run)

    def states(self, member: str) -> list[str]:
        """Return the states of a member's ledger entries of the run."""
        return [entry.state for entry in self.entries(member)]

    def spent(self, member: str) -> list[Event]:
        """Return the events a member's ledger counts as spent."""
        return [entry.event for entry in self.entries(member) if entry.state == "spent"]


class Rounds(Relay):
    """A coordinator that goes through a training step by step."""

    def __init__(self, world: World, job: VerticalJob, run: str = "run-1") -> None:
        super().__init__(world, run)
        self.job = job

    def begin(self) -> "Rounds":
        """Open the run at all members."""
        self.open(self.job)
        return self

    def first(self, index: int) -> dict[str, bytes]:
        """Return the bundles that go with the first round's requests."""
        return self.bundles if index == 0 else {}

    def residuals_request(self, index: int, total: bytes = b"") -> ResidualsRequest:
        """Return what asks the owner for a round's residuals."""
        return ResidualsRequest(index=index, bundles=self.first(index), total=total)

    def products_request(self, index: int, told: ResidualsReply, partner: str) -> ProductsRequest:
        """Return what asks a partner for its products."""
        return ProductsRequest(
            index=index,
            bundles=self.first(index),
            residuals=told.residuals,
            key=told.keys[partner],
        )

    def residuals(self, index: int, total: bytes = b"") -> ResidualsReply:
        """Ask the owner for a round's residuals."""
        asked = self.residuals_request(index, total)
        return self.ask(self.job.owner, f"residuals/{index}", asked, ResidualsReply)

    def products(self, index: int, told: ResidualsReply) -> dict[str, bytes]:
        """Ask the partners for products; return what each sealed."""
        return {
            partner: self.ask(
                partner,
                f"products/{index}",
                self.products_request(index, told, partner),
                SealedReply,
            ).sealed
            for partner in self.job.partners
        }

    def noised(self, index: int, sealed: dict[str, bytes]) -> dict[str, bytes]:
        """Ask the owner for the noised products of each partner."""
        asked = NoisedRequest(index=index, sealed=sealed)
        return self.ask(self.job.owner, f"noised/{index}", asked, NoisedReply).sealed

    def scores(self, index: int, noised: dict[str, bytes]) -> dict[str, bytes]:
        """Ask the partners for their masked scores."""
        return {
            partner: self.ask(
                partner,
                f"scores/{index}",
                ScoresRequest(index=index, sealed=noised[partner]),
                ScoresReply,
            ).masked
            for partner in self.job.partners
        }

    def until_noised(self, index: int, total: bytes = b"") -> dict[str, bytes]:
        """Go through a round up to the noised products."""
        return self.noised(index, self.products(index, self.residuals(index, total)))

    def round(self, index: int, total: bytes = b"") -> bytes:
        """Go through a whole round; return the masked total."""
        return added(list(self.scores(index, self.until_noised(index, total)).values()))

    def finish(self, total: bytes) -> dict[str, bytes]:
        """Hand the owner the last total and close; return the receipts."""
        self.ask(self.job.owner, "result", ResultRequest(total=total), DoneReply)
        return self.close(self.job.members, finished=True)


def _any(job: SharedJob) -> AnyJob:
    return job  # type: ignore[return-value]


def parts_for(replies: Mapping[str, Mapping[str, bytes]], member: str) -> dict[str, bytes]:
    """Return what each sender sealed for `member`."""
    return {sender: sealed[member] for sender, sealed in replies.items() if member in sealed}
