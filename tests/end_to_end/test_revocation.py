"""A member's key that is revoked in the middle of a run ends it, wherever the statement lies."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from end_to_end.small_world import Quiet, Trial, small_job, small_world

from fedmkt.contract.revocation import Revocation, revoked_members
from fedmkt.core.errors import MemberRevoked, NodeFailed, RevocationInvalid, RunRefused
from fedmkt.deployment.key_changes import heed, revoke
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.home import AUDIT_FILE, audit_records, open_home
from fedmkt.simulation.world import World
from fedmkt.storage.contract_files import read_contract, read_revocations
from fedmkt.storage.key_file import read_key

LOST, WITNESS = "member-1", "member-2"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@dataclass
class AfterRound(Quiet):
    """Does something once the first round is done."""

    home: Path
    member: str = LOST

    def finished_round(self, number: int, rounds: int, model: AdditiveModel) -> None:
        if number == 1:
            revoke(self.home, self.member, now=datetime.now(UTC))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return small_world(tmp_path)


def states(world: World, member: str, run: str) -> list[str]:
    home = open_home(world.node(member))
    with home.store.transaction() as tx:
        found = [entry.state for entry in home.ledger.entries(tx, run)]
    home.close()
    return found


def test_the_coordinator_ends_a_run_whose_member_is_revoked_and_nodes_give_back(
    world: World,
) -> None:
    trial = Trial(world, watcher=AfterRound(world.coordinator))
    with pytest.raises(MemberRevoked, match=LOST):
        trial.run(small_job(world), "run-1")
    for member in world.members:
        found = states(world, member, "run-1")
        assert set(found) == {"spent", "returned"}, "a sum that was sent is spent, no other is"
    with pytest.raises(MemberRevoked, match=LOST):
        trial.run(small_job(world), "run-2")
    assert states(world, LOST, "run-2") == [], "no node was asked"


def test_a_node_that_was_told_refuses_the_next_step_under_its_rule(world: World) -> None:
    trial = Trial(world, watcher=AfterRound(world.node(WITNESS)))
    with pytest.raises(RunRefused, match=f"{WITNESS} refused .* under rule member_revoked"):
        trial.run(small_job(world), "run-1")
    records = audit_records(world.node(WITNESS) / AUDIT_FILE)
    refused = [one["facts"] for one in records if one["kind"] == "refused"]
    assert [one["code"] for one in refused] == ["member_revoked"]
    assert LOST in refused[0]["reason"]
    assert set(states(world, WITNESS, "run-1")) == {"spent", "returned"}


def test_a_node_that_was_told_opens_no_run_of_the_revoked_member(world: World) -> None:
    revoke(world.node(WITNESS), LOST, now=datetime.now(UTC))
    with pytest.raises(RunRefused, match="member_revoked"):
        Trial(world).run(small_job(world), "run-1")
    assert states(world, WITNESS, "run-1") == []


def test_a_node_opens_no_run_that_a_revoked_requester_asks_for(tmp_path: Path) -> None:
    world = small_world(tmp_path, members=4)
    requester, *others = world.members
    job = small_job(world).model_copy(update={"members": tuple(others)})
    assert job.requester == requester
    revoke(world.node(WITNESS), requester, now=NOW)
    with pytest.raises(RunRefused, match="member_revoked"):
        Trial(world).run(job, "run-1")
    assert states(world, WITNESS, "run-1") == []


def test_a_node_answers_nothing_that_a_revoked_coordinator_signs(world: World) -> None:
    trial = Trial(
        world,
        watcher=AfterRound(world.node(WITNESS), read_contract(world.coordinator).coordinator.name),
    )
    with pytest.raises(RunRefused, match="member_revoked"):
        trial.run(small_job(world), "run-1")
    assert "returned" not in states(world, WITNESS, "run-1"), "it is not even told the end"


def test_a_statement_is_heeded_only_if_another_party_signed_it(
    world: World, tmp_path: Path
) -> None:
    file, statement = revoke(world.coordinator, LOST, now=datetime.now(UTC))
    assert heed(world.node(WITNESS), file) == statement
    file.unlink()
    with pytest.raises(RunRefused, match="member_revoked"):
        Trial(world).run(small_job(world), "run-1")
    forged = statement_of(world, "coordinator", WITNESS).model_copy(update={"by": LOST})
    (tmp_path / "forged.json").write_text(forged.model_dump_json())
    with pytest.raises(RevocationInvalid, match="not signed by"):
        heed(world.node("member-0"), tmp_path / "forged.json")
    assert not (world.node("member-0") / "revocations").exists()


def statement_of(world: World, by: str, member: str, key: str | None = None) -> Revocation:
    contract = read_contract(world.coordinator)
    key = key or contract.key_of(member)
    folder = world.coordinator if by == contract.coordinator.name else world.node(by)
    made = Revocation.model_validate(
        {"contract": contract.name, "member": member, "key": key, "by": by, "at": NOW}
    )
    return made.signed(read_key(folder / "identity.key"))


def told(home: Path, statement: Revocation, folder: Path) -> None:
    """Hand a statement to a home's keeper, who takes it."""
    file = folder / "statement.json"
    file.write_text(statement.model_dump_json())
    heed(home, file)


def test_no_statement_puts_another_out(world: World, tmp_path: Path) -> None:
    revoke(world.coordinator, LOST, now=NOW)
    told(world.coordinator, statement_of(world, WITNESS, LOST), tmp_path)
    with pytest.raises(RevocationInvalid, match="another key"):
        told(world.coordinator, statement_of(world, WITNESS, LOST, "ab" * 32), tmp_path)
    with pytest.raises(MemberRevoked, match=LOST):
        Trial(world).run(small_job(world), "run-1")
    kept = {(one.member, one.by) for one in read_revocations(world.coordinator)}
    assert kept == {(LOST, "coordinator"), (LOST, WITNESS)}


def test_a_statement_that_is_there_is_not_written_over(world: World, tmp_path: Path) -> None:
    file, statement = revoke(world.coordinator, LOST, now=NOW)
    before = file.read_bytes()
    later = statement.model_copy(update={"at": NOW + timedelta(days=1)})
    told(world.coordinator, later.signed(read_key(world.coordinator / "identity.key")), tmp_path)
    assert file.read_bytes() == before
    assert len(read_revocations(world.coordinator)) == 1


def revoked_at(home: Path) -> frozenset[str]:
    return revoked_members(read_contract(home), read_revocations(home))


@pytest.mark.parametrize("victim", ["coordinator", "member-0"])
def test_a_key_that_was_revoked_at_a_home_revokes_nobody_there(
    world: World, tmp_path: Path, victim: str
) -> None:
    home = world.node(WITNESS)
    told(home, statement_of(world, "coordinator", LOST), tmp_path)
    with pytest.raises(RevocationInvalid, match=f"{LOST}, who signed it, was itself revoked"):
        told(home, statement_of(world, LOST, victim), tmp_path)
    assert revoked_at(home) == {LOST}


def test_of_two_that_revoke_each_other_a_home_believes_whom_it_heard_first_until_told_otherwise(
    world: World, tmp_path: Path
) -> None:
    home = world.node(WITNESS)
    told(home, statement_of(world, LOST, "member-0"), tmp_path)
    with pytest.raises(RevocationInvalid, match=f"revoked here by {LOST}"):
        told(home, statement_of(world, "member-0", LOST), tmp_path)
    told(home, statement_of(world, "coordinator", LOST), tmp_path)
    assert revoked_at(home) == {LOST, "member-0"}, "what it said before stays"
    (said,) = (home / "revocations").glob(f"member-0.*.{LOST}.json")
    said.unlink()
    told(home, statement_of(world, "member-0", LOST), tmp_path)
    assert revoked_at(home) == {LOST}


def test_a_home_says_its_own_word_whoever_revoked_it_there(world: World, tmp_path: Path) -> None:
    home = world.node(WITNESS)
    told(home, statement_of(world, LOST, WITNESS), tmp_path)
    revoke(home, LOST, now=NOW)
    assert revoked_at(home) == {LOST, WITNESS}


def test_a_statement_that_does_not_hold_stops_a_node_rather_than_being_passed_over(
    world: World,
) -> None:
    file, statement = revoke(world.node(WITNESS), LOST, now=datetime.now(UTC))
    spoiled = statement.model_copy(update={"at": datetime.now(UTC) + timedelta(days=1)})
    file.write_text(spoiled.model_dump_json())
    with pytest.raises(NodeFailed, match="revocation_invalid"):
        Trial(world).run(small_job(world), "run-1")
    assert states(world, WITNESS, "run-1") == []
