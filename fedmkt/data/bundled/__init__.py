"""The bundled example tables: Adult and Bank Marketing, each with a schema and a datasheet.

Guarantee: the tables are those whose SHA-256 stands in the datasheet beside them. Their customer
keys are synthetic; the sources name no person.
"""

import tomllib
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import polars as pl

from fedmkt.contract.schema import TableSchema

TableName = Literal["adult_train", "adult_test", "bank_marketing"]
SchemaName = Literal["adult", "bank_marketing"]


def load(name: TableName) -> pl.DataFrame:
    """Return a bundled table, one row a customer."""
    with as_file(files(__name__) / f"{name}.parquet") as file:
        return pl.read_parquet(file, memory_map=False)


def schema(name: SchemaName) -> TableSchema:
    """Return the declared schema of a bundled table."""
    text = (files(__name__) / f"{name}.schema.toml").read_text(encoding="utf-8")
    return TableSchema.model_validate(tomllib.loads(text))


def datasheet(name: SchemaName) -> str:
    """Return the datasheet: source, licence, citation and what was changed, in Markdown."""
    return (files(__name__) / f"{name}.datasheet.md").read_text(encoding="utf-8")


def path(name: TableName) -> Path:
    """Return where the Parquet file of a bundled table lies."""
    return Path(str(files(__name__) / f"{name}.parquet"))
