"""From nothing to a joined node: one command a step and role, and what each refuses."""

import json
import re
import socket
import stat
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from fedmkt.cli.commands import app
from fedmkt.contract.collaboration import Dataset
from fedmkt.contract.membership import Invitation, MemberCard, Rotation
from fedmkt.contract.revocation import check_not_revoked
from fedmkt.coordinator.home import open_coordinator
from fedmkt.core.errors import CardInvalid, FedmktError, KeyLocked, MemberRevoked, SettingInvalid
from fedmkt.deployment import key_rotation
from fedmkt.deployment.importing import dataset_draft, guess_table
from fedmkt.deployment.joining import read_card, read_draft
from fedmkt.deployment.link_keys import public_link_key
from fedmkt.deployment.plan import Layout, ProcessStatus, Status
from fedmkt.node.home import open_home
from fedmkt.node.settings import read_settings
from fedmkt.storage.contract_files import read_revocations
from fedmkt.storage.key_file import find_passphrase, read_key
from fedmkt.storage.pending_change import settle, stage

PASSPHRASE = "correct horse battery staple"
DATASET = """
name = "prospects"
population = "customers"
holders = ["bank"]
modes = ["local"]
minimum_audience = 100

[uses]
prospecting = ["bank"]

[table]
customer_key = "customer"
target_positive = "true"

[[table.columns]]
name = "age"
kind = "number"
bounds = [0, 120]

[[table.columns]]
name = "buys"
kind = "boolean"
use = "target"
"""


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("FEDMKT_PASSPHRASE_FILE", str(file))
    monkeypatch.chdir(tmp_path)


def ran(*words: str) -> Result:
    """Run a command that must succeed."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result


def failed(*words: str) -> FedmktError:
    """Run a command that must fail with a named error; return it."""
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, FedmktError), (words, result.output, result.exception)
    assert PASSPHRASE not in str(result.exception)
    return result.exception


@pytest.fixture
def walked(tmp_path: Path) -> Path:
    """Everybody made a home and signed one contract, and the coordinator adopted it."""
    ran("coordinator", "init", "hub", "--host", "127.0.0.1")
    for member in ("bank", "retailer"):
        ran("node", "init", member, "--member", member)
        dataset = DATASET.replace('["bank"]\nmodes', f'["{member}"]\nmodes')
        (tmp_path / member / "datasets" / "prospects.toml").write_text(dataset)
        ran("node", "card", member)
    ran(
        "contract", "draft", "--coordinator", "hub/member.json",
        "--member", "bank/member.json", "--member", "retailer/member.json",
    )  # fmt: skip
    for home in ("hub", "bank", "retailer"):
        assert CliRunner().invoke(app, ["contract", "verify", "collaboration.toml"]).exit_code == 1
        ran("contract", "sign", "collaboration.toml", "--home", home, "--yes")
    ran("contract", "verify", "collaboration.toml")
    ran("coordinator", "adopt", "hub", "collaboration.toml")
    ran("coordinator", "invite", "hub", "bank")
    return tmp_path


def test_the_whole_walk_ends_in_homes_that_open(walked: Path) -> None:
    ran("node", "join", "bank", "bank.invitation.json")
    home = open_home(walked / "bank")
    assert home.member == "bank"
    assert home.settings.link is not None
    assert home.settings.link.address == "127.0.0.1:9443"
    dataset = home.contract.dataset("prospects")
    assert dataset is not None
    assert dataset.holders == ("bank", "retailer")
    home.close()
    assert open_coordinator(walked / "hub").contract.hash == home.contract_hash


def test_private_keys_are_encrypted_and_readable_by_their_owner_alone(walked: Path) -> None:
    for home in ("hub", "bank", "retailer"):
        key = walked / home / "identity.key"
        assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        for path in (
            key,
            *(walked / home).glob("link.key"),
            *(walked / home / "tls").glob("*.key"),
        ):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_no_private_key_is_in_what_is_handed_out(walked: Path) -> None:
    secret = read_key(walked / "bank" / "identity.key").export_secret().hex()
    for path in ("bank/member.json", "bank.invitation.json", "collaboration.toml"):
        text = (walked / path).read_text()
        assert "PRIVATE" not in text
        assert secret not in text


def test_a_key_is_opened_by_its_passphrase_alone(
    walked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = walked / "bank" / "identity.key"
    with pytest.raises(KeyLocked, match="wrong") as wrong:
        read_key(key, b"another passphrase")
    assert "another passphrase" not in str(wrong.value)
    (walked / "passphrase").chmod(0o644)
    with pytest.raises(SettingInvalid, match="chmod 600"):
        read_key(key)
    monkeypatch.delenv("FEDMKT_PASSPHRASE_FILE")
    with pytest.raises(KeyLocked, match="no passphrase"):
        read_key(key)
    monkeypatch.setenv("FEDMKT_PASSPHRASE", PASSPHRASE)
    assert read_key(key).public.hex == json.loads((walked / "bank/member.json").read_text())["key"]


def test_a_short_passphrase_makes_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "passphrase").write_text("short")
    for words in (("node", "init", "new", "--member", "new"),
                  ("coordinator", "init", "new", "--host", "127.0.0.1")):  # fmt: skip
        assert failed(*words).code == "setting_invalid"
        assert not (tmp_path / "new").exists()
    assert find_passphrase(tmp_path / "x") == b"short"


def test_a_home_that_is_there_is_never_made_again(walked: Path) -> None:
    before = (walked / "bank" / "identity.key").read_bytes()
    assert "never overwritten" in str(failed("node", "init", "bank", "--member", "bank"))
    assert "never overwritten" in str(failed("coordinator", "init", "hub", "--host", "x.example"))
    assert (walked / "bank" / "identity.key").read_bytes() == before


def changed(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("fields", [{"name": "other"}, {"key": "1" * 64}, {"link_key": "x"}])
def test_a_card_that_was_changed_is_refused(walked: Path, fields: dict[str, object]) -> None:
    changed(walked / "retailer" / "member.json", **fields)
    words = ["--coordinator", "hub/member.json", "--member", "retailer/member.json", "-o", "c.toml"]
    assert failed("contract", "draft", *words).code == "card_invalid"
    assert not (walked / "c.toml").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"address": "evil.example:9443"},
        {"certificate": "-----BEGIN CERTIFICATE-----"},
        {"member": "retailer"},
        {"expires": "2099-01-01T00:00:00Z"},
        {"signature": "0" * 128},
    ],
)
def test_an_invitation_that_was_changed_is_refused_and_nothing_is_written(
    walked: Path, fields: dict[str, object]
) -> None:
    changed(walked / "bank.invitation.json", **fields)
    before = (walked / "bank" / "node.toml").read_text()
    assert failed("node", "join", "bank", "bank.invitation.json").code == "invitation_invalid"
    assert (walked / "bank" / "node.toml").read_text() == before
    assert not (walked / "bank" / "collaboration.toml").exists()
    assert not (walked / "bank" / "tls").exists()


def test_an_invitation_of_another_member_or_of_yesterday_is_refused(walked: Path) -> None:
    assert "it is for bank" in str(failed("node", "join", "retailer", "bank.invitation.json"))
    hub = read_key(walked / "hub" / "identity.key")
    text = (walked / "bank.invitation.json").read_text()
    old = Invitation.model_validate_json(text).model_copy(
        update={"expires": "2020-01-01T00:00:00Z"}
    )
    old = Invitation.model_validate_json(old.model_dump_json(warnings=False)).signed(hub)
    (walked / "old.json").write_text(old.model_dump_json())
    assert "expired" in str(failed("node", "join", "bank", "old.json"))


def test_a_contract_changed_after_a_signature_is_not_signed(walked: Path) -> None:
    file = walked / "collaboration.toml"
    file.write_text(file.read_text().replace("lifetime_epsilon = 8.0", "lifetime_epsilon = 80.0"))
    result = CliRunner().invoke(app, ["contract", "verify", "collaboration.toml"])
    assert result.exit_code == 1
    assert result.output.count("not signed") == 3
    assert failed("coordinator", "adopt", "hub", "collaboration.toml").code == "contract_unsigned"


def test_what_is_signed_is_shown_first_and_a_no_signs_nothing(walked: Path) -> None:
    (walked / "collaboration.signatures.json").unlink()
    words = ["contract", "sign", "collaboration.toml", "--home", "bank"]
    told = CliRunner().invoke(app, words, input="n\n")
    assert told.exit_code == 1
    for said in ("bank, retailer", "prospecting, when asked for by bank", "epsilon 8 for life"):
        assert said in told.output
    assert not (walked / "collaboration.signatures.json").exists()


def test_a_home_the_contract_does_not_name_cannot_sign(walked: Path) -> None:
    ran("node", "init", "stranger", "--member", "stranger")
    words = ["contract", "sign", "collaboration.toml", "--home", "stranger", "--yes"]
    assert "names nobody with the key" in str(failed(*words))


def test_a_node_without_an_invitation_says_what_to_do(walked: Path) -> None:
    assert "fedmkt node join" in str(failed("node", "run", "retailer"))


def test_whoever_admits_a_member_is_told_to_start_the_coordinator_anew(walked: Path) -> None:
    told = ran("coordinator", "admit", "hub", "bank/member.json").output
    assert (walked / "hub" / "members" / "bank.pub").exists()
    assert "where it runs already, end it first" in told


def test_fingerprints_are_short_and_follow_the_card(walked: Path) -> None:
    card = MemberCard.model_validate_json((walked / "bank" / "member.json").read_text())
    assert re.fullmatch(r"([0-9a-f]{4} ){7}[0-9a-f]{4}", card.fingerprint)
    assert card.model_copy(update={"name": "b"}).fingerprint != card.fingerprint


# --- keys -------------------------------------------------------------------------------------


def test_another_passphrase_leaves_the_key_as_it_is(walked: Path) -> None:
    before = read_key(walked / "bank" / "identity.key").public.hex
    file = walked / "new"
    file.write_text("another good passphrase")
    file.chmod(0o600)
    ran("keys", "encrypt", "bank", "--new-passphrase", "new")
    with pytest.raises(KeyLocked):
        read_key(walked / "bank" / "identity.key")
    assert read_key(walked / "bank" / "identity.key", file.read_bytes()).public.hex == before


def test_a_rotated_key_is_vouched_for_by_the_old_one(walked: Path) -> None:
    old = read_key(walked / "bank" / "identity.key").public.hex
    old_link = public_link_key(walked / "bank" / "link.key")
    # The environment's passphrase stays in use, and that is said.
    assert "under the passphrase of the old one" in ran("keys", "rotate", "bank").output
    new = read_key(walked / "bank" / "identity.key").public.hex
    assert new != old
    statement = Rotation.model_validate_json((walked / "bank" / "rotation-1.json").read_text())
    statement.verify()
    assert (statement.old, statement.new) == (old, new)
    with pytest.raises(CardInvalid):
        statement.model_copy(update={"new": "1" * 64}).verify()
    assert read_key(walked / "bank" / "identity.key.old-1").public.hex == old
    card = read_card(walked / "bank" / "member.json")
    assert card.link_key == public_link_key(walked / "bank" / "link.key") != old_link
    # Until the contract names it, the new key is nobody's.
    assert failed("node", "join", "bank", "bank.invitation.json").code == "invitation_invalid"


def test_a_rotation_while_another_is_under_way_is_refused_and_no_key_is_lost(
    walked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = []

    def also_asked(*given: Any) -> None:
        refusals.append(failed("keys", "rotate", "hub"))
        stage(*given)

    first = read_key(walked / "hub" / "identity.key").public
    monkeypatch.setattr(key_rotation, "stage", also_asked)
    ran("keys", "rotate", "hub")
    assert ["by another command" in str(one) for one in refusals] == [True]
    present = read_key(walked / "hub" / "identity.key").public
    statement = Rotation.model_validate_json((walked / "hub" / "rotation-1.json").read_text())
    assert (statement.old, statement.new) == (first.hex, present.hex)
    assert not (walked / "hub" / "rotation-2.json").exists()
    monkeypatch.setattr(key_rotation, "stage", stage)
    ran("keys", "rotate", "hub")


def test_a_rotation_that_another_command_brings_to_its_end_is_done(
    walked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_key(walked / "hub" / "identity.key").public

    def late(home: Path) -> bool:
        read_key(home / "identity.key")  # as a node that starts does
        return settle(home)

    monkeypatch.setattr(key_rotation, "settle", late)
    ran("keys", "rotate", "hub")
    assert read_key(walked / "hub" / "identity.key").public != first


@pytest.mark.parametrize("in_service", [False, True])
def test_a_new_contract_takes_a_rotated_key_to_a_home_that_opens(
    walked: Path, in_service: bool
) -> None:
    if in_service:
        ran("node", "join", "bank", "bank.invitation.json")
        open_home(walked / "bank").close()
    ran("keys", "rotate", "bank")
    cards = ["--member", "bank/member.json", "--member", "retailer/member.json"]
    (walked / "next").mkdir()
    file = "next/collaboration.toml"
    words = ["contract", "draft", "--coordinator", "hub/member.json", *cards, "-o", file]
    assert "no rotation vouches" in str(failed(*words, "--home", "hub"))
    assert "give --home too" in str(failed(*words, "--rotation", "bank/rotation-1.json"))
    ran(*words, "--home", "hub", "--rotation", "bank/rotation-1.json")
    for home in ("hub", "bank", "retailer"):
        ran("contract", "sign", file, "--home", home, "--yes")
    ran("coordinator", "adopt", "hub", file)
    ran("coordinator", "invite", "hub", "bank")
    ran("node", "join", "bank", "bank.invitation.json")
    open_home(walked / "bank").close()
    verified = ran("audit", "verify", "bank/audit.log", "--key", "bank/audit.pub").output
    assert ("key changed at record 2" in verified) == in_service


def test_a_new_draft_says_what_it_says_otherwise_than_the_contract_before(walked: Path) -> None:
    cards = ["--member", "bank/member.json", "--member", "retailer/member.json"]
    words = ["contract", "draft", "--coordinator", "hub/member.json", *cards, "--home", "hub"]
    (walked / "collaboration.toml").rename(walked / "before.toml")
    assert "churn" not in ran(*words, "-o", "same.toml").output
    told = ran(*words, "--purpose", "churn", "-o", "other.toml").output
    assert re.search(r"now: .*churn", told), told
    assert re.search(r"before: ", told), told


def test_a_check_says_whose_key_is_revoked_here(walked: Path) -> None:
    ran("node", "join", "bank", "bank.invitation.json")
    checked = CliRunner().invoke(app, ["node", "check", "bank"]).output
    assert re.search(r"ok +revocations: none", checked), checked
    ran("contract", "revoke", "retailer", "--home", "bank", "--yes")
    checked = CliRunner().invoke(app, ["node", "check", "bank"]).output
    assert re.search(r"fail +revocations: retailer; no run", checked), checked


def test_a_coordinator_does_not_start_on_a_port_that_is_taken_or_twice(walked: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = walked / "hub" / "coordinator.toml"
        settings.write_text(re.sub(r"(?m)^port = .*", f"port = {port}", settings.read_text()))
        assert f"port {port}" in str(failed("coordinator", "run", "hub"))
    own = psutil.Process()
    running = ProcessStatus(name="supervisor", state="up", pid=own.pid, started=own.create_time())
    status = Status(supervisor=running, at=datetime.now(UTC))
    Layout(walked / "hub").write_status(status)
    assert "runs already" in str(failed("coordinator", "run", "hub"))


def test_the_environments_passphrase_is_not_taken_for_a_new_one(walked: Path) -> None:
    before = (walked / "bank" / "identity.key").read_bytes()
    assert failed("keys", "encrypt", "bank").code == "key_locked"
    assert (walked / "bank" / "identity.key").read_bytes() == before


def test_another_passphrase_opens_the_authority_too(
    walked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("coordinator", "renew", "hub")
    (walked / "new").write_text("another good passphrase")
    (walked / "new").chmod(0o600)
    ran("keys", "encrypt", "hub", "--new-passphrase", "new")
    assert failed("coordinator", "renew", "hub").code == "key_locked"
    monkeypatch.setenv("FEDMKT_PASSPHRASE_FILE", str(walked / "new"))
    ran("coordinator", "renew", "hub")


@pytest.mark.parametrize("failing", ["ca.key", "identity.key"])
def test_a_home_has_one_passphrase_whatever_file_could_not_be_written(
    walked: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    (walked / "new").write_text("another good passphrase")
    (walked / "new").chmod(0o600)
    replace = Path.replace

    def refused(self: Path, target: Path) -> Path:
        if target in (Path("hub", failing), Path("hub", "tls", failing)):
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as full:
        full.setattr(Path, "replace", refused)
        told = failed("keys", "encrypt", "hub", "--new-passphrase", "new")
        assert told.code == "output_unwritable"
    # What was cut short is carried out when a key is next read.
    assert failed("coordinator", "renew", "hub").code == "key_locked"
    monkeypatch.setenv("FEDMKT_PASSPHRASE_FILE", str(walked / "new"))
    read_key(walked / "hub" / "identity.key")
    ran("coordinator", "renew", "hub")


def test_a_coordinators_authority_takes_the_passphrase_of_its_rotated_key(
    walked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (walked / "new").write_text("another good passphrase")
    (walked / "new").chmod(0o600)
    told = ran("keys", "rotate", "hub", "--new-passphrase", "new").output
    assert "under the passphrase of the old one" not in told
    assert failed("coordinator", "renew", "hub").code == "key_locked"
    monkeypatch.setenv("FEDMKT_PASSPHRASE_FILE", str(walked / "new"))
    ran("coordinator", "renew", "hub")
    read_key(walked / "hub" / "identity.key")


# --- revoking ---------------------------------------------------------------------------------


def test_a_key_is_revoked_by_others_and_only_of_the_contracts_members(walked: Path) -> None:
    told = ran("contract", "revoke", "bank", "--home", "hub", "--yes").output
    assert "end at this home before their next exchange" in told
    contract = open_coordinator(walked / "hub").contract
    with pytest.raises(MemberRevoked, match="revoked by coordinator"):
        check_not_revoked(contract, read_revocations(walked / "hub"), ["bank"])
    check_not_revoked(contract, read_revocations(walked / "hub"), ["retailer"])
    words = ["contract", "revoke", "--home", "hub", "--yes"]
    assert "no member stranger" in str(failed(*words, "stranger"))
    assert "nobody revokes itself" in str(failed(*words, "coordinator"))
    (kept,) = (walked / "hub" / "revocations").iterdir()
    assert kept.name.startswith("bank.")
    assert kept.name.endswith(".coordinator.json")
    assert read_revocations(walked / "bank") == ()


# --- nothing half made ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("node", "init", "new", "--member", 'a"b'),
        ("node", "init", "new", "--member", "../bank"),
        ("coordinator", "init", "new", "--host", "a host"),
        ("coordinator", "init", "new", "--host", "hub.example", "--name", "a/b"),
        ("coordinator", "init", "new", "--host", "hub.example", "--control-port", "9443"),
        ("coordinator", "init", "new", "--host", "hub.example", "--certificate", "nowhere",
         "--key", "nowhere"),
        ("coordinator", "init", "new", "--host", "hub.example", "--certificate", "passphrase",
         "--key", "passphrase"),
    ],
)  # fmt: skip
def test_a_home_that_cannot_be_made_is_not_begun(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert failed(*words).code in ("setting_invalid", "file_missing")
    assert not (tmp_path / "new").exists()


def test_settings_that_are_there_are_no_place_for_a_new_home(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "node.toml").write_text('member = "mine"')
    assert "a home is there already" in str(failed("node", "init", "new", "--member", "new"))
    assert (tmp_path / "new" / "node.toml").read_text() == 'member = "mine"'


def test_a_join_that_fails_half_way_leaves_the_home_as_it_was(
    walked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held() -> dict[str, bytes]:
        files = (path for path in (walked / "bank").rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    before, replace = held(), Path.replace

    def refused(self: Path, target: Path) -> Path:
        if target.name == "collaboration.signatures.json":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refused)
    assert failed("node", "join", "bank", "bank.invitation.json").code == "output_unwritable"
    assert held() == before


# --- the draft --------------------------------------------------------------------------------

CARDS = ("--coordinator", "hub/member.json", "--member", "bank/member.json",
         "--member", "retailer/member.json", "-o", "draft.toml")  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("minimum_audience = 100", "minimum_audience = 5000", "minimum_audience"),
        ('modes = ["local"]', 'modes = ["distributed"]', "modes"),
        ('population = "customers"', 'population = "drivers"', "population"),
        ("bounds = [0, 120]", "bounds = [0, 99]", "table"),
    ],
)
def test_a_draft_drops_no_members_terms(walked: Path, old: str, new: str, named: str) -> None:
    file = walked / "retailer" / "datasets" / "prospects.toml"
    file.write_text(file.read_text().replace(old, new))
    ran("node", "card", "retailer")
    assert f"retailer's {named} differs" in str(failed("contract", "draft", *CARDS))
    assert not (walked / "draft.toml").exists()


def test_a_draft_holds_what_each_member_would_be_asked_for(walked: Path) -> None:
    file = walked / "retailer" / "datasets" / "prospects.toml"
    file.write_text(file.read_text().replace('["bank"]\n\n[table]', '["retailer"]\n\n[table]'))
    ran("node", "card", "retailer")
    ran("contract", "draft", *CARDS)
    drafted = read_draft(walked / "draft.toml").dataset("prospects")
    assert drafted is not None
    assert drafted.uses == {"prospecting": ("bank", "retailer")}


def test_purposes_that_are_given_take_the_place_of_the_cards(walked: Path) -> None:
    ran("contract", "draft", *CARDS, "--purpose", "lookalike", "--purpose", "churn")
    drafted = read_draft(walked / "draft.toml").dataset("prospects")
    assert drafted is not None
    both = ("bank", "retailer")
    assert drafted.uses == {"lookalike": both, "churn": both}
    assert failed("contract", "draft", *CARDS[:-1], "x", "--purpose", "a/b").code == (
        "contract_invalid"
    )


def test_the_optional_parts_of_a_draft_hold_when_their_comment_is_taken_away(walked: Path) -> None:
    ran("contract", "draft", *CARDS)
    text = (walked / "draft.toml").read_text()
    plain = re.sub(r"^# (\[\[caps|\w+ = )", r"\1", text, flags=re.M)
    (walked / "draft.toml").write_text(plain)
    assert len(read_draft(walked / "draft.toml").caps) == 2


# --- the commands -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        *(("node", name) for name in ("init", "card", "join", "run")),
        *(("coordinator", name) for name in ("init", "adopt", "admit", "run", "invite", "renew")),
        *(("contract", name) for name in ("draft", "sign", "verify", "revoke", "heed")),
        *(("keys", name) for name in ("encrypt", "rotate")),
    ],
    ids=" ".join,
)
def test_every_commands_help_has_an_example(words: tuple[str, ...]) -> None:
    told = " ".join(ran(*words, "--help").output.replace("│", " ").split())
    assert f"Example: fedmkt {' '.join(words)} " in told


def test_no_secret_is_in_what_the_commands_print(walked: Path) -> None:
    told = [
        ran(*words).output
        for words in (
            ("node", "join", "bank", "bank.invitation.json"),
            ("node", "init", "new", "--member", "new"),
            ("coordinator", "init", "new-hub", "--host", "127.0.0.1", "--port", "9555"),
            ("contract", "sign", "collaboration.toml", "--home", "bank", "--yes"),
            ("coordinator", "invite", "hub", "retailer"),
            ("coordinator", "renew", "hub"),
            ("keys", "rotate", "retailer"),
        )
    ]
    keys = [read_key(walked / home / "identity.key") for home in ("hub", "bank", "new", "retailer")]
    for secret in (PASSPHRASE, "PRIVATE KEY", *(key.export_secret().hex() for key in keys)):
        assert all(secret not in text for text in told)


# --- the node's table, and whether all is ready -----------------------------------------------


def table(rows: int = 200) -> str:
    lines = ["Kunden-ID;Alter;Einkommen;Region;Kunde seit;Notiz;kauft"]
    for row in range(rows):
        region = ("Nord", "Süd")[row % 2] if row else "Atlantis"
        income = f"{1000 + row},{row % 100:02d}"
        day, note = f"2020-01-{row % 28 + 1:02d}", f"note {row}"
        lines.append(f"K{row:04d};{18 + row % 60};{income};{region};{day};{note};{row % 2}")
    return "\n".join(lines) + "\n"


def test_a_table_is_imported_by_guesses_that_tell_no_rare_or_extreme_value(walked: Path) -> None:
    (walked / "own.csv").write_text(table())
    ran("node", "init", "shop", "--member", "shop")
    told = ran("node", "import", "shop", "own.csv", "--target", "kauft").output
    assert "separator ;, decimal commas; customer key Kunden-ID" in told
    drafted = Dataset.model_validate(
        tomllib.loads((walked / "shop" / "datasets" / "prospects.toml").read_text())
    )
    kinds = {column.name: column.kind for column in drafted.table.columns}
    assert kinds == {
        "Alter": "integer", "Einkommen": "number", "Region": "category", "kauft": "boolean"
    }  # fmt: skip
    assert drafted.table.column("Region").categories == ("Nord", "Süd")
    assert "Atlantis" not in (walked / "shop" / "datasets" / "prospects.toml").read_text()
    # The greatest age is 77 and the greatest income 1199.99: round numbers stand for them.
    assert drafted.table.column("Alter").bounds == (0.0, 100.0)
    assert drafted.table.column("Einkommen").bounds == (0.0, 2000.0)
    settings = read_settings(walked / "shop" / "node.toml")
    assert settings.datasets["prospects"].separator == ";"
    assert settings.datasets["prospects"].decimal_comma
    again = failed("node", "import", "shop", "own.csv")
    assert "is there already" in str(again)


def answers(*counts: tuple[str, int]) -> str:
    told = [answer for answer, count in counts for _ in range(count)]
    return "id,answer\n" + "".join(f"{row},{answer}\n" for row, answer in enumerate(told))


@pytest.mark.parametrize(("no", "yes", "positive"), [(40, 20, "yes"), (20, 40, "no")])
def test_the_rarer_of_a_targets_two_values_counts(
    tmp_path: Path, no: int, yes: int, positive: str
) -> None:
    (tmp_path / "own.csv").write_text(answers(("no", no), ("yes", yes)))
    draft = guess_table(tmp_path / "own.csv")
    text = dataset_draft(
        draft, name="d", population="p", holder="bank", purpose="churn", target="answer"
    )
    assert Dataset.model_validate(tomllib.loads(text)).table.target_positive == positive


@pytest.mark.parametrize(
    ("least", "greatest", "bounds"),
    [(1, 99, (0, 100)), (1, 100, (0, 200)), (-100, 50, (-200, 100)), (-20, 0, (-50, 0))],
)
@pytest.mark.parametrize("few", [[], [3_100_000] * 19, [-3_100_000] * 19])
def test_no_drafted_bound_but_0_is_a_value_of_the_table_or_follows_a_few_rows(
    tmp_path: Path, least: int, greatest: int, bounds: tuple[int, int], few: list[int]
) -> None:
    # Those few are part of the twenty on their side.
    low, high = 20 - sum(one < 0 for one in few), 20 - sum(one > 0 for one in few)
    values = [*[least] * low, (least + greatest) // 2, *[greatest] * high, *few]
    lines = "".join(f"{row},{value}\n" for row, value in enumerate(values))
    (tmp_path / "own.csv").write_text(f"id,points\n{lines}")
    (column,) = guess_table(tmp_path / "own.csv").columns
    assert column.bounds == bounds


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("own.xlsx", "x", "its ending is none of"),
        ("own.csv", "a,b\n1,1\n1,1\n", "no column has a different value in each row"),
        ("own.csv", answers(("no", 40), ("open", 20), ("yes", 20)), "more than two values"),
    ],
)
def test_a_table_that_cannot_be_imported_is_refused_by_name(
    walked: Path, name: str, text: str, said: str
) -> None:
    (walked / name).write_text(text)
    before = (walked / "bank" / "node.toml").read_text()
    words = ("node", "import", "bank", name, "--dataset", "other", "--target", "answer")
    assert said in str(failed(*words))
    assert (walked / "bank" / "node.toml").read_text() == before


def test_a_check_before_anything_is_ready_says_what_to_do(walked: Path) -> None:
    told = CliRunner().invoke(app, ["node", "check", "retailer"])
    assert told.exit_code == 1
    assert "fedmkt node join" in told.output
    ran("node", "join", "bank", "bank.invitation.json")
    told = CliRunner().invoke(app, ["node", "check", "bank"])
    assert told.exit_code == 1
    for said in ("ok   contract", "fail reachability", "ok   ledger", "ok   key", "fail data"):
        assert said in told.output, told.output
