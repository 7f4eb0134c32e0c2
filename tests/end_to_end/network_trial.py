"""Jobs of small networks over the small world, and what one process makes of the same rows."""

from typing import Any

import polars as pl
from end_to_end.small_world import DATASET, ROWS_EACH

from fedmkt.contract.job import NetworkJob
from fedmkt.data import bundled
from fedmkt.horizontal.network_plan import network_multiplier
from fedmkt.horizontal.network_update import NetworkRows
from fedmkt.models.network_shape import NetworkShape, network_inputs, shape_from_schema

FEATURES = ("age", "education", "hours_per_week")
SCHEMA = bundled.schema("adult")


def shape_of(job: NetworkJob) -> NetworkShape:
    return shape_from_schema(SCHEMA, FEATURES, width=job.model.width, blocks=job.model.blocks)


def network_job(
    members: tuple[str, ...],
    *,
    name: str = "network",
    trust: str = "none",
    epsilon: float = 4.0,
    may_drop: int = 0,
    **model: Any,
) -> NetworkJob:
    """Return a job; a private one has the noise that its epsilon needs."""
    private = trust != "none"
    stated = {"epsilon": epsilon, "noise_multiplier": 1.0} if private else {}
    clip = {"clip_norm": 1.0} if private else {}
    job = NetworkJob.model_validate(
        {
            "name": name,
            "requester": members[0],
            "purpose": "prospecting",
            "dataset": DATASET,
            "members": members,
            "target": "income",
            "features": FEATURES,
            "model": {"rounds": 3, "local_steps": 4, **clip, **model},
            "privacy": {"trust": trust, "may_drop": may_drop, **stated},
        }
    )
    if not private:
        return job
    noise = {"noise_multiplier": network_multiplier(job, shape_of(job))}
    return job.model_copy(update={"privacy": job.privacy.model_copy(update=noise)})


def rows_of(frame: pl.DataFrame, shape: NetworkShape) -> NetworkRows:
    target = frame["income"] == SCHEMA.target_positive
    return NetworkRows(
        network_inputs(frame, shape, dataset="rows"), target.cast(pl.UInt8).to_numpy()
    )


def parts_of(members: tuple[str, ...], shape: NetworkShape) -> dict[str, NetworkRows]:
    """Return the rows that `small_world` gives to each member."""
    table = bundled.load("adult_train")
    return {
        member: rows_of(table.slice(number * ROWS_EACH, ROWS_EACH), shape)
        for number, member in enumerate(members)
    }
