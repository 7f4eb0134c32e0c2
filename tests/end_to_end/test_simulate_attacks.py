"""Every attack runs as a scenario, and meets its defence off and on in one run."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import fedmkt
from fedmkt.cli.commands import app
from fedmkt.core.errors import ResultsOfAnother
from fedmkt.simulation.scenario import attack_run

POISONED = {"partners": 5, "hostile": 1, "rows_each": 150, "test_rows": 800, "rounds": 3}
RULES = {"rules": ["Krum"]}
SPLIT = {"customers": 600, "known": 100, "rounds": 3, "local_steps": 4}
TINY: dict[str, dict[str, Any]] = {
    "membership": {"customers": 80, "models": 12, "steps": 20, "width": 32},
    "canaries": {"customers": 50, "canaries": 120, "steps": 20},
    "gradient_inversion": {"batches": 4, "rows": 1},
    "update_inspection": {"rows": 300},
    "collusion": {"partners": 3, "rows": 200},
    "label_inference": SPLIT,
    "feature_inversion": SPLIT | {"columns": ["relationship"]},
    "label_flips": POISONED | RULES,
    "turned_updates": POISONED | RULES,
    "backdoor": POISONED | RULES | {"scale": 5.0},
    "free_riders": POISONED | RULES,
}
COLUMNS = ["name", "defence", "figure", "unit", "value", "low", "high", "chance"]


def scenario(kind: str, seeds: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
    return {"name": "tiny", "seeds": list(seeds), "attack": {"kind": kind, **TINY[kind]}}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[pl.DataFrame, Path]]:
    folders = {kind: tmp_path_factory.mktemp(kind) / "out" for kind in TINY}
    return {
        kind: (fedmkt.simulate(scenario(kind), out=folder), folder)
        for kind, folder in folders.items()
    }


def main_figure(table: pl.DataFrame, role: str) -> float:
    """Return the first figure's mean over seeds, of the last defence with this role."""
    rows = table.filter(pl.col("figure") == table["figure"][0], pl.col("role") == role)
    last = rows.filter(pl.col("defence") == rows["defence"][-1])
    return float(last["value"].to_numpy().mean())


@pytest.mark.parametrize(
    "kind",
    [
        "membership",
        "canaries",
        "gradient_inversion",
        "collusion",
        "label_inference",
        "feature_inversion",
        "turned_updates",
        "backdoor",
    ],
)
def test_an_attack_does_more_with_its_defence_off_than_on(found, kind) -> None:
    table, _ = found[kind]
    assert main_figure(table, "off") > main_figure(table, "on") + 0.01


def test_inspection_reads_partners_nearer_the_truth_with_its_defence_off(found) -> None:
    table, _ = found["update_inspection"]  # its figure is a distance: less is more of an attack
    assert main_figure(table, "off") < 1e-6
    assert main_figure(table, "on") > 0.1


@pytest.mark.parametrize("kind", ["label_flips", "free_riders"])
def test_one_of_five_partners_that_flips_labels_or_rides_free_does_little_harm(found, kind) -> None:
    table, _ = found[kind]
    assert abs(main_figure(table, "off")) < 0.05


def test_masks_alone_leave_rows_readable_and_noise_alone_hides_them(found) -> None:
    table, _ = found["gradient_inversion"]
    of = dict(table.group_by("defence").agg(pl.col("value").mean()).iter_rows())
    assert of["noise off"] > 0.5 > of["masks off"]


def test_noise_and_random_labels_each_take_from_what_gradients_tell_of_labels(found) -> None:
    table, _ = found["label_inference"]
    main = table.filter(pl.col("figure") == table["figure"][0])
    of = dict(
        main.group_by("defence").agg(pl.col("value").mean()).select("defence", "value").rows()
    )
    off, on = of["random labels, noise and clipping off"], of["all on"]
    assert off > 0.99
    assert on < min(of["noise off"], of["random labels off"])
    assert max(of["noise off"], of["random labels off"]) < off


@pytest.mark.parametrize("kind", TINY)
def test_a_row_a_seed_defence_and_figure(found, kind) -> None:
    table, folder = found[kind]
    assert [name for name in table.columns if name in COLUMNS] == COLUMNS
    assert not table.select("seed", "defence", "figure").is_duplicated().any()
    assert set(table["seed"]) == {1, 2}
    assert {"off", "on"} <= set(table["role"])
    # An interval without an upper limit has none; all others stand around their value.
    assert (table["low"] <= table["value"]).all()
    assert (table["high"].fill_null(1e9) >= table["value"]).all()
    assert pl.read_parquet(folder / "results.parquet").equals(table)


@pytest.mark.parametrize("kind", TINY)
def test_the_page_has_each_defence_with_its_interval_and_the_picture(found, kind) -> None:
    table, folder = found[kind]
    page = (folder / "report.html").read_text()
    for defence in set(table["defence"]):
        assert f'<th scope="row">{defence}</th>' in page
    for figure in set(table["figure"]) - {"trainings that diverged"}:
        assert figure[1:] in page.replace("&#39;", "'")
    assert re.search(r"<td class=\"n\">-?\d\.\d{3} (to -?\d\.\d{3}|and above)</td>", page)
    assert "<svg " in page
    assert not re.search(r"(src|href)=\"http", page)
    picture = (folder / "picture.svg").read_text()
    assert picture.startswith('<svg xmlns="http://www.w3.org/2000/svg" ')


def test_the_same_seed_gives_the_same_bytes_with_two_workers(found, tmp_path) -> None:
    kind = "collusion"  # masks are drawn anew each time, and are in no figure
    fedmkt.simulate(scenario(kind), out=tmp_path, workers=2)
    for name in ("results.parquet", "report.html", "picture.svg"):
        assert (tmp_path / name).read_bytes() == (found[kind][1] / name).read_bytes()


def test_finished_seeds_are_not_run_again(found, monkeypatch) -> None:
    _, folder = found["update_inspection"]
    ran = []
    real = attack_run.carry_out_attack

    def counted(trial, results):
        ran.append(trial.seed)
        return real(trial, results)

    monkeypatch.setattr(attack_run, "carry_out_attack", counted)
    fedmkt.simulate(scenario("update_inspection", (1, 2, 3)), out=folder)
    assert ran == [3]
    with pytest.raises(ResultsOfAnother):
        fedmkt.simulate(scenario("collusion"), out=folder)


def test_the_command_runs_a_bundled_attack_and_says_the_figure_of_each_defence(tmp_path) -> None:
    told = CliRunner().invoke(
        app, ["simulate", "attack-collusion", "--out", str(tmp_path), "--workers", "1"]
    )
    assert told.exit_code == 0, told.output
    assert "1.000 with masks and noise off, 0.000 with all on" in told.output
    assert "noise off, all but one collude" in told.output


def test_list_and_explain_tell_of_attacks() -> None:
    listed = CliRunner().invoke(app, ["simulate", "--list"]).output
    assert "attack-membership" in listed
    assert "gradient_inversion" in listed
    explained = CliRunner().invoke(app, ["simulate", "--explain", "attack.models"]).output
    assert "attack.kind = membership" in explained


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_bundled_attacks_do_more_with_their_defence_off(kind, tmp_path) -> None:
    table = fedmkt.simulate(f"attack-{kind.replace('_', '-')}", out=tmp_path)
    off, on = main_figure(table, "off"), main_figure(table, "on")
    if kind in ("label_flips", "free_riders"):
        assert abs(off) < 0.02  # three of ten such partners spoil next to nothing
    else:
        assert (on > off) == (kind == "update_inspection")
