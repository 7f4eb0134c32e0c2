"""A node in service gets another key: what hangs on it comes along, whole or not at all."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from end_to_end import killed_rotation
from end_to_end.shared_trial import check_logs
from end_to_end.shared_world import (
    FINE,
    OWNER,
    alignment_job,
    copied,
    home_of,
    parties_of,
    run,
    scoring_job,
    terms_for,
    training_job,
    world_of,
)

from fedmkt.contract.collaboration import Collaboration, Member
from fedmkt.contract.membership import MemberCard, Rotation
from fedmkt.contract.signatures import directory_of, sign_contract
from fedmkt.core.clock import SystemClock
from fedmkt.core.errors import AuditBroken, CardInvalid, ContractInvalid, SettingInvalid
from fedmkt.deployment import key_rotation
from fedmkt.deployment.key_rotation import rotate_key
from fedmkt.evidence.receipts import verify_receipt
from fedmkt.identity.hash_chain import verify_chain
from fedmkt.identity.keys import Identity
from fedmkt.node.home import AUDIT_FILE, CLOSED, audit_records, open_home
from fedmkt.privacy.accounts import accounts_for
from fedmkt.privacy.events import NonPrivateEvent, Release
from fedmkt.privacy.ledger import Reservation
from fedmkt.simulation.vertical_partition import PURPOSE
from fedmkt.simulation.world import World
from fedmkt.storage.audit_log import AuditLog
from fedmkt.storage.contract_files import read_contract, write_contract
from fedmkt.storage.key_file import PASSPHRASE, read_key
from fedmkt.storage.pending_change import settle

WORDS = "correct horse battery staple"
ROTATED = "retailer"
PARTNERS = (ROTATED, "map_provider")
SETTINGS = FINE.model_copy(update={"rounds": 1, "max_bins": 8})


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, WORDS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, bytes]]]:
    """Three members that aligned and trained, with the receipts of the training."""
    parties = {m: p for m, p in parties_of(500).items() if m in (OWNER, *PARTNERS)}
    world = world_of(tmp_path_factory.mktemp("trained"), parties, terms_for(parties, noised=False))
    run(world, alignment_job(PARTNERS), "alignment")
    job = training_job(parties, PARTNERS, mode="shared_labels", settings=SETTINGS)
    receipts = dict(run(world, job, "training").receipts)
    home = world.node(ROTATED)
    identity = read_key(home / "identity.key")
    card = MemberCard(name=ROTATED, key=identity.public.hex).signed(identity)
    (home / "member.json").write_text(card.model_dump_json())
    yield world, receipts
    world.close()


@pytest.fixture
def world(trained: tuple[World, dict[str, bytes]], tmp_path: Path) -> Iterator[World]:
    made = copied(trained[0], tmp_path / "world")
    yield made
    made.close()


def rotate(world: World) -> tuple[Path, Path]:
    """Rotate the key, first in clear, later encrypted."""
    home = world.node(ROTATED)
    in_clear = not (home / "identity.key").read_bytes().startswith(b"-----BEGIN")
    return rotate_key(home, None if in_clear else WORDS.encode(), WORDS.encode())


def agreed_anew(world: World) -> Collaboration:
    """Have everybody sign a contract with the keys that they have now."""
    homes = {member: world.node(member) for member in world.members}
    homes["coordinator"] = world.coordinator
    keys = {name: read_key(home / "identity.key") for name, home in homes.items()}
    members = tuple(Member(name=name, key=keys[name].public.hex) for name in world.members)
    contract = read_contract(world.coordinator).model_copy(update={"members": members})
    signatures = {name: sign_contract(contract, key) for name, key in keys.items()}
    for home in homes.values():
        write_contract(home, contract, signatures)
    return contract


def test_a_node_goes_on_under_its_new_key_with_what_it_had(
    world: World, trained: tuple[World, dict[str, bytes]]
) -> None:
    before = read_contract(world.coordinator)
    statement, _ = rotate(world)
    word = Rotation.model_validate_json(statement.read_text())
    word.verify()
    assert word.old == before.key_of(ROTATED)
    with pytest.raises(ContractInvalid):
        open_home(world.node(ROTATED))  # until a contract names the new key
    contract = agreed_anew(world)
    assert contract.key_of(ROTATED) == word.new
    # The alignment, its table's fingerprint and the part of the model were made under the old key.
    outcome = run(world, scoring_job("training", PARTNERS), "scoring")
    directory = directory_of(contract)
    for member, receipt in outcome.receipts.items():
        verify_receipt(receipt, directory[member], member)
    for member, receipt in trained[1].items():
        verify_receipt(receipt, directory_of(before)[member], member)
    check_logs(world)


def test_a_key_may_be_rotated_again_before_and_after_a_contract_names_it(world: World) -> None:
    rotate(world)
    rotate(world)
    agreed_anew(world)
    run(world, scoring_job("training", PARTNERS), "first")
    world.close()
    rotate(world)
    agreed_anew(world)
    run(world, scoring_job("training", PARTNERS), "second")
    home = home_of(world, ROTATED)
    with (home.folder / AUDIT_FILE).open("rb") as lines:
        verified = verify_chain(lines, home.identity.public, home.audit.head, "log")
    assert len(verified.rotations) == 3
    assert len([*home.folder.glob("identity.key.old-*")]) == 3


def test_runs_that_are_open_end_and_give_back(world: World) -> None:
    home = open_home(world.node(ROTATED))
    dataset = next(one for one in home.contract.datasets if ROTATED in one.holders)
    asked = (Release(0, "sum", NonPrivateEvent(dimensions=1)),)
    with home.store.transaction() as tx:
        home.ledger.open_accounts(tx, accounts_for(home.contract, dataset))
        home.ledger.reserve(tx, Reservation("open", "job", dataset.name, PURPOSE, OWNER, asked))
        home.runs.save(tx, "open", b"sealed under the old key")
    home.close()
    rotate(world)
    agreed_anew(world)
    home = open_home(world.node(ROTATED))
    with home.store.transaction() as tx:
        assert [entry.state for entry in home.ledger.entries(tx, "open")] == ["returned"]
        assert home.runs.load(tx, "open") == CLOSED
    home.close()
    last = audit_records(world.node(ROTATED) / AUDIT_FILE)[-1]
    assert (last["kind"], last["facts"]) == ("given_back", {"run": "open", "releases": 1})


def test_what_the_log_says_has_left_is_spent_by_a_rotation_not_given_back(world: World) -> None:
    home = open_home(world.node(ROTATED))
    dataset = next(one for one in home.contract.datasets if ROTATED in one.holders)
    asked = tuple(Release(place, "sum", NonPrivateEvent(dimensions=1)) for place in (0, 1))
    with home.store.transaction() as tx:
        home.ledger.open_accounts(tx, accounts_for(home.contract, dataset))
        home.ledger.reserve(tx, Reservation("open", "job", dataset.name, PURPOSE, OWNER, asked))
        home.runs.save(tx, "open", b"sealed under the old key")
    # Stopped between the record and the reply.
    home.audit.append("released", {"run": "open", "step": "mask/0", "releases": [0]})
    home.close()
    rotate(world)
    agreed_anew(world)
    home = open_home(world.node(ROTATED))
    with home.store.transaction() as tx:
        entries = home.ledger.entries(tx, "open")
    assert {entry.release: entry.state for entry in entries} == {0: "spent", 1: "returned"}
    home.close()


def test_a_card_of_another_key_changes_nothing(world: World) -> None:
    home, other = world.node(ROTATED), Identity.generate()
    card = MemberCard(name=ROTATED, key=other.public.hex).signed(other)
    (home / "member.json").write_text(card.model_dump_json())
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(CardInvalid, match="not this key's"):
        rotate(world)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_the_old_key_opens_nothing_of_the_home_any_more(world: World) -> None:
    _, kept = rotate(world)
    old = read_key(kept)
    with pytest.raises(AuditBroken):
        open_home(world.node(ROTATED), identity=old)


def test_a_node_that_still_runs_writes_nothing_more_to_its_log(world: World) -> None:
    running = open_home(world.node(ROTATED))
    rotate(world)
    before = (world.node(ROTATED) / AUDIT_FILE).read_bytes()
    with pytest.raises(AuditBroken):
        running.audit.append("closed", {"run": "late"})
    assert (world.node(ROTATED) / AUDIT_FILE).read_bytes() == before
    running.close()


def test_a_log_that_went_on_meanwhile_keeps_the_key_it_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = world.node(ROTATED)
    old = read_key(home / "identity.key")

    def late(folder: Path) -> bool:
        running = AuditLog(folder / AUDIT_FILE, old, SystemClock())
        running.append("closed", {"run": "late"})
        running.close()
        return settle(folder)

    monkeypatch.setattr(key_rotation, "settle", late)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(SettingInvalid, match="stop the node, then rotate again"):
        rotate(world)
    after = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    changed = {path.name for path in after if before.get(path) != after[path]}
    assert changed <= {AUDIT_FILE, "node.db", "node.db-wal", "node.db-shm"}
    opened = open_home(home)
    assert opened.identity.public == old.public
    opened.close()


def test_killed_at_any_step_a_home_opens_whole_with_the_old_or_the_new_key(
    world: World, tmp_path: Path
) -> None:
    script = str(Path(killed_rotation.__file__))
    world.close()
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, script, str(world.node(ROTATED)), str(work)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    # Before the change is staged the key is the old one, from then on the new one.
    assert told["old"] > 10, told
    assert told["new"] > 10, told
    assert [*work.iterdir()] == []


def test_a_short_passphrase_changes_nothing(world: World) -> None:
    home = world.node(ROTATED)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(SettingInvalid):
        rotate_key(home, None, b"short")
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
