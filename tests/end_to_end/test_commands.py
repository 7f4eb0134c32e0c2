"""The command line answers mistakes with exit code 2, a stable code and what to do next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        (("data", "check", "nowhere.csv", "--schema", "adult"), "file_missing"),
        (("data", "check", "table.xlsx", "--schema", "adult"), "setting_invalid"),
        (("data", "check", "empty.csv", "--schema", "adult"), "column_missing"),
        (("demo", "--out", "a-file"), "setting_invalid"),
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


def test_help_is_there_for_every_command(tmp_path: Path) -> None:
    groups = ((), ("demo",), ("data", "check"), ("ledger", "explain"), ("node", "dry-run"))
    for group in groups:
        done = fedmkt(*group, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert "Usage" in done.stdout
