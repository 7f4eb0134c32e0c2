"""Whole training runs: what survives a restart, a loss, a refusal; what never leaves a node."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from end_to_end.small_world import ROUNDS, SHORT, Trial, model_json, small_job, small_world
from typer.testing import CliRunner

from fedmkt.cli.commands import app
from fedmkt.coordinator.conversation import Patience
from fedmkt.coordinator.home import open_coordinator
from fedmkt.coordinator.progress import read_progress
from fedmkt.core.errors import (
    AuditBroken,
    AuditCut,
    NodeFailed,
    QuorumLost,
    RunRefused,
    StoreRolledBack,
)
from fedmkt.evidence.receipts import verify_receipt
from fedmkt.identity.signed_message import sign_message
from fedmkt.node.app import node_at
from fedmkt.simulation.world import World
from fedmkt.transport.channel import Channel, Failure, Traffic
from fedmkt.wire.envelope import Envelope, parse_envelope
from fedmkt.wire.run import CloseReply, CloseRequest

EXCHANGES = 3 + 3 * ROUNDS
TESTS = Path(__file__).parents[1]


class Stopped(BaseException):
    """The coordinator's process is gone."""


class Wrapped:
    """A channel that passes on what it is asked."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @property
    def traffic(self) -> Traffic:
        return self._channel.traffic

    def node_ids(self, *, at_least: int, deadline_s: float) -> tuple[int, ...]:
        return self._channel.node_ids(at_least=at_least, deadline_s=deadline_s)


class StopsAt(Wrapped):
    """A channel whose coordinator dies before its n-th exchange, or just after it."""

    def __init__(self, channel: Channel, exchange: int, *, after: bool) -> None:
        super().__init__(channel)
        self._left, self._after = exchange, after

    def exchange(
        self, requests: Mapping[int, bytes], *, deadline_s: float, quorum: int | None = None
    ) -> Mapping[int, bytes | Failure]:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Stopped
        replies = self._channel.exchange(requests, deadline_s=deadline_s, quorum=quorum)
        if self._left == 0:
            raise Stopped
        return replies


class Answers(Wrapped):
    """A channel on which, once, something else comes back of a node than what it said.

    step: of the exchange. code: of the failure. The node has carried out what it was asked.
    """

    def __init__(self, channel: Channel, step: str, code: str, node: int = 1) -> None:
        super().__init__(channel)
        self._step, self._node, self._code = step, node, code
        self.asked: list[tuple[int, ...]] = []

    def exchange(
        self, requests: Mapping[int, bytes], *, deadline_s: float, quorum: int | None = None
    ) -> Mapping[int, bytes | Failure]:
        replies = self._channel.exchange(requests, deadline_s=deadline_s, quorum=quorum)
        if {parse_envelope(data).step for data in requests.values()} != {self._step}:
            return replies
        self.asked.append(tuple(sorted(requests)))
        once = {self._node: Failure(self._code)} if len(self.asked) == 1 else {}
        return {**replies, **once}


class Records(Wrapped):
    """A channel that keeps every byte the coordinator receives."""

    def __init__(self, channel: Channel, received: bytearray) -> None:
        super().__init__(channel)
        self._received = received

    def exchange(
        self, requests: Mapping[int, bytes], *, deadline_s: float, quorum: int | None = None
    ) -> Mapping[int, bytes | Failure]:
        replies = self._channel.exchange(requests, deadline_s=deadline_s, quorum=quorum)
        for reply in replies.values():
            self._received += reply.code.encode() if isinstance(reply, Failure) else reply
        return replies


def entries_of(world: World, member: str) -> list[tuple[str, int, str]]:
    home = node_at(world.node(member)).home
    with home.store.transaction() as tx:
        return [(e.run, e.release, e.state) for e in home.ledger.entries(tx)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The model of a run nothing happened to; noise is reproducible, so others can equal it."""
    world = small_world(tmp_path_factory.mktemp("undisturbed"))
    Trial(world).run(small_job(world), "run-1")
    world.close()
    return model_json(world, "run-1")


def test_a_run_takes_three_exchanges_a_round_and_three_more(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    outcome = Trial(world).run(small_job(world), "run-1")
    assert outcome.exchanges == EXCHANGES
    assert set(outcome.receipts) == set(world.members)
    world.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("exchange", [2, 3, 4, 5, 7, EXCHANGES])
def test_a_stopped_coordinator_resumes_to_the_same_model(
    tmp_path: Path, undisturbed: dict[str, object], exchange: int, after: bool
) -> None:
    world = small_world(tmp_path)
    trial = Trial(world, wrap=lambda channel: StopsAt(channel, exchange, after=after))
    with pytest.raises(Stopped):
        trial.run(small_job(world), "run-1")
    Trial(world).run(small_job(world), "run-1")
    assert model_json(world, "run-1") == undisturbed
    # Every release was spent exactly once, however often it was asked for.
    assert entries_of(world, world.members[0]) == [("run-1", r, "spent") for r in range(ROUNDS)]
    world.close()


@pytest.mark.parametrize(
    "code",
    ["not_delivered", "message_unavailable", "reply_unavailable", "node_unavailable",
     "app_crashed"],
)  # fmt: skip
@pytest.mark.parametrize("step", ["open", "mask/1"])
def test_what_was_lost_on_the_way_is_asked_again_of_that_node_alone(
    tmp_path: Path, undisturbed: dict[str, object], step: str, code: str
) -> None:
    world = small_world(tmp_path)
    channels: list[Answers] = []

    def wrap(channel: Channel) -> Channel:
        channels.append(Answers(channel, step, code))
        return channels[-1]

    patience = Patience(connect_s=10, exchange_s=60, absent_s=10)
    Trial(world, patience=patience, wrap=wrap).run(small_job(world), "run-1")
    assert channels[0].asked == [(1, 2, 3), (1,)]
    assert model_json(world, "run-1") == undisturbed
    assert entries_of(world, world.members[0]) == [("run-1", r, "spent") for r in range(ROUNDS)]
    world.close()


def test_what_a_node_itself_answers_is_not_asked_again(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    trial = Trial(world, wrap=lambda channel: Answers(channel, "mask/1", "storage_failed"))
    with pytest.raises(NodeFailed, match="storage_failed"):
        trial.run(small_job(world), "run-1")
    world.close()


def test_a_run_that_fails_to_open_is_over_and_one_that_was_begun_is_not(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    world = small_world(tmp_path)
    failing = Trial(world, wrap=lambda channel: Answers(channel, "open", "storage_failed"))
    with pytest.raises(NodeFailed):
        failing.run(small_job(world), "never-begun")
    assert entries_of(world, world.members[1]) == [
        ("never-begun", r, "returned") for r in range(ROUNDS)
    ], "whoever opened it was told that it is off"

    with pytest.raises(Stopped):
        Trial(world, wrap=lambda c: StopsAt(c, 4, after=True)).run(small_job(world), "run-1")
    with pytest.raises(NodeFailed):
        failing.run(small_job(world), "run-1")
    states = [state for run, _, state in entries_of(world, world.members[1]) if run == "run-1"]
    assert "returned" not in states, "a node that cannot say again that it opened ends no run"
    Trial(world).run(small_job(world), "run-1")
    assert model_json(world, "run-1") == undisturbed
    world.close()


def test_nodes_restarted_before_every_message_give_the_same_model(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    world = small_world(tmp_path)
    trial = Trial(world)
    trial.grid = {"restart": lambda node: trial.restart_nodes() if node == 1 else None}
    trial.run(small_job(world), "run-1")
    assert model_json(world, "run-1") == undisturbed
    world.close()


def test_a_killed_process_loses_nothing_and_resumes(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    world = small_world(tmp_path)
    script = Path(__file__).with_name("killed_run.py")
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "6"], env=environment, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert len(entries_of(world, world.members[0])) == ROUNDS
    Trial(world).run(small_job(world), "run-1")
    assert model_json(world, "run-1") == undisturbed
    world.close()


def test_a_member_lost_in_one_sum_is_back_in_the_next(tmp_path: Path) -> None:
    world = small_world(tmp_path, members=4)
    lost_node = 4

    def lose(node: int, message: object) -> bool:
        home = node_at(world.node(world.members[0])).home
        with home.store.transaction() as tx:
            first_done = any(e.state == "spent" for e in home.ledger.entries(tx))
            second_done = [e.state for e in home.ledger.entries(tx)][1:2] == ["spent"]
        is_reply = bool(message.metadata.reply_to_message_id)  # type: ignore[attr-defined]
        return node == lost_node and first_done and not second_done and not is_reply

    outcome = Trial(world, SHORT, grid={"lose": lose}).run(small_job(world), "run-1")
    assert outcome.rounds == ROUNDS
    states = [state for _, _, state in entries_of(world, world.members[3])]
    assert states.count("spent") == ROUNDS - 1
    assert states.count("returned") == 1
    world.close()


def test_below_three_members_a_sum_waits_and_goes_on_when_the_member_is_back(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    world = small_world(tmp_path)
    job = small_job(world)
    lose = {"lose": lambda node, message: node == 3 and b"mask/1" in _payload(message)}
    with pytest.raises(QuorumLost):
        Trial(world, SHORT, grid=lose).run(job, "run-1")
    last = read_progress(world.coordinator / "runs" / "run-1")[-1]
    assert (last.member, last.name) == (world.members[2], "no answer to mask/1")
    Trial(world).run(job, "run-1")
    assert model_json(world, "run-1") == undisturbed
    world.close()


def _payload(message: object) -> bytes:
    content = message.content  # type: ignore[attr-defined]
    return b"".join(
        value
        for record in content.config_records.values()
        for value in record.values()
        if isinstance(value, bytes)
    )


def test_a_refusal_names_the_rule_alone_and_the_others_give_back(tmp_path: Path) -> None:
    world = small_world(tmp_path, cap=5.0)
    Trial(world).run(small_job(world), "run-1")
    received = bytearray()
    trial = Trial(world, wrap=lambda channel: Records(channel, received))
    with pytest.raises(RunRefused) as refused:
        trial.run(small_job(world, name="again"), "run-2")
    assert refused.value.fields["rule"] == "budget_exceeded"
    assert b"run-1" not in received
    for member in world.members:
        assert all(run == "run-1" for run, _, _ in entries_of(world, member))
        log = (world.node(member) / "audit.log").read_text()
        reason = json.loads(log.splitlines()[-1])["facts"]["reason"]
        assert "run-1" in reason
    world.close()


def test_one_members_failure_to_open_costs_nobody_anything(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    table = world.node(world.members[2]) / "customers.parquet"
    hidden = table.rename(table.with_name("elsewhere.parquet"))
    with pytest.raises(NodeFailed):
        Trial(world).run(small_job(world), "run-1")
    hidden.rename(table)
    for member in world.members:
        assert {state for _, _, state in entries_of(world, member)} == {"returned"}
    world.close()


def test_a_customers_value_in_an_error_never_reaches_the_coordinator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "Erika-Mustermann-4711"
    world = small_world(tmp_path)
    home = world.node(world.members[1])
    settings = (home / "node.toml").read_text().replace("parquet", "csv")
    (home / "node.toml").write_text(settings)
    rows = "customer,age,education,hours_per_week,income\n"
    rows += f"c1,30,{secret},40,>50K\n{secret},31,HS-grad,40,<=50K\n" * 200
    (home / "customers.csv").write_text(rows)
    received = bytearray()
    trial = Trial(world, wrap=lambda channel: Records(channel, received))
    with pytest.raises(NodeFailed) as failed:
        trial.run(small_job(world), "run-1")
    assert failed.value.fields["error"] == "schema_violated"
    assert len(received) > 100
    assert secret.encode() not in received
    assert secret not in caplog.text
    assert secret not in (home / "audit.log").read_text()
    world.close()


def test_shared_noise_trains_and_says_so(tmp_path: Path) -> None:
    world = small_world(tmp_path, members=4)
    job = small_job(world, trust="distributed", may_drop=1)
    outcome = Trial(world).run(job, "run-1")
    receipts = [json.loads(data)["receipt"] for data in outcome.receipts.values()]
    assert {receipt["trust"] for receipt in receipts} == {"distributed"}
    assert {release["event"]["shares"] for r in receipts for release in r["releases"]} == {2}
    world.close()


def test_a_ledger_restored_from_a_backup_is_refused(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    home = world.node(world.members[0])
    Trial(world).run(small_job(world), "run-1")
    world.close()
    backup = {path: path.read_bytes() for path in home.glob("node.db*")}
    Trial(world).run(small_job(world, name="again"), "run-2")
    world.close()
    for path in home.glob("node.db*"):
        path.unlink()
    for path, data in backup.items():
        path.write_bytes(data)
    with pytest.raises(StoreRolledBack):
        node_at(home)
    # Nor where somebody without the key sees to it that the log's steps are not known as such.
    log = home / "audit.log"
    first, *middle, last = log.read_bytes().splitlines(keepends=True)
    renamed = [line.replace(b'"kind":"', b'"kind":"x') for line in middle]
    log.write_bytes(b"".join([first, *renamed, last]))
    with pytest.raises(AuditBroken) as broken:
        node_at(home)
    assert broken.value.fields["record"] == 2


def test_what_a_vanished_coordinator_left_reserved_can_be_given_back(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    trial = Trial(world, wrap=lambda channel: StopsAt(channel, 3, after=True))
    with pytest.raises(Stopped):
        trial.run(small_job(world), "run-1")
    world.close()
    done = CliRunner().invoke(app, ["ledger", "give-back", "run-1", "--home", str(tmp_path)])
    assert done.exit_code == 0, done.output
    states = [state for _, _, state in entries_of(world, world.members[0])]
    assert states == ["spent", "returned", "returned"]
    # The run cannot go on: what was given back is not sent after all.
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(small_job(world), "run-1")
    assert failed.value.fields["error"] == "reservation_closed"
    world.close()


def test_a_ledger_copied_before_its_commits_counts_them_and_ends_their_run(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    home = world.node(world.members[0])
    trial = Trial(world, wrap=lambda channel: StopsAt(channel, 2, after=True))
    with pytest.raises(Stopped):
        trial.run(small_job(world), "run-1")
    world.close()
    backup = {path: path.read_bytes() for path in home.glob("node.db*")}
    again = Trial(world, wrap=lambda channel: StopsAt(channel, 3, after=True))
    with pytest.raises(Stopped):
        again.run(small_job(world), "run-1")
    world.close()
    for path in home.glob("node.db*"):
        path.unlink()
    for path, data in backup.items():
        path.write_bytes(data)
    # The copy has the first release as planned; the log knows that it may have left.
    states = [state for _, _, state in entries_of(world, world.members[0])]
    assert states == ["spent", "planned", "planned"]
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(small_job(world), "run-1")
    assert failed.value.fields["error"] == "run_not_open"
    world.close()


def test_shared_noise_does_not_open_with_more_missing_than_it_was_sized_for(
    tmp_path: Path,
) -> None:
    lose = {"lose": lambda node, message: node == 4 and b"mask/0" in _payload(message)}
    for may_drop, opens in ((0, False), (1, True)):
        world = small_world(tmp_path / str(may_drop), members=4)
        job = small_job(world, trust="distributed", may_drop=may_drop)
        trial = Trial(world, SHORT, grid=lose)
        if opens:
            assert trial.run(job, "run-1").rounds == ROUNDS
        else:
            with pytest.raises(RunRefused) as refused:
                trial.run(job, "run-1")
            assert refused.value.fields["rule"] == "too_few_members"
        world.close()


def test_a_member_lost_before_it_dealt_shares_is_left_out_of_the_run(tmp_path: Path) -> None:
    world = small_world(tmp_path, members=4)
    lose = {"lose": lambda node, message: node == 4 and b"shares" in _payload(message)}
    outcome = Trial(world, SHORT, grid=lose).run(small_job(world), "run-1")
    assert outcome.rounds == ROUNDS
    assert {state for _, _, state in entries_of(world, world.members[0])} == {"spent"}
    assert {state for _, _, state in entries_of(world, world.members[3])} == {"returned"}
    world.close()


def test_a_run_without_releases_claims_no_protection(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    coordinator = open_coordinator(world.coordinator)
    trial = Trial(world, wrap=lambda channel: StopsAt(channel, 2, after=True))
    with pytest.raises(Stopped):
        trial.run(small_job(world), "run-1")
    close = CloseRequest(outcome="abandoned", model=b"", heads={})
    member = world.members[0]
    envelope = Envelope(
        coordinator.contract.hash, "run-1", "close", "coordinator", member, close.to_bytes()
    )
    node = node_at(world.node(member))
    answer = parse_envelope(node.handle(sign_message(envelope, coordinator.identity)))
    signed = CloseReply.from_bytes(answer.body).receipt
    receipt = verify_receipt(signed, node.home.directory[member], member)
    assert (receipt.masked, receipt.noised, receipt.releases) == (False, False, ())
    world.close()


def test_a_log_that_is_gone_while_its_ledger_is_not_is_noticed(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    Trial(world).run(small_job(world), "run-1")
    world.close()
    home = world.node(world.members[0])
    (home / "audit.log").unlink()
    with pytest.raises(AuditCut):
        node_at(home)
    assert not (home / "audit.log").exists()


def test_a_restored_store_votes_no_second_time(tmp_path: Path) -> None:
    """A copy made between mask and vote of a sum, put back after the vote."""
    world = small_world(tmp_path)
    home = world.node(world.members[0])
    for exchange, keep in ((3, True), (4, False)):
        trial = Trial(world, wrap=lambda channel, n=exchange: StopsAt(channel, n, after=True))
        with pytest.raises(Stopped):
            trial.run(small_job(world), "run-1")
        world.close()
        if keep:
            backup = {path: path.read_bytes() for path in home.glob("node.db*")}
    for path in home.glob("node.db*"):
        path.unlink()
    for path, data in backup.items():
        path.write_bytes(data)
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(small_job(world), "run-1")
    assert failed.value.fields["error"] == "run_not_open"
    world.close()


def test_a_log_cut_behind_the_store_is_noticed(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    home = world.node(world.members[0])
    Trial(world).run(small_job(world), "run-1")
    world.close()
    log = home / "audit.log"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(AuditCut):
        node_at(home)


def test_a_run_closes_after_another_that_began_later(tmp_path: Path) -> None:
    world = small_world(tmp_path, cap=20.0)
    trial = Trial(world, wrap=lambda channel: StopsAt(channel, EXCHANGES, after=False))
    with pytest.raises(Stopped):
        trial.run(small_job(world), "run-1")
    Trial(world).run(small_job(world, name="other"), "run-2")
    outcome = Trial(world).run(small_job(world), "run-1")
    assert set(outcome.receipts) == set(world.members)
    world.close()


def test_a_table_below_the_minimum_audience_is_refused(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    table = world.node(world.members[1]) / "customers.parquet"
    pl.read_parquet(table).head(99).write_parquet(table)
    with pytest.raises(RunRefused) as refused:
        Trial(world).run(small_job(world), "run-1")
    assert refused.value.fields["rule"] == "audience_too_small"
    world.close()
