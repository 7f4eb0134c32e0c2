"""From stated terms and a table to the canary audit of a network trained with DP-SGD."""

import tomllib
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field, ValidationError

from fedmkt.contract.job import NetworkJob
from fedmkt.contract.schema import Name, TableSchema
from fedmkt.core.errors import SettingInvalid, TableEmpty
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.core.keystream import KeyStream
from fedmkt.data.binning import binning_from_schema
from fedmkt.data.sources import Source
from fedmkt.data.tables import narrow_schema, positives
from fedmkt.data.validation import conform, merge_reports, validate
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network_shape import network_inputs, shape_from_schema
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.simulation.attacks.network_canaries import (
    AuditedNetwork,
    Kind,
    gradient_places,
    made_up_rows,
)
from fedmkt.simulation.attacks.network_training import Descent

_ROWS_AT_ONCE = 250_000
CUSTOMERS = 500
"""At most so many customers take part: a guarantee holds for any table, and few blur less."""


class NetworkTerms(Frozen):
    """A training with DP-SGD as a file states it: features, network and noise.

    epsilon: what is stated; where it is missing, what the noise costs.
    """

    family: Literal["network"]
    target: Name
    features: tuple[Name, ...] = Field(min_length=1)
    width: int = Field(default=32, ge=0, le=4096)
    blocks: int = Field(default=0, ge=0, le=16)
    steps: int = Field(ge=1, le=100_000)
    clip_norm: float = Field(default=1.0, gt=0)
    sampling_rate: float = Field(gt=0, le=1)
    noise_multiplier: float = Field(ge=1e-3, le=1e6)
    learning_rate: float = Field(default=0.5, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    epsilon: float | None = Field(default=None, gt=0)
    delta: float = Field(default=1e-5, gt=0, lt=0.01)


def parse_terms(text: str, *, source: str) -> NetworkTerms:
    """Parse the terms of a training from TOML text. Raises: SettingInvalid."""
    try:
        return NetworkTerms.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(setting=source, problem=f"not TOML: {error}") from None
    except ValidationError as error:
        raise SettingInvalid(setting=source, problem=first_problem(error)) from None


def terms_of(job: NetworkJob) -> NetworkTerms:
    """Return the terms of a job's steps at one partner, or of its whole sum of gradients.

    Not audited: the count of customers, which the job's epsilon pays for as well.
    Raises: SettingInvalid for a job without noise.
    """
    model, privacy = job.model, job.privacy
    if privacy.noise_multiplier is None or model.clip_norm is None:
        problem = "it has no noise, so it states nothing to audit"
        raise SettingInvalid(setting=f"the job {job.name}", problem=problem)
    return NetworkTerms(
        family="network",
        target=job.target,
        features=job.features,
        width=model.width,
        blocks=model.blocks,
        steps=model.rounds * model.steps_a_round,
        clip_norm=model.clip_norm,
        sampling_rate=model.sampling_rate,
        noise_multiplier=privacy.noise_multiplier,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
    )


def audited_terms(
    terms: NetworkTerms,
    source: Source,
    schema: TableSchema,
    *,
    kind: Kind,
    canaries: int,
    draw: np.random.Generator,
) -> AuditedNetwork:
    """Return the audit of a training by these terms on `CUSTOMERS` of one table, one a row.

    Raises: SettingInvalid; the errors of tables.
    """
    shape = shape_from_schema(schema, terms.features, width=terms.width, blocks=terms.blocks)
    private = DpSgdTerms(
        clip_norm=terms.clip_norm,
        noise_multiplier=terms.noise_multiplier,
        sampling_rate=terms.sampling_rate,
        steps=terms.steps,
        dimensions=shape.length,
    )
    frame, target = _table(terms, source, schema)
    chosen = draw.permutation(frame.height)[:CUSTOMERS]
    inputs = network_inputs(frame[chosen], shape, dataset=source.name)
    return AuditedNetwork(
        shape=shape,
        terms=private,
        descent=Descent(terms.learning_rate, terms.momentum),
        epsilon=terms.epsilon or epsilon_of([private.event], terms.delta),
        delta=terms.delta,
        rows=NetworkRows(inputs, target[chosen]),
        kind=kind,
        places=gradient_places(shape, min(canaries, shape.length), draw),
        made_up=made_up_rows(shape, canaries, draw),
        stream=KeyStream.fresh(),
    )


def _table(
    terms: NetworkTerms, source: Source, schema: TableSchema
) -> tuple[pl.DataFrame, "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"]:
    """Return the features of all rows, typed, and their targets."""
    binning = binning_from_schema(schema, terms.features, max_bins=2)
    needed = narrow_schema(schema, terms.target, binning.names)
    columns = {column.name: column.kind for column in needed.columns}
    frames, reports, rows = [], [], 0
    for frame in source.batches({needed.customer_key: "key", **columns}, _ROWS_AT_ONCE):
        reports.append(validate(frame, needed, source.name, rows + 1))
        rows += frame.height
        frames.append(frame)
    if not rows:
        raise TableEmpty(dataset=source.name)
    merge_reports(reports).refuse_errors(source.name)
    typed = pl.concat([conform(frame, needed) for frame in frames])
    return typed, positives(typed, needed, terms.target)
