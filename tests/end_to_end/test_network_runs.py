"""Whole runs of networks: what they spend, what they release, what survives, what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.network_trial import network_job, parts_of, shape_of
from end_to_end.small_world import SHORT, Trial, members_named, small_world

from fedmkt.contract.job import NetworkJob, PrivacySettings, parse_job_json
from fedmkt.contract.order import sign_order
from fedmkt.coordinator.network_training import NetworkTrainingRun
from fedmkt.coordinator.progress import read_progress
from fedmkt.core.errors import (
    FedmktError,
    JobInvalid,
    MessageInvalid,
    QuorumLost,
    RangeExceeded,
    RunNotOpen,
    RunRefused,
    StepOutOfOrder,
    TrainingDiverged,
    UpdatesTooFew,
)
from fedmkt.core.keystream import KeyStream
from fedmkt.horizontal.network_plan import MOST_CUSTOMERS, check_customers, network_releases
from fedmkt.horizontal.network_update import Asked, Memory, round_update
from fedmkt.identity.signed_message import open_message, sign_message
from fedmkt.models.kept import model_bytes
from fedmkt.models.network_shape import NetworkWeights, first_parameters, parameter_bytes
from fedmkt.node import network_training
from fedmkt.node.app import forget_nodes, node_at
from fedmkt.node.dry_run import dry_run
from fedmkt.node.network_training import NetworkRun, NetworkTraining
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.simulation.world import World
from fedmkt.storage.contract_files import read_contract
from fedmkt.storage.key_file import read_key
from fedmkt.wire.envelope import Envelope
from fedmkt.wire.run import Body, CloseReply, CloseRequest, OpenReply, OpenRequest
from fedmkt.wire.training import MaskReply, SharesReply, SharesRequest, UpdateRequest

MODEL: dict[str, Any] = {"algorithm": "scaffold", "rounds": 2, "width": 4, "sampling_rate": 0.5}


def entries_of(world: World, member: str) -> list[Any]:
    home = node_at(world.node(member)).home
    with home.store.transaction() as tx:
        return list(home.ledger.entries(tx))


def receipts(world: World, run: str) -> list[dict[str, Any]]:
    folder = world.coordinator / "runs" / run / "receipts"
    return [json.loads(path.read_bytes())["receipt"] for path in sorted(folder.glob("*.json"))]


def _sent(message: Any) -> bytes:
    return b"".join(
        value
        for record in message.content.config_records.values()
        for value in record.values()
        if isinstance(value, bytes)
    )


@pytest.fixture
def world(tmp_path: Path):
    made = small_world(tmp_path)
    yield made
    made.close()


def test_a_run_spends_what_its_job_states_and_its_receipts_say_how(world: World):
    job = network_job(world.members, trust="local", **MODEL)
    outcome = Trial(world).run(job, "run-1")
    for member in world.members:
        spent = entries_of(world, member)
        assert [entry.state for entry in spent] == ["spent"] * (1 + job.model.rounds)
        cost = epsilon_of([entry.event for entry in spent], job.privacy.delta)
        assert cost == pytest.approx(job.privacy.epsilon, rel=2e-3)
        assert cost <= job.privacy.epsilon
    for receipt in receipts(world, "run-1"):
        assert (receipt["kind"], receipt["masked"], receipt["noised"]) == ("network", True, True)
        assert receipt["noise_source"] == "reproducible"
        assert receipt["model_hash"] == outcome.model.hash


def test_a_run_without_noise_says_so_in_its_receipts(tmp_path: Path):
    world = small_world(tmp_path, modes=("none",))
    Trial(world).run(network_job(world.members, **MODEL), "run-1")
    world.close()
    for receipt in receipts(world, "run-1"):
        assert (receipt["masked"], receipt["noised"], receipt["epsilon"]) == (True, False, None)


def test_nodes_that_start_anew_for_every_message_train_the_same_network(
    tmp_path: Path, world: World
):
    job = network_job(world.members, trust="local", personal_head=False, **MODEL)
    expected = Trial(world).run(job, "run-1").model
    other = small_world(tmp_path / "restarted")
    grid = {"restart": lambda node: forget_nodes([other.node(other.members[node - 1])])}
    assert Trial(other, grid=grid).run(job, "run-1").model.hash == expected.hash
    other.close()


def test_a_member_lost_in_a_round_is_left_out_of_its_mean_and_is_back_in_the_next(tmp_path: Path):
    world = small_world(tmp_path, members=4)
    job = network_job(world.members, trust="local", **{**MODEL, "rounds": 3})

    def lose(node: int, message: Any) -> bool:
        return node == 4 and b"update/2" in _sent(message)

    outcome = Trial(world, grid={"lose": lose}).run(job, "run-1")
    assert outcome.rounds == 3
    states = [entry.state for entry in entries_of(world, world.members[3])]
    assert (states.count("spent"), states.count("returned")) == (3, 1)
    world.close()


def test_a_training_that_diverges_stops_names_its_round_and_keeps_the_ledger_right(tmp_path: Path):
    world = small_world(tmp_path, modes=("none",))
    job = network_job(world.members, rounds=9, width=4, learning_rate=1000.0, local_steps=3)
    with pytest.raises(TrainingDiverged) as raised:
        Trial(world).run(job, "run-1")
    done = int(str(raised.value.fields["round"])) - 1
    assert 0 <= done < 9
    for member in world.members:
        states = [entry.state for entry in entries_of(world, member)]
        assert "planned" not in states
        # The count and each finished round left. That the next could not be made tells of it.
        assert states.count("spent") == 1 + done + 1
    last = read_progress(world.coordinator / "runs" / "run-1")[-1]
    assert (last.what, last.code) == ("ended", "training_diverged")
    world.close()


def test_a_job_that_understates_what_it_costs_is_refused_before_data_are_read(world: World):
    job = network_job(world.members, trust="local", **MODEL)
    cheap = job.privacy.model_copy(update={"epsilon": job.privacy.epsilon / 2})
    with pytest.raises(RunRefused) as refused:
        Trial(world).run(job.model_copy(update={"privacy": cheap}), "run-1")
    assert refused.value.fields["rule"] == "claimed_epsilon_wrong"
    assert entries_of(world, world.members[0]) == []


def test_a_dry_run_says_what_would_leave(world: World):
    home = node_at(world.node(world.members[0])).home
    found = dry_run(home, network_job(world.members, trust="local", **MODEL))
    assert found.refusal is None
    assert [line.split(":")[0] for line in found.leaves] == [
        "count of customers",
        "round 1",
        "round 2",
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"privacy": {"trust": "distributed", "epsilon": 1, "noise_multiplier": 3}}, "fedsgd"),
        ({"model": {"algorithm": "fedavg"}}, "clip_norm"),
        ({"model": {"algorithm": "fedsgd", "personal_head": True, "clip_norm": 1}}, "personal"),
        ({"model": {"algorithm": "fedavg", "proximal": 1.0, "clip_norm": 1}}, "fedprox"),
        ({"model": {"blocks": 2, "clip_norm": 1}}, "width"),
        ({"model": {"algorithm": "fedsdg", "clip_norm": 1}}, "algorithm"),
        ({"model": {"joining": {"rule": "krum", "faulty": 1}, "clip_norm": 1}}, "needs 5 members"),
        ({"model": {"joining": {"rule": "trimmed_mean", "faulty": 2}, "clip_norm": 1}}, "needs 5"),
    ],
)
def test_a_job_that_cannot_keep_its_word_is_refused_by_name(change: dict[str, Any], says: str):
    stated = network_job(("a", "b", "c"), trust="local").model_dump(mode="json")
    with pytest.raises(JobInvalid, match=says):
        parse_job_json(json.dumps({**stated, **change}).encode(), source="a test")


@pytest.fixture
def sending(world: World):
    """A job, a way to send a node a step of a run of it, and what opens the run."""
    job = network_job(world.members, trust="local", **MODEL)
    contract = read_contract(world.coordinator)
    identity = read_key(world.coordinator / "identity.key")
    order = sign_order(contract, "run-1", job, read_key(world.node(job.requester) / "identity.key"))

    def send(member: str, step: str, body: Body) -> bytes:
        envelope = Envelope(contract.hash, "run-1", step, "coordinator", member, body.to_bytes())
        node = node_at(world.node(member))
        return open_message(
            node.handle(sign_message(envelope, identity)),
            directory=node.home.directory,
            receiver="coordinator",
            contract=contract.hash,
        ).body

    opening = OpenRequest(job=job.signed_bytes(), order_signature=order.signature)
    return job, send, opening


@pytest.fixture
def asked(world: World, sending):
    """A run that is open and has its shares dealt; returns a way to ask the first node for sums."""
    job, send, opening = sending
    bundles = {m: OpenReply.from_bytes(send(m, "open", opening)).bundle for m in world.members}
    shared = {
        m: SharesReply.from_bytes(send(m, "shares", SharesRequest(bundles=bundles)))
        for m in world.members
    }
    first = world.members[0]
    inbox = {m: one.sealed[first] for m, one in shared.items() if m != first}

    def ask(index: int, parameters: bytes, control: bytes) -> bytes:
        body = UpdateRequest(sum_index=index, parameters=parameters, control=control, inbox=inbox)
        return send(first, f"update/{index}", body)

    return job, ask, lambda: [entry.state for entry in entries_of(world, first)]


def test_a_network_that_is_not_the_jobs_is_refused_and_costs_nothing(asked):
    job, ask, states = asked
    shape = shape_of(job)
    good = first_parameters(shape, 0)
    control = parameter_bytes(np.zeros_like(good))
    ask(0, b"", b"")
    wrong = {
        "too short": (parameter_bytes(good[1:]), control),
        "not float32": (parameter_bytes(good)[:-1], control),
        "not finite": (parameter_bytes(np.full_like(good, np.nan)), control),
        "no control variate": (parameter_bytes(good), b""),
    }
    for parameters, variate in wrong.values():
        with pytest.raises(MessageInvalid):
            ask(1, parameters, variate)
    assert states() == ["spent", "planned", "planned"]
    ask(1, parameter_bytes(good), control)
    assert states() == ["spent", "spent", "planned"]


def test_a_count_is_asked_without_a_network(asked):
    job, ask, states = asked
    with pytest.raises(MessageInvalid):
        ask(0, parameter_bytes(first_parameters(shape_of(job), 0)), b"")
    assert states() == ["planned"] * 3


def test_a_round_is_made_once_for_one_network(asked):
    job, ask, states = asked
    good = first_parameters(shape_of(job), 0)
    control = parameter_bytes(np.zeros_like(good))
    ask(0, b"", b"")
    answer = ask(1, parameter_bytes(good), control)
    assert ask(1, parameter_bytes(good), control) == answer
    with pytest.raises(FedmktError) as refused:
        ask(1, parameter_bytes(good + np.float32(1)), control)
    assert refused.value.code == "request_conflict"
    with pytest.raises(StepOutOfOrder):
        ask(3, parameter_bytes(good), control)
    assert states() == ["spent", "spent", "planned"]


def test_a_round_that_could_not_be_made_is_spent_and_ends_the_run(asked):
    # Free and repeatable, it would tell of a sum with fresh noise as often as somebody likes.
    job, ask, states = asked
    good = first_parameters(shape_of(job), 0)
    far = parameter_bytes(np.full_like(good, 1e6))  # of a control variate
    with pytest.raises(TrainingDiverged):
        ask(2, parameter_bytes(good), far)
    assert states() == ["planned", "planned", "spent"]
    for index, parameters in ((2, good), (2, good + np.float32(1)), (0, None), (1, good)):
        with pytest.raises(FedmktError) as refused:
            ask(index, b"" if parameters is None else parameter_bytes(parameters), b"")
        assert refused.value.code in ("run_not_open", "request_conflict")
    assert states() == ["planned", "planned", "spent"]


def test_an_update_out_of_range_is_spent_and_ends_the_run(asked, monkeypatch):
    # How large a sum is depends on customers, so that it is too large is an answer.
    job, ask, states = asked

    def out_of_range(*_):
        raise RangeExceeded(problem="a test")

    monkeypatch.setattr(network_training, "_made", out_of_range)
    with pytest.raises(RangeExceeded):
        ask(1, parameter_bytes(first_parameters(shape_of(job), 0)), b"")
    monkeypatch.undo()
    assert states() == ["planned", "spent", "planned"]
    with pytest.raises(RunNotOpen):
        ask(0, b"", b"")


def test_a_run_that_ended_at_its_first_release_has_a_receipt_of_what_that_cost(asked, sending):
    job, ask, states = asked
    good = first_parameters(shape_of(job), 0)
    with pytest.raises(TrainingDiverged):
        ask(2, parameter_bytes(good), parameter_bytes(np.full_like(good, 1e6)))
    ending = CloseRequest(outcome="abandoned", model=b"", heads={})
    closed = CloseReply.from_bytes(sending[1](job.members[0], "close", ending))
    assert states() == ["returned", "returned", "spent"]
    receipt = json.loads(closed.receipt)["receipt"]
    spent = network_releases(job, shape_of(job))[2]
    assert [one["index"] for one in receipt["releases"]] == [spent.index]
    assert receipt["epsilon"] == epsilon_of([spent.event], job.privacy.delta) > 0
    assert (receipt["noised"], receipt["masked"]) == (True, False)


def test_the_coordinator_keeps_the_receipts_of_a_run_whose_first_release_failed(world, monkeypatch):
    def goes_astray(*_):
        raise TrainingDiverged(round=1)

    monkeypatch.setattr(network_training, "_made", goes_astray)
    with pytest.raises(TrainingDiverged):
        Trial(world).run(network_job(world.members, trust="local", **MODEL), "run-1")
    kept = receipts(world, "run-1")
    assert [receipt["member"] for receipt in kept] == list(world.members)
    assert [[one["index"] for one in receipt["releases"]] for receipt in kept] == [[0]] * 3


def test_a_network_survives_its_file_and_a_changed_file_is_another(world: World):
    job = network_job(world.members, trust="local", **MODEL)
    model = Trial(world).run(job, "run-1").model
    path = world.coordinator / "runs" / "run-1" / "model.json"
    value = json.loads(path.read_bytes())
    read = NetworkWeights.from_json(value)
    assert (read.hash, read.shape) == (model.hash, model.shape)
    np.testing.assert_array_equal(read.parameters, model.parameters)
    for change in ({"width": 5}, {"parameters": "AAAA"}, {"parameters": "!"}, {"extra": 1}):
        with pytest.raises(MessageInvalid):
            NetworkWeights.from_json({**value, **change})


def test_updates_are_seen_only_where_the_contract_lets_them_and_receipts_say_so(
    tmp_path: Path, world: World
):
    job = network_job(world.members, trust="local", joining={"rule": "median"})
    with pytest.raises(RunRefused) as refused:
        Trial(world).run(job, "run-1")
    assert refused.value.fields["rule"] == "mode_not_allowed"
    assert entries_of(world, world.members[0]) == []
    open_world = small_world(tmp_path / "seen", updates_seen=True)
    Trial(open_world).run(job, "run-1")
    for receipt in receipts(open_world, "run-1"):
        assert (receipt["masked"], receipt["noised"]) == (False, True)
        assert receipt["mode"] == "local, updates seen"
        assert receipt["epsilon"] <= job.privacy.epsilon
    home = node_at(open_world.node(job.members[0])).home
    assert all("seen by the coordinator" in line for line in dry_run(home, job).leaves)
    open_world.close()


def krum_world(folder: Path) -> tuple[World, NetworkJob]:
    """Return five members, and a job whose rule needs the updates of all of them."""
    world = small_world(folder, members=5, updates_seen=True)
    return world, network_job(world.members, trust="local", joining={"rule": "krum", "faulty": 1})


def test_a_round_waits_for_as_many_updates_as_its_rule_needs(tmp_path: Path):
    world, job = krum_world(tmp_path)
    lost: list[int] = []

    def lose_once(node: int, message: Any) -> bool:
        late = node == 5 and b"update/1" in _sent(message) and not lost
        lost.extend([node] if late else [])
        return late

    patience = replace(SHORT, absent_s=30.0)
    assert Trial(world, patience=patience, grid={"lose": lose_once}).run(job, "run-1").rounds == 3
    assert lost == [5]
    world.close()


def test_a_round_that_waited_in_vain_for_what_its_rule_needs_may_be_resumed(tmp_path: Path):
    world, job = krum_world(tmp_path)

    def lose(node: int, message: Any) -> bool:
        return node == 5 and b"update/1" in _sent(message)

    with pytest.raises(QuorumLost) as raised:
        Trial(world, patience=SHORT, grid={"lose": lose}).run(job, "run-1")
    assert (raised.value.fields["answered"], raised.value.fields["needed"]) == (4, 5)
    assert Trial(world).run(job, "run-1").rounds == 3
    world.close()


def test_a_round_with_fewer_usable_updates_than_its_rule_needs_ends_the_run_at_every_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world, job = krum_world(tmp_path)
    honest = NetworkTrainingRun.seen

    def seen(run: NetworkTrainingRun, asked: UpdateRequest, **asking: int) -> dict[str, Any]:
        updates = honest(run, asked, **asking)
        # An update without a weight is no change; of two such, one is more than may be faulty.
        spoilt = world.members[:2] if asked.sum_index else ()
        return updates | {member: np.zeros_like(updates[member]) for member in spoilt}

    monkeypatch.setattr(NetworkTrainingRun, "seen", seen)
    with pytest.raises(UpdatesTooFew):
        Trial(world).run(job, "run-1")
    for member in world.members:
        states = [entry.state for entry in entries_of(world, member)]
        # The count and the round that was sent; what the rounds after would have cost is back.
        assert states == ["spent", "spent", "returned", "returned"]
    world.close()


def test_where_updates_are_masked_no_node_shows_one(asked):
    job, ask, _ = asked
    ask(0, b"", b"")
    good = first_parameters(shape_of(job), 0)
    reply = ask(1, parameter_bytes(good), parameter_bytes(np.zeros_like(good)))
    values = np.frombuffer(MaskReply.from_bytes(reply).values, dtype="<u8")
    # Masked values are uniform on the ring: half of them lie beyond every honest value.
    assert (values.view(np.int64) / 2.0**62 > 1).any()


def test_a_personal_head_is_kept_at_its_node(world: World):
    model = {"algorithm": "fedavg", "rounds": 2, "width": 4, "personal_head": True}
    outcome = Trial(world).run(network_job(world.members, trust="local", **model), "run-1")
    kept = {
        member: NetworkWeights.from_json(
            json.loads(next((world.node(member) / "models").glob("*.json")).read_bytes())
        )
        for member in world.members
    }
    head = outcome.model.shape.head_length
    for weights in kept.values():
        np.testing.assert_array_equal(weights.parameters[:-head], outcome.model.parameters[:-head])
        assert (weights.parameters[-head:] != outcome.model.parameters[-head:]).any()
    assert len({weights.hash for weights in kept.values()}) == len(world.members)


def test_a_head_that_a_node_could_not_keep_is_a_training_that_diverged():
    model = {"algorithm": "scaffold", "width": 4, "learning_rate": 2.0, "personal_head": True}
    job = network_job(members_named(3), trust="local", **model)
    shape = shape_of(job)
    rows = parts_of(job.members, shape)[job.members[0]]
    control = np.zeros(shape.length, np.float32)
    control[-shape.head_length :] = 3e38
    asked = Asked(1, first_parameters(shape, 0), control)
    with pytest.raises(TrainingDiverged), np.errstate(over="ignore", invalid="ignore"):
        round_update(rows, job, shape, Memory(customers=100.0), asked, KeyStream.fresh())


def test_a_model_that_is_not_the_jobs_is_not_kept(world: World):
    home = node_at(world.node(world.members[0])).home
    job = network_job(world.members, trust="local", **MODEL)
    shape = shape_of(network_job(world.members, trust="local", **{**MODEL, "width": 5}))
    other = model_bytes(NetworkWeights(shape, first_parameters(shape, 0)))
    state = NetworkRun(job, None)  # type: ignore[arg-type]
    for model in (other, b"{}", b"no JSON"):
        with pytest.raises(MessageInvalid):
            NetworkTraining().keep(home, "run-1", state, finished=True, model=model)
    assert not list((world.node(world.members[0])).glob("models/*"))


def test_a_table_too_large_is_refused_at_one_public_number_whatever_the_rate():
    check_customers(MOST_CUSTOMERS)
    with pytest.raises(RangeExceeded):
        check_customers(MOST_CUSTOMERS + 1)


def test_privacy_settings_of_a_network_have_the_count_in_their_price(world: World):
    job = network_job(world.members, trust="local", **MODEL)
    loud = PrivacySettings.model_validate({**job.privacy.model_dump(), "count_weight": 1.0})
    with pytest.raises(RunRefused):
        Trial(world).run(job.model_copy(update={"privacy": loud}), "run-1")
