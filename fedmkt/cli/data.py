"""`fedmkt data`: look at a table as a node would, before a contract depends on it."""

import tomllib
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.contract.schema import TableSchema
from fedmkt.core.clock import SystemClock
from fedmkt.core.errors import ColumnMissing, FileMissing, SettingInvalid
from fedmkt.core.frozen import first_problem
from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema
from fedmkt.data.quality import FreshnessTerms, Scorecard
from fedmkt.data.sources import SourceSettings, open_source
from fedmkt.data.tables import DEFAULT_FLOOR, load_examples
from fedmkt.storage.whole_file import read_text

app = typer.Typer(help="A partner's tables.", no_args_is_help=True, add_completion=False)
_KINDS = {".csv": "csv", ".txt": "csv", ".tsv": "csv", ".parquet": "parquet", ".duckdb": "duckdb"}
_CHECK_BINS = 64
_NO_SCHEMA = "Give a schema file, or one of the bundled ones: adult, bank_marketing."
_OTHER_NAMES = (
    "If they are called otherwise here, give --rename OLD=NEW for each; if the CSV has another "
    "separator, give --separator."
)


@app.callback()
def _group() -> None:
    """A partner's tables."""


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument()],
    schema: Annotated[
        str,
        typer.Option(metavar="FILE", help="A schema (.toml), or adult or bank_marketing."),
    ],
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="The table of a DuckDB file.")
    ] = None,
    separator: Annotated[
        str, typer.Option(metavar="CHAR", help="What stands between CSV cells; tab for a tab.")
    ] = ",",
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="The CSV writes 1,5 for 1.5.")
    ] = False,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="A column's name here and in the schema; repeatable."),
    ] = None,
    floor: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Least share of checks passed.")
    ] = DEFAULT_FLOOR,
) -> None:
    """Validate a table against its declared schema and print its quality scorecard.

    FILE ends in .csv, .tsv, .txt, .parquet or .duckdb.

    The schema's form stands in docs/guides/node_engineer.md.

    Names rules, columns and row numbers, never a value.

    Ends with 2 when the table cannot be used.
    """
    declared = _schema(schema)
    settings = _source(file, table, separator, decimal_comma, rename or [])
    features = [column.name for column in declared.columns if column.use == "feature"]
    targets = [column.name for column in declared.columns if column.use == "target"]
    if len(targets) != 1:
        raise SettingInvalid(setting=f"schema {schema}", problem="it needs exactly one target")
    try:
        _, card = load_examples(
            open_source(settings),
            declared,
            dataset=file.name,
            target=targets[0],
            coder=binning_from_schema(declared, features, max_bins=_CHECK_BINS),
            quality_floor=0,
            freshness=FreshnessTerms(today=SystemClock().now().date()),
        )
    except ColumnMissing as error:
        raise ColumnMissing(**error.fields | {"advice": _OTHER_NAMES}) from None
    Console().print(_scorecard(file, card))
    for word, checks in (("fails", card.failing), ("tolerated", card.tolerated)):
        for one in checks:
            typer.echo(f"{word}: {one}")
    card.require(floor, dataset=file.name)


def _schema(name: str) -> TableSchema:
    if name in ("adult", "bank_marketing"):
        return bundled.schema("adult" if name == "adult" else "bank_marketing")
    text = read_text(Path(name), what="schema", advice=_NO_SCHEMA)
    try:
        return TableSchema.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(setting=f"schema {name}", problem=f"not TOML: {error}") from None
    except ValidationError as error:
        raise SettingInvalid(setting=f"schema {name}", problem=first_problem(error)) from None


def _source(
    file: Path, table: str | None, separator: str, decimal_comma: bool, rename: list[str]
) -> SourceSettings:
    if not file.is_file():
        advice = "It is a folder; name a file in it." if file.is_dir() else "Check the path."
        raise FileMissing(what="table", path=file, advice=advice)
    kind = _KINDS.get(file.suffix.lower())
    if kind is None:
        problem = f"its ending is none of {', '.join(sorted(_KINDS))}"
        raise SettingInvalid(setting=f"file {file.name}", problem=problem)
    pairs = [pair.partition("=") for pair in rename]
    if any(not source or not declared for source, _, declared in pairs):
        raise SettingInvalid(setting="--rename", problem="it does not read OLD=NEW")
    if separator in (r"\t", "tab"):
        separator = "\t"
    try:
        return SourceSettings.model_validate(
            {
                "kind": kind,
                "path": file,
                "table": table,
                "separator": separator,
                "decimal_comma": decimal_comma,
                "mapping": {source: declared for source, _, declared in pairs},
            }
        )
    except ValidationError as error:
        raise SettingInvalid(setting="the source", problem=first_problem(error)) from None


def _scorecard(file: Path, card: Scorecard) -> Table:
    table = Table(title=f"{file.name}: {card.rows:,} rows", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("quality")
    table.add_column("share", justify="right")
    rows = (
        ("completeness", card.completeness),
        ("validity", card.validity),
        ("uniqueness", card.uniqueness),
        ("freshness", card.freshness),
        ("checks passed", card.share),
    )
    for name, share in rows:
        table.add_row(name, "not asked" if share is None else f"{share:.1%}")
    return table
