"""From a job and a table to the canary audit of an additive model."""

import numpy as np

from fedmkt.contract.job import Job
from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import SettingInvalid
from fedmkt.data.binning import Binning
from fedmkt.data.sources import Source
from fedmkt.data.tables import load_examples
from fedmkt.horizontal.survey import public_binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.mechanisms import OsNoise
from fedmkt.simulation.attacks.additive_canaries import (
    AuditedAdditive,
    made_up_customers,
    noise_of,
)


def audited_job(
    job: Job,
    source: Source,
    schema: TableSchema,
    *,
    model: AdditiveModel | None,
    canaries: int,
    draw: np.random.Generator,
) -> AuditedAdditive:
    """Return the audit of a job's training on one partner's table.

    Args: model: that the job made, for its bins; without one they are the declared ones.
    Raises: SettingInvalid for a job without noise, one whose edges a survey found, without a model,
        or a model of other features; the errors of tables.
    """
    binning = _bins(job, schema, model)
    examples, _ = load_examples(
        source, schema, dataset=job.dataset, target=job.target, coder=binning
    )
    made_up = made_up_customers(examples, binning, canaries, draw)
    return AuditedAdditive(job, binning, examples, made_up, noise_of(OsNoise()))


def _bins(job: Job, schema: TableSchema, model: AdditiveModel | None) -> Binning:
    if model is None:
        if job.model.surveys:
            problem = "a survey finds its edges; give the run's folder, with the model it made"
            raise SettingInvalid(setting=f"the job {job.name}", problem=problem)
        return public_binning(job, schema)
    if model.binning.names != job.features:
        problem = "its features are not those of the job"
        raise SettingInvalid(setting="the model", problem=problem)
    return model.binning
