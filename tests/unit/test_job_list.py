"""`fedmkt job list` shows what the other commands take, also on a narrow terminal."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fedmkt.cli import job as command


def test_the_name_of_a_run_and_its_code_are_whole_on_80_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, code = "bank-and-retailer-1", "budget_exceeded"
    one = SimpleNamespace(
        run=run,
        job=SimpleNamespace(name="bank-and-retailer", kind="vertical"),
        state="finished",
        code=code,
        events=(),
    )
    monkeypatch.setattr(command, "deployment", lambda _home: None)
    monkeypatch.setattr("fedmkt.deployment.jobs.standings", lambda _layout: (one,))
    said = CliRunner(env={"COLUMNS": "80"}).invoke(command.app, ["list"]).stdout
    assert run in said
    assert code in said
    assert "…" not in said
