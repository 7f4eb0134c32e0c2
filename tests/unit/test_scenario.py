"""A scenario is read whole or refused with its file, its place and the nearest right key."""

import subprocess
import sys
from dataclasses import replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fedmkt.cli.simulate import simulate
from fedmkt.core.errors import (
    FileMissing,
    PartitionImpossible,
    ScenarioInvalid,
    ScenarioPartMissing,
    SettingInvalid,
    UserError,
)
from fedmkt.data import bundled
from fedmkt.simulation.scenario import single, trials
from fedmkt.simulation.scenario.customers import read_customers
from fedmkt.simulation.scenario.data_parts import DataPart
from fedmkt.simulation.scenario.dealing import deal
from fedmkt.simulation.scenario.engine import checked_trials
from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.keys import all_keys, choices, explained, listed, nearest
from fedmkt.simulation.scenario.loading import (
    ATTACK,
    bundled_scenarios,
    load_scenario,
    parse_scenario,
    scenario_of,
)
from fedmkt.simulation.scenario.parts import PartitionPart
from fedmkt.simulation.scenario.schema import Scenario, Setting
from fedmkt.simulation.scenario.trials import expand, family_of
from fedmkt.simulation.world import COORDINATOR

SWEPT = """
name = "swept"
seeds = [1, 2]

[privacy]
trust = "local"

[sweep]
"privacy.epsilon" = [1, 3, 8]
model.rounds = [2, 4]
"""


def scenario(**values: Any) -> Scenario:
    return scenario_of({"name": "study", **values}, source="test")


def refused(text: str) -> str:
    with pytest.raises(ScenarioInvalid) as refusal:
        parse_scenario(text, source="study.toml")
    return str(refusal.value)


@pytest.mark.parametrize(
    ("line", "where", "wrong", "right"),
    [
        ("[partition]\npartnrs = 4", "line 3", "partition.partnrs", "partition.partners"),
        ("[model]\nmax_bin = 4", "line 3", "model.max_bin", "model.max_bins"),
        ("[privcy]\nepsilon = 1", "line 2", "privcy", "privacy"),
        ("epsilon = 1", "line 2", "epsilon", "privacy.epsilon"),
        ('[sweep]\n"privacy.epslion" = [1]', "line 3", "privacy.epslion", "privacy.epsilon"),
        ("[data.generator]\nrow = 900", "line 3", "data.generator.row", "data.generator.rows"),
    ],
)
def test_a_misspelt_key_names_its_line_and_the_nearest_right_one(
    line: str, where: str, wrong: str, right: str
) -> None:
    said = f"Scenario study.toml: {where}, unknown key {wrong} (did you mean {right}?)."
    assert said in refused(f'name = "study"\n{line}\n')


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[partition]\npartners = 1", "line 3, partition.partners: it must be at least 2"),
        ("[partition]\npartners = 10_001", "partition.partners: it must be at most 10000"),
        ('[partition]\nkind = "column"', "partition: kind = column needs either column or groups"),
        ('[data]\nkind = "file"', "data: kind = file needs path"),
        ('[privacy]\ntrust = "local"', "privacy: trust = local needs epsilon"),
        ("[privacy]\nepsilon = 1", "line 3, privacy.epsilon: it has no effect"),
        ('[model]\nfamily = "tree"', "model.family: it must be 'additive' or 'network'"),
        ("[partition]\nalpha = 1e-4", "line 3, partition.alpha: it must be at least 0.001"),
        ('[data]\nfeatures = ["age", "age"]', "data: features names a column twice"),
        ("[data.generator]\nnumbers = 0\nlevels = 0", "numbers and levels cannot both be 0"),
        (
            "[model]\nlearning_rate = 0.1",
            "line 3, model.learning_rate is a key of another model; say model.family = 'network'",
        ),
        (
            '[model]\nfamily = "network"\nridge = 1',
            "line 4, model.ridge is a key of another model; say model.family = 'additive'",
        ),
        ("seeds = [1, 1]", "seeds: seeds must differ"),
        ("seeds = []", "seeds: it needs 1 or more entries"),
        ('[sweep]\n"seeds" = [1]', "seeds cannot be swept over"),
        ('[sweep]\n"partition.partners" = [3, 3]', "partition.partners names a value twice"),
        ("[sweep", "it is not TOML"),
    ],
)
def test_an_impossible_value_is_refused_by_its_place(line: str, said: str) -> None:
    assert said in refused(f'name = "study"\n{line}\n')


def test_an_unknown_scenario_names_the_bundled_ones() -> None:
    with pytest.raises(FileMissing, match=r"bins, first, partners"):
        load_scenario(Path("frist"))


@pytest.mark.parametrize(
    "name", [name for name in bundled_scenarios() if not name.startswith(f"{ATTACK}-")]
)
def test_every_bundled_scenario_can_be_run(name: str) -> None:
    trials = expand(load_scenario(Path(name)))
    assert trials
    for trial in trials:
        family(trial.setting).check(trial.setting)


def test_the_sweep_is_the_product_of_values_and_seeds_the_first_key_slowest() -> None:
    trials = expand(parse_scenario(SWEPT, source="test"))
    expected = [(e, r, s) for e in (1, 3, 8) for r in (2, 4) for s in (1, 2)]
    seen = [
        (trial.swept["privacy.epsilon"], trial.swept["model.rounds"], trial.seed)
        for trial in trials
    ]
    assert seen == expected
    for trial in trials:
        assert trial.setting.privacy.epsilon == trial.swept["privacy.epsilon"]
        assert trial.setting.model.rounds == trial.swept["model.rounds"]
    assert len({trial.id for trial in trials}) == len(trials)


def test_a_combination_that_cannot_be_is_refused_before_any_runs() -> None:
    values = {"sweep": {"partition.partners": [3, 1]}}
    with pytest.raises(ScenarioInvalid, match=r"with partition.partners = 1: .* at least 2"):
        expand(scenario(**values))


@pytest.mark.parametrize(
    "sweep",
    [
        {"model.ridge": [1, 1.0]},
        {"model": [{"rounds": 2}, {"rounds": 3}], "model.rounds": [2, 3]},
        {"partition": [{}, {"partners": 3}]},
    ],
)
def test_two_combinations_that_are_one_setting_are_refused(sweep: dict[str, Any]) -> None:
    with pytest.raises(ScenarioInvalid, match="it is the same setting as with"):
        expand(scenario(sweep=sweep))


def test_no_two_trials_have_the_same_noise() -> None:
    trials = expand(parse_scenario(SWEPT, source="study.toml"))
    assert len({trial.run for trial in trials}) == len(trials) == 12


def test_an_id_stands_for_what_is_computed_and_not_for_the_name() -> None:
    one, renamed = scenario(), scenario_of({"name": "other"}, source="test")
    assert expand(one)[0].id == expand(renamed)[0].id
    for changed in ({"seeds": [2]}, {"model": {"rounds": 5}}, {"data": {"rows": 500}}):
        assert expand(scenario(**changed))[0].id != expand(one)[0].id


def test_an_id_stands_for_a_files_bytes_and_not_for_its_place(tmp_path: Path) -> None:
    ids = []
    for name, text in (("a.csv", "x,y\n1,0\n"), ("b.csv", "x,y\n1,0\n"), ("c.csv", "x,y\n1,1\n")):
        (tmp_path / name).write_text(text)
        data = {"kind": "file", "path": str(tmp_path / name), "target": "y"}
        ids.append(expand(scenario(data=data))[0].id)
    assert ids[0] == ids[1] != ids[2]


def test_more_seeds_and_values_leave_the_results_owner_as_it_was() -> None:
    few = scenario(privacy={"trust": "local"}, sweep={"privacy.epsilon": [1]})
    more = scenario(privacy={"trust": "local"}, sweep={"privacy.epsilon": [8, 1]}, seeds=[1, 2])
    assert family_of(few) == family_of(more)
    other = scenario(privacy={"trust": "local"}, sweep={"privacy.delta": [1e-5]} | {
        "privacy.epsilon": [1]})  # fmt: skip
    assert family_of(few) != family_of(other)


def test_the_order_of_swept_values_leaves_the_results_owner_as_it_was() -> None:
    for key, values in (("partition.partners", [3, 5]), ("model.family", ["additive", "network"])):
        one, turned = (scenario(sweep={key: order}) for order in (values, values[::-1]))
        assert family_of(one) == family_of(turned)


class _WiderPartition(PartitionPart):
    later: int = 0


class _Wider(Setting):
    partition: _WiderPartition = _WiderPartition()
    another: str = "usual"


def test_one_more_key_with_a_default_leaves_trials_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {"partition": {"partners": 4}, "model": {"rounds": 3}}
    before = expand(scenario(**values))[0]
    monkeypatch.setattr(trials, "Setting", _Wider)
    after = expand(scenario(**values))[0]
    assert (after.id, after.run) == (before.id, before.run)
    assert isinstance(after.setting, _Wider)


def test_families_that_share_all_their_stated_keys_are_told_apart() -> None:
    one, other = (scenario(model={"family": name, "rounds": 7}) for name in ("additive", "network"))
    assert expand(one)[0].run != expand(other)[0].run


def test_another_version_has_other_ids_and_folders_and_the_same_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = scenario()
    before, owner = expand(study)[0], family_of(study)
    monkeypatch.setattr(trials, "__version__", "another")
    after = expand(study)[0]
    assert after.run == before.run
    assert after.id != before.id
    assert family_of(study) != owner


def test_every_key_is_explained() -> None:
    for key in all_keys():
        assert key.meaning.endswith("."), key.name
        assert key.kind, key.name
        assert "value" not in key.kind.split(" or "), f"{key.name}: a type without words"
        assert explained(key.name), key.name
        assert nearest(key.name) == key.name


def test_a_section_is_explained_by_its_keys() -> None:
    assert {key.name for key in explained("link")} == {
        "link.mbit_s",
        "link.latency_ms",
        "link.compute_s",
    }
    assert explained("lnk") == ()
    assert choices("partition.kind")[:2] == ("iid", "column")


def test_ranges_and_defaults_are_those_of_the_schema() -> None:
    (partners,) = explained("partition.partners")
    assert partners.kind == "whole number, at least 2, at most 10,000"
    assert partners.default == "3"
    (epsilon,) = explained("privacy.epsilon")
    assert epsilon.kind == "number, at least 0.001, at most 100"
    families = {one for key in explained("model.rounds") for one in key.only}
    assert families == {"additive", "network", "split"}


def test_a_key_that_attacks_share_is_explained_once_for_all_of_them() -> None:
    hostile = "label_flips, turned_updates, backdoor or free_riders"
    assert f"where attack.kind = {hostile}" in [key.where for key in explained("attack.rounds")]
    said = [
        (key.kind, key.default, key.meaning) for key in all_keys() if key.name == "attack.steps"
    ]
    assert len(set(said)) == len(said) > 1


def test_a_key_that_can_be_one_value_alone_is_neither_listed_nor_explained() -> None:
    assert "model.holdout" not in dict(listed())
    assert explained("model.holdout") == ()
    with pytest.raises(ScenarioInvalid, match=r"model\.holdout: it must be at most 0"):
        scenario(
            model={"family": "split", "holdout": 0.1},
            partition={"kind": "vertical"},
            protocol="lean",
        )


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("attack.columns", "[occupation, relationship]"),
        ("attack.known", "at most half of the customers"),
    ],
)
def test_what_is_explained_is_printed_whole(
    key: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(explain=key)
    assert words in " ".join(capsys.readouterr().out.split())


def test_every_key_is_listed_once() -> None:
    names = [name for name, _ in listed()]
    assert len(set(names)) == len(names)
    kinds = dict(listed())
    assert kinds["model.family"] == "additive | network | split"
    assert kinds["model.rounds"].startswith(
        "whole number, at least 1, at most 50 (additive); whole number, at least 1, at most 1,000 ("
    )


def test_keys_are_listed_and_explained_without_what_runs_trials() -> None:
    code = (
        "import sys\nfrom fedmkt.cli.simulate import simulate\n"
        "simulate(list_all=True)\nsimulate(explain='partition.alpha')\n"
        "print(sorted({'flwr', 'scipy', 'matplotlib', 'torch'} & {*sys.modules}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"
    assert "vertical" in told.stdout.split("Partitions")[1].split("Models")[0]


@pytest.mark.parametrize("kind", ["iid", "column", "dirichlet", "quantity"])
def test_every_training_row_goes_to_exactly_one_partner(kind: str) -> None:
    study = scenario(data={"rows": 1000})
    customers = read_customers(study.data, seed=1)
    part = PartitionPart(kind=kind, partners=4, column="occupation")  # type: ignore[arg-type]
    parts = deal(customers, part, seed=1)
    keys = [key for rows in parts.values() for key in rows["customer"]]
    assert sorted(keys) == sorted(customers.training["customer"])
    assert all(rows.height for rows in parts.values())
    assert len(parts) == 4
    again = deal(customers, part, seed=1)
    assert all(parts[name].equals(again[name]) for name in parts)


def test_written_out_groups_are_dealt_out_whole() -> None:
    customers = read_customers(scenario(data={"rows": 3000}).data, seed=1)
    part = PartitionPart(kind="column", groups="adult_by_occupation", partners=7)
    held = [set(rows["occupation"]) for rows in deal(customers, part, seed=1).values()]
    assert len(held) == 7
    assert sum(len(one) for one in held) == len(set.union(*held))
    with pytest.raises(ValueError, match="need partners = 7"):
        PartitionPart(kind="column", groups="adult_by_occupation", partners=6)


@pytest.mark.parametrize(
    ("north", "names"),
    [
        ("north", {"north", "south"}),
        (COORDINATOR, {"partner-0001", "partner-0002"}),
        ("south!", {"partner-0001", "partner-0002"}),  # as a name the same as south
    ],
)
def test_partners_bear_their_values_where_names_differ_and_none_is_the_coordinators(
    north: str, names: set[str]
) -> None:
    customers = read_customers(scenario(data={"rows": 100}).data, seed=1)
    place = pl.Series("place", [north] * 60 + ["south"] * 40)
    placed = replace(customers, training=customers.training.with_columns(place))
    part = PartitionPart(kind="column", column="place", partners=2)
    assert set(deal(placed, part, seed=1)) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x;y\n1,5;0\n2,5,3;1\n", "commas between cells and points in decimals"),
        ("".join(("id,y\n", *(f"k{n},{n % 2}\n" for n in range(60)))), "call it customer if"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_what_to_do(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "own.csv").write_text(text)
    data = {"kind": "file", "path": str(tmp_path / "own.csv"), "target": "y"}
    with pytest.raises(SettingInvalid, match=said):
        read_customers(scenario(data=data).data, seed=1)


def test_a_column_of_dates_is_refused_with_what_to_make_of_it(tmp_path: Path) -> None:
    day = pl.Series("since", [date(2026, 1, 1), date(2026, 2, 1)] * 40)
    frame = pl.DataFrame({"bought": [0, 1] * 40, "age": range(80)}).with_columns(day)
    frame.write_parquet(tmp_path / "own.parquet")
    data = {"kind": "file", "path": str(tmp_path / "own.parquet"), "target": "bought"}
    with pytest.raises(SettingInvalid, match=r"column since .* Date .* or name data\.features wi"):
        read_customers(scenario(data=data).data, seed=1)
    left_out = scenario(data={**data, "features": ["age"]})
    assert read_customers(left_out.data, seed=1).features == ("age",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age,bought\n" + "NaN,1\n31.5,0\n42.0,1\n" * 30, "age: not finite, 30 rows (row 1, 4, "),
        (
            "customer,age,bought\n" + ",20,1\nk,31,0\n" * 30,
            "customer: missing key, 30 rows (row 1,",
        ),
        (
            "customer,age,bought\n1.5,20,1\n2.5,31,0\n",
            "column customer cannot be used: it says who",
        ),
    ],
    ids=["cells", "keys", "kind of keys"],
)
def test_cells_of_a_table_without_a_schema_are_refused_in_words_that_fit(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "own.csv").write_text(text)
    data = {"kind": "file", "path": str(tmp_path / "own.csv"), "target": "bought"}
    with pytest.raises(SettingInvalid) as refused:
        read_customers(scenario(data=data).data, seed=1)
    assert said in str(refused.value)
    assert "declared" not in str(refused.value)


def test_generated_customers_follow_the_seed() -> None:
    data = {"kind": "generated", "generator": {"rows": 500, "parties": 2}}
    one, same, other = (read_customers(scenario(data=data).data, seed=seed) for seed in (1, 1, 2))
    assert one.training.equals(same.training)
    assert not one.training.equals(other.training)
    assert len(one.features) == 2 * 4


def test_more_partners_than_rows_or_values_are_refused() -> None:
    customers = read_customers(scenario(data={"rows": 100}).data, seed=1)
    with pytest.raises(PartitionImpossible, match="the table has 100"):
        deal(customers, PartitionPart(partners=101), seed=1)
    with pytest.raises(PartitionImpossible, match=r"race has [2-5] values"):
        deal(customers, PartitionPart(kind="column", column="race", partners=6), seed=1)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": {"rows": 200}}, "the table has 200"),
        ({"data": {"kind": "generated", "generator": {"rows": 400}}}, "the table has 300"),
        ({"data": {"set": "bank_marketing", "test_share": 0.9}}, "the table has"),
    ],
    ids=["stated", "generated", "bundled"],
)
def test_more_partners_than_rows_are_refused_before_any_trial(
    values: dict[str, Any], said: str
) -> None:
    partners = {"partition.partners": [5, 10_000]}
    with pytest.raises(PartitionImpossible, match=said):
        checked_trials(scenario(**values, protocol="lean", sweep=partners))


def test_groups_of_another_table_are_refused_with_those_there_are() -> None:
    jobs = scenario(partition={"kind": "column", "groups": "bank_by_job", "partners": 12})
    with pytest.raises(SettingInvalid, match=r"another table; adult has: adult_by_occupation"):
        checked_trials(jobs)


@pytest.mark.parametrize("name", ["own.csv", "own.parquet"])
def test_more_partners_than_a_file_has_rows_are_refused_before_any_trial(
    tmp_path: Path, name: str
) -> None:
    frame, file = pl.DataFrame({"age": range(80), "bought": [0, 1] * 40}), tmp_path / name
    frame.write_csv(file) if file.suffix == ".csv" else frame.write_parquet(file)
    data = {"kind": "file", "path": str(file), "target": "bought"}
    with pytest.raises(PartitionImpossible, match="the table has 60"):  # three quarters of 80
        checked_trials(scenario(data=data, protocol="lean", sweep={"partition.partners": [5, 61]}))


def test_more_rows_than_there_are_are_refused_before_any_trial() -> None:
    many = scenario(sweep={"data.rows": [500, 100_000]})
    with pytest.raises(SettingInvalid, match=r"data.rows = 100000 .* 32,561 rows to train on"):
        checked_trials(many)


OWN = "customer,age,bought\n" + "".join(f"k{n},{20 + n % 30},{n % 2}\n" for n in range(80))


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        (OWN, {"data": {"target": "baught"}}, "no column baught, only customer, age, bought"),
        (OWN, {"data": {"features": ["agee"]}}, "no column agee"),
        (OWN.replace(",", ";", 5), {}, "commas between cells"),
        (OWN.replace("k3,", ",").replace("k7,", " ,"), {}, "missing key, 2 rows"),
        (OWN, {"partition": {"kind": "column", "column": "town"}}, "no such column, only"),
        (
            OWN,
            {
                "partition": {"kind": "vertical"},
                "vertical": {"columns": {"bank": ["age"], "shop": ["shoes"]}},
            },
            "no feature shoes",
        ),
    ],
    ids=["target", "features", "unreadable", "keys", "partition", "vertical"],
)
def test_what_is_wrong_with_a_whole_table_is_refused_once_and_before_any_trial(
    tmp_path: Path, text: str, values: dict[str, Any], said: str
) -> None:
    (tmp_path / "own.csv").write_text(text)
    data = {"kind": "file", "path": str(tmp_path / "own.csv"), "target": "bought"}
    study = scenario(**values | {"data": data | values.get("data", {})}, seeds=[1, 2, 3])
    with pytest.raises(UserError, match=said):
        checked_trials(study)


def test_a_table_of_ones_own_is_read_once_for_all_seeds_and_swept_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[DataPart] = []
    monkeypatch.setattr(
        single,
        "read_customers",
        lambda data, seed: read.append(data) or read_customers(data, seed),
    )
    (tmp_path / "own.csv").write_text(OWN)
    data = {"kind": "file", "path": str(tmp_path / "own.csv"), "target": "bought"}
    study = scenario(data=data, seeds=[1, 2, 3], sweep={"model.rounds": [2, 3]})
    assert len(checked_trials(study)) == 6
    assert len(read) == 1


def test_a_refusal_before_any_trial_names_the_scenario_and_the_swept_values() -> None:
    by_rows = scenario(sweep={"data.rows": [500, 100_000], "model.rounds": [2]})
    said = r"^scenario study with data.rows = 100000, model.rounds = 2: data.rows = 100000 cannot"
    with pytest.raises(SettingInvalid, match=said):
        checked_trials(by_rows)
    with pytest.raises(PartitionImpossible, match=r"so: scenario study: 10000 partners"):
        checked_trials(scenario(partition={"partners": 10_000}, data={"rows": 200}))
    slow = scenario(sweep={"participation.dropout": [0.5]})
    with pytest.raises(ScenarioPartMissing, match=r"^scenario study with participation.dropout = "):
        checked_trials(slow)


@pytest.mark.parametrize(
    ("given", "meant"), [("frist", "first"), ("atack-backdoor", "attack-backdoor"), ("qqq", None)]
)
def test_a_misspelt_bundled_scenario_is_told_with_the_nearest_one(
    given: str, meant: str | None
) -> None:
    with pytest.raises(FileMissing) as missing:
        load_scenario(Path(given))
    advice = str(missing.value).split(f"at {given}. ")[1]
    assert advice.startswith(f"Did you mean {meant}? Name" if meant else "Name a TOML file")


def test_a_folder_of_a_bundled_scenarios_name_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").mkdir()
    assert load_scenario(Path("first")).name == "first"


def test_what_is_not_there_yet_is_refused_by_name() -> None:
    customers = read_customers(scenario(data={"rows": 100}).data, seed=1)
    unknown = [kind for kind in choices("partition.kind") if kind == "vertical"]
    with pytest.raises(ScenarioPartMissing, match=r"partition.kind = vertical"):
        deal(customers, PartitionPart(kind=unknown[0]), seed=1)  # type: ignore[arg-type]
    slow = scenario(participation={"dropout": 0.5})
    with pytest.raises(ScenarioPartMissing, match=r"participation.dropout = 0.5"):
        family(slow).check(slow)
    two = scenario(partition={"partners": 2})
    with pytest.raises(SettingInvalid, match="say lean"):
        family(two).check(two)
    few = scenario(protocol="lean", participation={"quorum": 4, "dropout": 0.1})
    with pytest.raises(SettingInvalid, match="no round asks more than 3 partners"):
        family(few).check(few)


def test_more_faulty_partners_than_a_rule_bears_are_refused_before_any_trial() -> None:
    joining = {"rule": "krum", "faulty": 1}
    for partners in (4, 5):
        study = scenario(
            model={"family": "network", "joining": joining}, partition={"partners": partners}
        )
        if partners == 5:
            family(study).check(study)
            continue
        with pytest.raises(SettingInvalid, match=r"partition.partners = 5 or more"):
            family(study).check(study)


def test_a_quorum_of_more_than_a_round_asks_is_refused_before_any_trial() -> None:
    for quorum in (3, 4):
        takes_part = {"share": 0.5, "quorum": quorum, "dropout": 0.1}
        study = scenario(protocol="lean", partition={"partners": 6}, participation=takes_part)
        if quorum == 3:
            family(study).check(study)
            continue
        with pytest.raises(SettingInvalid, match="no round asks more than 3 partners"):
            family(study).check(study)


def test_no_test_row_is_a_training_row() -> None:
    for data in ({"set": "bank_marketing", "rows": 500}, {"set": "adult", "test_share": 0.3}):
        customers = read_customers(scenario(data=data).data, seed=3)
        training, test = customers.training["customer"], customers.public.frame["customer"]
        assert not set(training) & set(test)
    everybody = bundled.load("adult_train").height
    assert customers.public.frame.height == round(0.3 * everybody)


def test_a_file_without_schema_is_read_by_its_own_bounds(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "age": [20, 30, None, 50] * 10,
            "town": ["a", "b", "b", "c"] * 10,
            "same": [1] * 40,
            "bought": [True, False] * 20,
        }
    )
    frame.write_parquet(tmp_path / "own.parquet")
    data = {"kind": "file", "path": str(tmp_path / "own.parquet"), "target": "bought"}
    customers = read_customers(scenario(data=data).data, seed=1)
    assert customers.features == ("age", "town")
    assert customers.schema.column("age").bounds == (20, 50)
    assert customers.schema.column("age").nullable
    assert customers.schema.column("town").categories == ("a", "b", "c")
    assert customers.public.frame.height == 10
    assert not customers.declared
    with pytest.raises(SettingInvalid, match="counts as yes"):
        read_customers(scenario(data={**data, "target": "town"}).data, seed=1)
    with pytest.raises(SettingInvalid, match="no column size, only age, town"):
        read_customers(scenario(data={**data, "features": ["size"]}).data, seed=1)
    only = read_customers(scenario(data={**data, "features": ["town"]}).data, seed=1)
    assert only.features == ("town",)


def test_a_declared_schema_is_what_bins_are_cut_from(tmp_path: Path) -> None:
    table, schema = bundled.path("bank_marketing"), tmp_path / "schema.toml"
    declared = files("fedmkt.data.bundled") / "bank_marketing.schema.toml"
    schema.write_text(declared.read_text(encoding="utf-8"))
    (tmp_path / "study.toml").write_text(
        f'name = "x"\n[data]\nkind = "file"\npath = "{table}"\nschema_path = "schema.toml"\n'
    )
    customers = read_customers(load_scenario(tmp_path / "study.toml").data, seed=1)
    assert customers.declared
    assert customers.schema == bundled.schema("bank_marketing")
    schema.write_text("customer_key = 3")
    with pytest.raises(SettingInvalid, match="schema_path"):
        read_customers(load_scenario(tmp_path / "study.toml").data, seed=1)
