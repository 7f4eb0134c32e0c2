"""What a coordinator, or somebody with its key, cannot make a node do."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.small_world import DATASET, ROWS_EACH, Trial, small_job, small_world

from fedmkt.contract.job import Job
from fedmkt.contract.order import Order, sign_order
from fedmkt.core.clock import ManualClock
from fedmkt.core.errors import (
    AuditCut,
    FedmktError,
    FileMissing,
    MessageInvalid,
    OutputUnwritable,
    RangeExceeded,
    RequestConflict,
    RunNotOpen,
    SchemaVersionDiffers,
    SignatureInvalid,
    StepOutOfOrder,
)
from fedmkt.horizontal import local_update
from fedmkt.identity.signed_message import open_message, sign_head, sign_message
from fedmkt.node import training
from fedmkt.node.app import forget_nodes, node_at
from fedmkt.node.dry_run import dry_run
from fedmkt.node.home import open_home
from fedmkt.node.leaving import opened_run, sealed_state
from fedmkt.node.node import Node
from fedmkt.node.training import HorizontalTraining
from fedmkt.simulation.world import World
from fedmkt.storage.contract_files import read_contract
from fedmkt.storage.key_file import read_key
from fedmkt.wire.canonical import decode, encode
from fedmkt.wire.envelope import EVERYBODY, SCHEMA_VERSION, Envelope, parse_envelope
from fedmkt.wire.run import (
    Body,
    CloseRequest,
    OpenReply,
    OpenRequest,
    Refused,
    is_refusal,
)
from fedmkt.wire.training import MaskRequest, SharesReply, SharesRequest


class Coordinator:
    """Holds the coordinator's key and sends what it likes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.contract = read_contract(world.coordinator)
        self.identity = read_key(world.coordinator / "identity.key")

    def envelope(self, member: str, step: str, body: Body, run: str = "run-1") -> Envelope:
        return Envelope(self.contract.hash, run, step, "coordinator", member, body.to_bytes())

    def send(self, member: str, step: str, body: Body, run: str = "run-1") -> Envelope:
        data = sign_message(self.envelope(member, step, body, run), self.identity)
        home = self.node(member).home
        return open_message(
            self.node(member).handle(data),
            directory=home.directory,
            receiver="coordinator",
            contract=self.contract.hash,
        )

    def node(self, member: str) -> Node:
        return node_at(self.world.node(member))

    def order(self, job: Job, run: str = "run-1", signer: str | None = None) -> Order:
        key = read_key(self.world.node(signer or job.requester) / "identity.key")
        return sign_order(self.contract, run, job, key)

    def open(self, job: Job, order: Order, run: str = "run-1") -> dict[str, bytes]:
        request = OpenRequest(job=job.signed_bytes(), order_signature=order.signature)
        replies = {m: self.send(m, "open", request, run) for m in self.world.members}
        return {m: OpenReply.from_bytes(one.body).bundle for m, one in replies.items()}

    def until_masks(self) -> dict[str, dict[str, bytes]]:
        """Open a run and relay the shares; return each member's inbox."""
        job = small_job(self.world)
        bundles = self.open(job, self.order(job))
        replies = {
            m: SharesReply.from_bytes(self.send(m, "shares", SharesRequest(bundles=bundles)).body)
            for m in self.world.members
        }
        return {
            m: {sender: one.sealed[m] for sender, one in replies.items() if sender != m}
            for m in self.world.members
        }

    def mask(
        self, member: str, inbox: dict[str, bytes], *, index: int = 0, intercept: float = 0.0
    ) -> Envelope:
        effects = np.zeros(small_world_bins(self.world)).tobytes()
        request = MaskRequest(sum_index=index, intercept=intercept, effects=effects, inbox=inbox)
        return self.send(member, f"mask/{index}", request)


def small_world_bins(world: World) -> int:
    from fedmkt.horizontal.survey import public_binning

    table = read_contract(world.coordinator).dataset(DATASET)
    assert table is not None
    return public_binning(small_job(world), table.table).total


@pytest.fixture
def coordinator(tmp_path: Path):
    world = small_world(tmp_path)
    yield Coordinator(world)
    world.close()


def spent(coordinator: Coordinator, member: str) -> list[str]:
    home = coordinator.node(member).home
    with home.store.transaction() as tx:
        return [entry.state for entry in home.ledger.entries(tx)]


def test_a_job_its_requester_did_not_sign_costs_nothing(coordinator: Coordinator) -> None:
    world = coordinator.world
    job = small_job(world)
    order = coordinator.order(job, signer=world.members[1])
    with pytest.raises(SignatureInvalid):
        coordinator.open(job, order)
    assert spent(coordinator, world.members[0]) == []


def test_an_order_is_good_for_one_run_and_one_job(coordinator: Coordinator) -> None:
    job = small_job(coordinator.world)
    order = coordinator.order(job)
    coordinator.open(job, order)
    with pytest.raises(SignatureInvalid):
        coordinator.open(job, order, run="run-2")
    with pytest.raises(SignatureInvalid):
        coordinator.open(small_job(coordinator.world, name="other"), order, run="run-3")


def test_a_job_that_costs_more_than_it_states_is_refused(coordinator: Coordinator) -> None:
    job = small_job(coordinator.world)
    privacy = job.privacy.model_copy(update={"epsilon": 3.9})
    cheap = job.model_copy(update={"privacy": privacy})
    order = coordinator.order(cheap)
    request = OpenRequest(job=cheap.signed_bytes(), order_signature=order.signature)
    reply = coordinator.send(coordinator.world.members[0], "open", request)
    assert is_refusal(reply.body)
    assert Refused.from_bytes(reply.body).code == "claimed_epsilon_wrong"


def test_a_second_model_under_the_same_mask_is_refused(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]
    first = coordinator.mask(member, inbox)
    assert coordinator.mask(member, inbox) == first  # the same request: the same bytes
    with pytest.raises(RequestConflict):
        coordinator.mask(member, inbox, intercept=0.5)
    assert spent(coordinator, member).count("spent") == 1


def test_of_two_processes_of_one_node_that_answer_at_once_one_alone_does(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]
    effects = np.zeros(small_world_bins(coordinator.world)).tobytes()
    asked = {
        index: signed(
            coordinator,
            member,
            f"mask/{index}",
            MaskRequest(sum_index=index, intercept=0, effects=effects, inbox=inbox),
        )
        for index in (0, 1)
    }
    folder = coordinator.world.node(member)
    first, second = Node(open_home(folder)), Node(open_home(folder))
    step = HorizontalTraining.step

    def while_the_first_answers(*given: Any) -> Any:
        made = step(*given)
        monkeypatch.setattr(HorizontalTraining, "step", step)
        first.handle(asked[0])
        return made

    monkeypatch.setattr(HorizontalTraining, "step", while_the_first_answers)
    with pytest.raises(RequestConflict):
        second.handle(asked[1])
    assert spent(coordinator, member) == ["spent", "planned", "planned"]
    kept = opened_run(second.home, "run-1", sealed_state(second.home, "run-1"))
    assert kept.state.next_sum == 1, "the mask that was used stays used"
    first.close()
    second.close()


def test_a_run_that_opens_with_another_model_releases_nothing(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]
    with pytest.raises(MessageInvalid):
        coordinator.mask(member, inbox, intercept=0.5)
    assert spent(coordinator, member).count("spent") == 0


@pytest.mark.parametrize("error", [RangeExceeded(problem="a test"), ZeroDivisionError()])
def test_a_sum_that_could_not_be_made_is_spent_and_ends_the_run(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    # Free and repeatable, it would answer any question about customers bit by bit.
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(training, "_local_update", fails)
    with pytest.raises(type(error)):
        coordinator.mask(member, inbox, index=1)
    monkeypatch.undo()
    assert spent(coordinator, member) == ["planned", "spent", "planned"]
    for index, intercept in ((1, 0.0), (1, 0.5), (0, 0.0), (2, 0.0)):
        with pytest.raises((RunNotOpen, RequestConflict)):
            coordinator.mask(member, inbox, index=index, intercept=intercept)
    coordinator.send(member, "close", CloseRequest(outcome="abandoned", model=b"", heads={}))
    assert spent(coordinator, member) == ["returned", "spent", "returned"]


def test_a_table_that_is_away_or_a_disk_that_is_full_for_a_while_ends_no_run(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]
    table = coordinator.world.node(member) / "customers.parquet"
    forget_nodes([coordinator.world.node(member)])
    away = table.rename(table.with_name("elsewhere.parquet"))
    with pytest.raises(FileMissing):
        coordinator.mask(member, inbox)
    away.rename(table)

    def full(*_: object) -> None:
        raise OutputUnwritable(path="a scorecard", problem="the disk is full")

    monkeypatch.setattr(training, "keep_scorecard", full)
    with pytest.raises(OutputUnwritable):
        coordinator.mask(member, inbox)
    monkeypatch.undo()
    coordinator.mask(member, inbox)
    assert spent(coordinator, member) == ["spent", "planned", "planned"]


def test_a_table_too_large_is_refused_before_a_run_opens(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = coordinator.world.members[0]
    monkeypatch.setattr(local_update, "MOST_CUSTOMERS", ROWS_EACH - 1)
    with pytest.raises(RangeExceeded):
        coordinator.send(member, "open", open_request(coordinator))
    assert set(spent(coordinator, member)) == {"returned"}


def test_a_closed_run_releases_nothing_more(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]
    coordinator.send(member, "close", CloseRequest(outcome="abandoned", model=b"", heads={}))
    with pytest.raises(RunNotOpen):
        coordinator.mask(member, inbox)
    assert set(spent(coordinator, member)) == {"returned"}


def test_a_step_is_not_answered_under_another_name(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]
    bins = small_world_bins(coordinator.world)
    request = MaskRequest(sum_index=0, intercept=0, effects=np.zeros(bins).tobytes(), inbox=inbox)
    for step in ("mask/1", "mask/00", "mask", "unmask/0", "sum/0"):
        with pytest.raises(MessageInvalid):
            coordinator.send(member, step, request)


CHANGES: dict[str, Callable[[Envelope], Envelope]] = {
    "contract": lambda e: Envelope("0" * 64, e.run, e.step, e.sender, e.receiver, e.body),
    "run": lambda e: Envelope(e.contract, "run-9", e.step, e.sender, e.receiver, e.body),
    "step": lambda e: Envelope(e.contract, e.run, "shares", e.sender, e.receiver, e.body),
    "sender": lambda e: Envelope(e.contract, e.run, e.step, "member-1", e.receiver, e.body),
    "receiver": lambda e: Envelope(e.contract, e.run, e.step, e.sender, "member-2", e.body),
    "body": lambda e: Envelope(e.contract, e.run, e.step, e.sender, e.receiver, e.body + b"\0"),
    "head": lambda e: Envelope(e.contract, e.run, e.step, e.sender, e.receiver, e.body, "1:a"),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_message_altered_on_its_way_is_not_answered(coordinator: Coordinator, field: str) -> None:
    job = small_job(coordinator.world)
    request = OpenRequest(job=job.signed_bytes(), order_signature=coordinator.order(job).signature)
    member = coordinator.world.members[0]
    honest = coordinator.envelope(member, "open", request)
    signature = coordinator.identity.sign("message", honest.signed_bytes())
    altered = CHANGES[field](honest).signed_with(signature).to_bytes()
    with pytest.raises(FedmktError) as refused:
        coordinator.node(member).handle(altered)
    assert refused.value.code in ("message_invalid", "signature_invalid")
    assert spent(coordinator, member) == []


def test_a_member_cannot_speak_as_the_coordinator(coordinator: Coordinator) -> None:
    job = small_job(coordinator.world)
    request = OpenRequest(job=job.signed_bytes(), order_signature=coordinator.order(job).signature)
    first, second = coordinator.world.members[:2]
    envelope = Envelope(
        coordinator.contract.hash, "run-1", "open", second, first, request.to_bytes()
    )
    key = read_key(coordinator.world.node(second) / "identity.key")
    with pytest.raises(SignatureInvalid):
        coordinator.node(first).handle(sign_message(envelope, key))


def test_every_node_keeps_the_finished_model(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    outcome = Trial(world).run(small_job(world), "run-1")
    for member in world.members:
        kept = list((world.node(member) / "models").glob("*.json"))
        assert len(kept) == 1
        assert outcome.model.hash in (world.node(member) / "audit.log").read_text()
    world.close()


def test_a_run_opened_under_a_contract_that_ended_releases_nothing(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    coordinator = Coordinator(world)
    member = world.members[0]
    inbox = coordinator.until_masks()[member]
    home = coordinator.node(member).home
    late = ManualClock(coordinator.contract.expires + timedelta(seconds=1))
    late_node = Node(replace(home, clock=late))
    bins = small_world_bins(world)
    request = MaskRequest(sum_index=0, intercept=0, effects=np.zeros(bins).tobytes(), inbox=inbox)
    data = sign_message(coordinator.envelope(member, "mask/0", request), coordinator.identity)
    reply = parse_envelope(late_node.handle(data))
    assert Refused.from_bytes(reply.body).code == "contract_expired"
    assert spent(coordinator, member).count("spent") == 0
    world.close()


def test_two_records_under_one_number_are_a_fork(coordinator: Coordinator) -> None:
    first, second = coordinator.world.members[:2]
    coordinator.until_masks()
    identity = read_key(coordinator.world.node(second) / "identity.key")
    heads = [f"9:{digit * 64}" for digit in "ab"]
    for run, head in zip(("run-1", "run-2"), heads, strict=True):
        if run == "run-2":
            job = small_job(coordinator.world, name="next", epsilon=1.0)
            coordinator.open(job, coordinator.order(job, run), run)
        close = CloseRequest(
            outcome="abandoned",
            model=b"",
            heads={second: (head, sign_head(run, second, head, identity))},
        )
        if run == "run-1":
            coordinator.send(first, "close", close, run)
        else:
            with pytest.raises(AuditCut):
                coordinator.send(first, "close", close, run)


def test_a_head_its_member_did_not_sign_is_not_believed(coordinator: Coordinator) -> None:
    first, second = coordinator.world.members[:2]
    coordinator.until_masks()
    forged = {second: (f"9:{'a' * 64}", coordinator.identity.sign("audit.head", b"x"))}
    with pytest.raises(SignatureInvalid):
        coordinator.send(first, "close", CloseRequest(outcome="abandoned", model=b"", heads=forged))


# --- messages that were honest once, or elsewhere ------------------------------------------------


def signed(
    coordinator: Coordinator, member: str, step: str, body: Body, run: str = "run-1"
) -> bytes:
    return sign_message(coordinator.envelope(member, step, body, run), coordinator.identity)


def open_request(coordinator: Coordinator, run: str = "run-1", name: str = "small") -> OpenRequest:
    job = small_job(coordinator.world, name=name)
    order = coordinator.order(job, run)
    return OpenRequest(job=job.signed_bytes(), order_signature=order.signature)


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_another_schema_version_is_refused_by_name_and_costs_nothing(
    coordinator: Coordinator, version: int
) -> None:
    member = coordinator.world.members[0]
    data = signed(coordinator, member, "open", open_request(coordinator))
    _, *fields, _ = decode(data, kind="envelope")
    stated = encode([version, *fields])
    for changed in (
        encode([version, *fields, coordinator.identity.sign("message", stated)]),
        encode([version, "fields", "that", "this", "version", "does not have"]),
    ):
        with pytest.raises(SchemaVersionDiffers) as refusal:
            coordinator.node(member).handle(changed)
        assert refusal.value.code == "schema_version_differs"
    assert spent(coordinator, member) == []


def test_a_message_for_one_member_is_refused_by_another(coordinator: Coordinator) -> None:
    first, second = coordinator.world.members[:2]
    data = signed(coordinator, second, "open", open_request(coordinator))
    with pytest.raises(MessageInvalid, match="another receiver"):
        coordinator.node(first).handle(data)
    assert spent(coordinator, first) == []
    assert coordinator.node(second).handle(data)


def test_only_the_opening_may_be_sent_to_everybody(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    bundles = coordinator.open(
        small_job(coordinator.world), coordinator.order(small_job(coordinator.world))
    )
    data = signed(coordinator, EVERYBODY, "shares", SharesRequest(bundles=bundles))
    with pytest.raises(MessageInvalid, match="another receiver"):
        coordinator.node(member).handle(data)


def test_a_repeated_message_gets_the_stored_bytes_and_spends_once(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]
    request = MaskRequest(
        sum_index=0,
        intercept=0,
        effects=np.zeros(small_world_bins(coordinator.world)).tobytes(),
        inbox=inbox,
    )
    data = signed(coordinator, member, "mask/0", request)
    first = coordinator.node(member).handle(data)
    records = len((coordinator.world.node(member) / "audit.log").read_text().splitlines())
    assert [coordinator.node(member).handle(data) for _ in range(3)] == [first] * 3
    assert spent(coordinator, member).count("spent") == 1
    log = (coordinator.world.node(member) / "audit.log").read_text().splitlines()
    assert len(log) == records


def test_an_opening_repeated_after_the_close_opens_nothing(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    data = signed(coordinator, member, "open", open_request(coordinator))
    opened = coordinator.node(member).handle(data)
    coordinator.send(member, "close", CloseRequest(outcome="abandoned", model=b"", heads={}))
    assert coordinator.node(member).handle(data) == opened
    assert set(spent(coordinator, member)) == {"returned"}
    with pytest.raises(RunNotOpen):
        coordinator.send(member, "shares", SharesRequest(bundles={}))


def test_steps_out_of_their_order_release_nothing(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    coordinator.open(small_job(coordinator.world), coordinator.order(small_job(coordinator.world)))
    with pytest.raises(StepOutOfOrder):
        coordinator.mask(member, {})
    assert spent(coordinator, member).count("spent") == 0


def test_what_was_sealed_in_one_run_is_refused_in_another(coordinator: Coordinator) -> None:
    member = coordinator.world.members[0]
    inbox = coordinator.until_masks()[member]
    job = small_job(coordinator.world, name="next")
    bundles = coordinator.open(job, coordinator.order(job, "run-2"), "run-2")
    first_bundles = coordinator.open(
        small_job(coordinator.world), coordinator.order(small_job(coordinator.world))
    )
    with pytest.raises(FedmktError) as refusal:
        coordinator.send(member, "shares", SharesRequest(bundles=first_bundles), "run-2")
    assert refusal.value.code in ("message_invalid", "signature_invalid")
    coordinator.send(member, "shares", SharesRequest(bundles=bundles), "run-2")
    request = MaskRequest(
        sum_index=0,
        intercept=0,
        effects=np.zeros(small_world_bins(coordinator.world)).tobytes(),
        inbox=inbox,
    )
    with pytest.raises(FedmktError) as refusal:
        coordinator.send(member, "mask/0", request, "run-2")
    assert refusal.value.code in ("seal_broken", "share_invalid")


def test_a_requester_that_used_up_its_orders_of_the_day_is_refused(tmp_path: Path) -> None:
    world = small_world(tmp_path, uses_per_day=2)
    coordinator = Coordinator(world)
    member = world.members[0]
    codes = []
    for number in range(3):
        run = f"run-{number}"
        request = open_request(coordinator, run, f"job-{number}")
        reply = coordinator.send(member, "open", request, run)
        codes.append(Refused.from_bytes(reply.body).code if is_refusal(reply.body) else "opened")
        if codes[-1] == "opened":
            # What is given back is not an order less.
            close = CloseRequest(outcome="abandoned", model=b"", heads={})
            coordinator.send(member, "close", close, run)
    assert codes == ["opened", "opened", "uses_exceeded"]
    world.close()


def test_a_requester_that_begins_runs_too_often_is_refused_until_an_hour_has_passed(
    tmp_path: Path,
) -> None:
    world = small_world(tmp_path)
    member = world.members[0]
    settings = world.node(member) / "node.toml"
    settings.write_text(f"runs_per_hour = 2\n{settings.read_text()}")
    coordinator, clock = Coordinator(world), ManualClock(datetime.now(UTC))
    home = open_home(world.node(member), clock=clock)
    node = Node(home)

    def opened(run: str) -> str:
        # What fails or is given back was begun all the same.
        body = open_request(coordinator, run, f"job-{run}")
        data = sign_message(coordinator.envelope(member, "open", body, run), coordinator.identity)
        reply = parse_envelope(node.handle(data))
        return Refused.from_bytes(reply.body).code if is_refusal(reply.body) else "opened"

    first = [opened(f"run-{number}") for number in range(3)]
    assert first == ["opened", "opened", "runs_too_often"]
    assert opened("run-1") == "opened", "an opened run that is asked for again is none more"
    asked = dry_run(home, small_job(world, name="asked"))
    assert asked.refusal is not None
    assert asked.refusal.code == "runs_too_often"
    with home.store.transaction() as tx:
        assert home.ledger.entries(tx, "run-2") == (), "nothing was reserved"
    clock.advance(timedelta(hours=1))
    assert opened("run-3") == "opened"
    world.close()
    home.close()


def test_orders_that_are_refused_wear_no_node_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path, cap=5.0)
    member = world.members[0]
    settings = world.node(member) / "node.toml"
    settings.write_text(f"runs_per_hour = 3\n{settings.read_text()}")
    coordinator, job, priced = Coordinator(world), small_job(world), []
    price = HorizontalTraining.price

    def counted(*given: Any) -> Any:
        priced.append(given)
        return price(*given)

    monkeypatch.setattr(HorizontalTraining, "price", counted)

    def opened(run: str) -> str:
        order = coordinator.order(job, run)
        request = OpenRequest(job=job.signed_bytes(), order_signature=order.signature)
        reply = coordinator.send(member, "open", request, run)
        return Refused.from_bytes(reply.body).code if is_refusal(reply.body) else "opened"

    said = [opened(f"run-{number}") for number in range(6)]
    assert said == ["opened", *["budget_exceeded"] * 2, *["runs_too_often"] * 3]
    assert opened("run-1") == "budget_exceeded", "the same run is none more"
    assert len(priced) == 4
    world.close()
