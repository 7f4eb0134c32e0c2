"""From files to an audit: a job, or a finished run with its model, and a table with its schema."""

import json
import tomllib
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from fedmkt.contract.job import Job, parse_job, parse_job_json
from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import FileMissing, SettingInvalid
from fedmkt.core.frozen import first_problem
from fedmkt.data import bundled
from fedmkt.data.sources import Source, SourceSettings, open_source
from fedmkt.models.additive import AdditiveModel
from fedmkt.simulation.attacks.additive_audit import audited_job
from fedmkt.simulation.attacks.canaries import Audited
from fedmkt.storage.whole_file import read_text

_BUNDLED = ("adult", "bank_marketing")
_ENDINGS = (".csv", ".parquet")
_JOB_ADVICE = "Give a job file (.toml), the folder of a finished run, or terms of a network."


def stated_training(
    path: Path,
    schema: TableSchema,
    source: Source,
    *,
    canaries: int,
    kind: Literal["gradients", "customers"],
) -> Audited:
    """Return the audit of what a job, a finished run's folder or terms of a network state.

    Raises: FileMissing, SettingInvalid, JobInvalid; the errors of tables; ExtraMissing.
    """
    draw = np.random.default_rng()
    text = "" if path.is_dir() else read_text(path, what="job", advice=_JOB_ADVICE)
    if text and _family(text) == "network":
        # Imported here: it needs the extra `networks`.
        from fedmkt.simulation.attacks.network_audit import audited_terms, parse_terms

        terms = parse_terms(text, source=path.name)
        return audited_terms(terms, source, schema, kind=kind, canaries=canaries, draw=draw)
    model: AdditiveModel | None = None
    if path.is_dir():
        stated = read_text(path / "job.json", what="job", advice=_JOB_ADVICE)
        made = read_text(path / "model.json", what="model", advice="The run must have finished.")
        found = parse_job_json(stated.encode(), source=path.name)
        model = AdditiveModel.from_json(json.loads(made))
    else:
        found = parse_job(text, source=path.name)
    if not isinstance(found, Job):
        problem = "only horizontal trainings are audited"
        raise SettingInvalid(setting=f"the job {found.name}", problem=problem)
    return audited_job(found, source, schema, model=model, canaries=canaries, draw=draw)


def _family(text: str) -> object:
    try:
        return tomllib.loads(text).get("family")
    except tomllib.TOMLDecodeError:
        return None  # told by whoever parses it as a job


def declared_schema(name: str) -> TableSchema:
    """Return a schema by its file or its bundled name. Raises: FileMissing, SettingInvalid."""
    if name in _BUNDLED:
        return bundled.schema("adult" if name == "adult" else "bank_marketing")
    advice = "Give a schema file, or one of the bundled ones: adult, bank_marketing."
    text = read_text(Path(name), what="schema", advice=advice)
    try:
        return TableSchema.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(setting=f"schema {name}", problem=f"not TOML: {error}") from None
    except ValidationError as error:
        raise SettingInvalid(setting=f"schema {name}", problem=first_problem(error)) from None


def table_source(table: Path | None, schema: str) -> Source:
    """Return the customers' table, or a bundled schema's. Raises: FileMissing, SettingInvalid."""
    if table is None:
        if schema not in _BUNDLED:
            raise SettingInvalid(setting="--table", problem="give the customers' table")
        name: Literal["adult_train", "bank_marketing"] = (
            "adult_train" if schema == "adult" else "bank_marketing"
        )
        return open_source(SourceSettings(kind="parquet", path=bundled.path(name)))
    if not table.is_file():
        raise FileMissing(what="table", path=table, advice="Check the path.")
    ending = table.suffix.lower()
    if ending not in _ENDINGS:
        problem = f"its ending is none of {', '.join(_ENDINGS)}"
        raise SettingInvalid(setting=f"file {table.name}", problem=problem)
    kind: Literal["csv", "parquet"] = "csv" if ending == ".csv" else "parquet"
    return open_source(SourceSettings(kind=kind, path=table))
