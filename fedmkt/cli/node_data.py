"""`fedmkt node import | check`: a node's table, and whether everything is ready."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedmkt.core.errors import SettingInvalid
from fedmkt.deployment.importing import dataset_draft, guess_table, source_lines
from fedmkt.deployment.joining import DATASETS
from fedmkt.node.settings import read_settings
from fedmkt.storage.whole_file import write_whole

HomeArgument = Annotated[Path, typer.Argument(metavar="HOME", help="The node's home folder.")]
_FAILED = 1
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def import_table(
    home: HomeArgument,
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A .csv, .tsv or .parquet file.")],
    dataset: Annotated[str, typer.Option(help="Its name in the contract.")] = "prospects",
    population: Annotated[
        str, typer.Option(help="Who the rows are about; the same people, the same name.")
    ] = "customers",
    purpose: Annotated[str, typer.Option(help="What it may be used for.")] = "prospecting",
    key: Annotated[
        str | None, typer.Option(help="The customer key's column. Default: guessed.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The column a model is to predict, if this table has it.")
    ] = None,
) -> None:
    """Guess delimiter, decimals and kinds of a table; draft its schema and mapping.

    Writes HOME/datasets/DATASET.toml for you to correct, and a table into node.toml. The data stay
    where they are. Example: fedmkt node import /srv/fedmkt/bank own.csv --target income
    """
    settings = read_settings(home / "node.toml")
    draft_file = home / DATASETS / f"{dataset}.toml"
    if draft_file.exists() or dataset in settings.datasets:
        problem = f"dataset {dataset} is there already; correct {draft_file} by hand"
        raise SettingInvalid(setting="--dataset", problem=problem)
    draft = guess_table(table, key=key)
    text = dataset_draft(
        draft,
        name=dataset,
        population=population,
        holder=settings.member,
        purpose=purpose,
        target=target,
    )
    write_whole(draft_file, text.encode())
    written = (home / "node.toml").read_text("utf-8").rstrip()
    lines = source_lines(draft, name=dataset)
    write_whole(home / "node.toml", f"{written}\n\n{lines}".encode())
    console = Console(highlight=False, soft_wrap=True)
    kept = [one for one in draft.columns if one.kind]
    commas = ", decimal commas" if draft.decimal_comma else ""
    separator = {"\t": "tabs"}.get(draft.separator, draft.separator)
    written_as = f"separator {separator}{commas}" if draft.kind == "csv" else draft.kind
    console.print(f"{table.name}: {written_as}; customer key {draft.customer_key}")
    for one in draft.columns:
        console.print(f"  {one.name}: {one.kind or 'left out'} ({one.why})", markup=False)
    console.print(f"{len(kept)} columns are in {draft_file}: read it, correct it, above all bounds")
    console.print(f"next: fedmkt node card {home}")


def check(home: HomeArgument) -> None:
    """Look at everything a node needs. Ends with 1 if something has to be mended first."""
    from fedmkt.deployment.preflight import preflight

    console = Console(highlight=False, soft_wrap=True)
    failed = False
    for line in preflight(home):
        colour = _COLOURS[line.state]
        console.print(f"[{colour}]{line.state:4}[/] {line.name}: ", end="")
        console.print(line.said, markup=False)
        failed |= line.state == "fail"
    if failed:
        raise typer.Exit(_FAILED)
    console.print(f"ready; next: fedmkt node run {home}")
