"""The command line answers mistakes with exit code 2, a stable code and what to do next."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from end_to_end.shared_world import overlap_job, parties_of, terms_for, world_of
from end_to_end.small_world import small_job, small_world

from fedmkt.cli.main import main
from fedmkt.core.clock import SystemClock
from fedmkt.identity.hash_chain import Head
from fedmkt.identity.keys import Identity
from fedmkt.storage.audit_log import AuditLog

JOB = """
name = "job"
requester = "bank"
purpose = "prospecting"
dataset = "prospects"
members = ["bank", "map_provider", "retailer"]
target = "income"
features = ["age"]
[privacy]
trust = "local"
epsilon = {epsilon}
noise_multiplier = 5.0
"""


def fedmkt(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("fedmkt")), *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("epsilon", ["0", "-1.0", "nan", "1e-320", "inf"])
def test_an_epsilon_that_bounds_nothing_is_a_mistake(tmp_path: Path, epsilon: str) -> None:
    (tmp_path / "job.toml").write_text(JOB.format(epsilon=epsilon))
    done = fedmkt("node", "dry-run", "job.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "job_invalid" in done.stderr
    assert "privacy.epsilon" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("node", "dry-run", "nowhere.toml"), "file_missing"),
        (("ledger", "explain", "run-1"), "file_missing"),
        (("ledger", "show", "--home", "nowhere"), "file_missing"),
        (("audit", "verify", "nowhere.log", "--key", "00"), "file_missing"),
        (("audit", "verify", "a-file", "--key", "nowhere.pub"), "file_missing"),
        (("audit", "verify", "a-file", "--key", "2" * 64, "--head", "nowhere"), "file_missing"),
        (("audit", "verify", "a-file", "--key", "2" * 64, "--head", "1:00"), "setting_invalid"),
        (("data", "check", "nowhere.csv", "--schema", "adult"), "file_missing"),
        (("data", "check", "table.xlsx", "--schema", "adult"), "setting_invalid"),
        (("data", "check", "empty.csv", "--schema", "adult"), "column_missing"),
        (("data", "check", "empty.csv", "--schema", "adlt"), "file_missing"),
        (("data", "check", ".", "--schema", "adult"), "file_missing"),
        (("demo", "--out", "a-file"), "setting_invalid"),
        (("demo", "horizontal", "--out", "a-file"), "setting_invalid"),
        (("result", "alignment", "run-1"), "file_missing"),
        (("result", "value", "run-1"), "file_missing"),
        (("demo", "--out", "a-file/below"), "output_unwritable"),
        (("demo", "--out", "/proc/nowhere"), "output_unwritable"),
        (("node", "dry-run", "utf-16.toml"), "setting_invalid"),
        (("ledger", "show", "--home", "latin-1"), "setting_invalid"),
    ],
)
def test_a_mistake_ends_with_2_and_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    (tmp_path / "a-file").write_text("")
    (tmp_path / "empty.csv").write_text("a,b\n")
    (tmp_path / "table.xlsx").write_text("")
    (tmp_path / "utf-16.toml").write_text(JOB.format(epsilon=1.0), encoding="utf-16")
    (tmp_path / "latin-1").mkdir()
    (tmp_path / "latin-1" / "node.toml").write_text('member = "Müller"', encoding="latin-1")
    done = fedmkt(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(code)
    assert "Traceback" not in done.stderr


SCHEMA = """
customer_key = "customer"
target_positive = "yes"
freshness_column = "seen"
[[columns]]
name = "age"
kind = "integer"
bounds = [18, 90]
[[columns]]
name = "bought"
kind = "category"
use = "target"
categories = ["no", "yes"]
"""
SECRET = "Frieda-Musterfrau-4711"


def check(folder: Path, table: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "table.csv").write_text(table)
    (folder / "schema.toml").write_text(SCHEMA)
    done = fedmkt("data", "check", "table.csv", "--schema", "schema.toml", *options, cwd=folder)
    assert SECRET not in done.stdout + done.stderr
    return done


def rows(*, age: int = 30, seen: str = f"{datetime.now(UTC):%Y-%m-%d}") -> str:
    lines = (f"c{number},{age},{'yes' if number % 2 else 'no'},{seen}" for number in range(50))
    return "\n".join(["customer,age,bought,seen", *lines]) + "\n"


def test_data_check_judges_freshness_and_names_the_form_of_a_date(tmp_path: Path) -> None:
    good = check(tmp_path, rows())
    assert good.returncode == 0, good.stderr
    assert "freshness" in good.stdout
    assert "not asked" not in good.stdout
    bad = check(tmp_path, rows(seen="31.01.2026"))
    assert bad.returncode == 2
    assert "50 of them without a date YYYY-MM-DD (rows: 50)" in bad.stdout


def test_data_check_refuses_a_table_without_its_freshness_column(tmp_path: Path) -> None:
    done = check(tmp_path, f"customer,age,bought\n{SECRET},30,yes\n")
    assert done.stderr.startswith("column_missing")
    assert "lacks seen" in done.stderr


def test_data_check_counts_what_it_tolerates_and_what_fails(tmp_path: Path) -> None:
    done = check(
        tmp_path, rows(age=99) + f"c1,30,no,{datetime.now(UTC):%Y-%m-%d}\n", "--floor", "0"
    )
    assert done.returncode == 0, done.stderr
    assert "fails: age: outside bounds, clamped (rows: 50)" in done.stdout
    assert "fails: customers: duplicate customer (rows: 1)" in done.stdout


def test_data_check_names_its_own_options_for_columns_that_are_missing(tmp_path: Path) -> None:
    done = check(tmp_path, f"customer;age;bought;seen\n{SECRET};30;yes;2026-01-31\n")
    assert "lacks customer, age, bought, seen. Columns it has: 1" in done.stderr
    assert "--separator" in done.stderr
    assert "--rename" in done.stderr
    assert "node.toml" not in done.stderr


@pytest.fixture
def log(tmp_path: Path) -> list[Head]:
    """Write audit.log and audit.pub, and return the head after each record."""
    audit = AuditLog(tmp_path / "audit.log", Identity.generate(), SystemClock())
    heads = [audit.head, audit.append("closed", {}), audit.append("closed", {})]
    audit.close()
    return heads


def verify(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return fedmkt("audit", "verify", "audit.log", "--key", "audit.pub", *options, cwd=folder)


def test_a_log_is_verified_against_the_head_in_another_members_receipt(
    tmp_path: Path, log: list[Head]
) -> None:
    heads = {"bank": str(log[1]), "retailer": f"1:{'0' * 64}"}
    receipt = {"receipt": {"heads": heads}, "signature": ""}
    (tmp_path / "receipt.json").write_text(json.dumps(receipt))
    options = ("--head", "receipt.json", "--member")
    assert verify(tmp_path, *options, "bank").returncode == 0
    assert verify(tmp_path, *options, "retailer").stderr.startswith("audit_cut")
    for unnamed in (verify(tmp_path, *options[:2]), verify(tmp_path, *options, "nobody")):
        assert unnamed.returncode == 2
        assert "bank, retailer; --member" in unnamed.stderr


def test_another_members_key_is_said_to_be_one(tmp_path: Path, log: list[Head]) -> None:
    (tmp_path / "audit.pub").write_text(Identity.generate().public.hex)
    done = verify(tmp_path)
    assert done.returncode == 1
    assert "another member's key, or an altered record" in done.stderr


def test_half_a_line_at_the_end_is_told_apart_from_an_altered_log(
    tmp_path: Path, log: list[Head]
) -> None:
    whole = (tmp_path / "audit.log").read_bytes()
    (tmp_path / "audit.log").write_bytes(whole[:-20])
    done = verify(tmp_path)
    assert done.returncode == 0
    assert "2 records" in done.stdout
    assert "The last line is incomplete" in done.stdout
    assert verify(tmp_path, "--head", str(log[2])).stderr.startswith("audit_cut")


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (PermissionError(13, "Permission denied", "given/file"), 2, "(given/file): Permission"),
        (OSError(28, "No space left on device", "/elsewhere"), 1, "(/elsewhere): No space"),
        (OSError(5, "Input/output error"), 1, "(no path known): Input/output error"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept"),
    ],
)
def test_what_the_system_or_the_user_stops_is_said_in_one_line(
    raised: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(home: Path | None) -> None:
        raise raised

    monkeypatch.setattr("fedmkt.cli.ledger.opened", stop)
    monkeypatch.setattr("sys.argv", ["fedmkt", "ledger", "show", "--home", "given"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code
    assert words in capsys.readouterr().err


def test_fedmkt_alone_shows_its_help(tmp_path: Path) -> None:
    done = fedmkt(cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_a_misspelt_command_is_answered_with_one_suggestion(tmp_path: Path) -> None:
    done = fedmkt("ledger", "shwo", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("Did you mean 'show'?") == 1


def test_help_is_there_for_every_command(tmp_path: Path) -> None:
    groups = ((), ("demo",), ("data", "check"), ("ledger", "explain"), ("node", "dry-run"))
    for group in groups:
        done = fedmkt(*group, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_the_help_of_demo_tells_of_both_stories_and_knows_no_other(tmp_path: Path) -> None:
    said = fedmkt("demo", "--help", cwd=tmp_path).stdout
    for words in ("[vertical|horizontal]", "STORY is vertical", "or horizontal", "both run"):
        assert words in said
    other = fedmkt("demo", "diagonal", cwd=tmp_path)
    assert other.returncode == 2
    assert "'vertical', 'horizontal'" in other.stderr


@pytest.fixture
def demonstrations(tmp_path: Path) -> Path:
    """Lay out both stories' nodes and a job of each, as `fedmkt demo` does; nothing was run."""
    horizontal = small_world(tmp_path / "fedmkt-demo" / "horizontal")
    horizontal.order(small_job(horizontal, name="prospects"), "prospects")
    parties = parties_of(200)
    vertical = world_of(tmp_path / "fedmkt-demo" / "vertical", parties, terms_for(parties))
    vertical.order(overlap_job(), "overlap")
    return tmp_path


def test_without_a_home_the_nodes_of_both_stories_are_asked(demonstrations: Path) -> None:
    done = fedmkt("ledger", "show", cwd=demonstrations)
    assert done.returncode == 0, done.stderr
    titles = {line.strip() for line in done.stdout.splitlines()}
    for story in ("vertical", "horizontal"):
        nodes = demonstrations / "fedmkt-demo" / story / "nodes"
        assert {path.name for path in nodes.iterdir()} <= titles


@pytest.mark.parametrize(
    ("job", "members"),
    [("overlap", ["bank", "retailer"]), ("prospects", ["member-0", "member-1", "member-2"])],
)
def test_a_job_named_alone_is_that_of_its_story_and_asks_its_members(
    job: str, members: list[str], demonstrations: Path
) -> None:
    done = fedmkt("node", "dry-run", job, cwd=demonstrations)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.endswith(f": job {job}")]
    assert said == [f"{member}: job {job}" for member in members]
    assert done.stdout.count("would leave this node:") == len(members)
    assert "costs: epsilon" in done.stdout


@pytest.mark.parametrize("module", ["coordinator", "keys", "node_commands", "contract"])
def test_the_commands_that_make_homes_load_no_flower(module: str) -> None:
    look = f"import sys, fedmkt.cli.{module}; sys.exit('flwr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look]).returncode == 0
