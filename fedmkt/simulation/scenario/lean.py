"""An additive training without keys, masks, signatures and ledgers: for many partners.

Guarantee: given the same reproducible noise, every round's model is that of the full protocol to
the last bit: sums over members are exact integers, with masks or without.
Not guaranteed: anything that the full protocol protects. Whoever runs this sees every partner's
sums, as a simulation's author does anyway.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fedmkt.contract.job import Job
from fedmkt.contract.schema import TableSchema
from fedmkt.coordinator.summed_training import Watcher
from fedmkt.core.stages import Examples, IntArray, LocalUpdate
from fedmkt.data.binning import Binning, binning_with_edges, recode
from fedmkt.horizontal.local_update import local_sums
from fedmkt.horizontal.newton import TrainingState, apply_sum, initial_state
from fedmkt.horizontal.plan import honest_shares, noise_in_sum, planned_sums
from fedmkt.horizontal.survey import edges_from_survey, public_binning, survey_counts
from fedmkt.privacy.mechanisms import ReproducibleNoise, add_noise
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.world import member_seeds


@dataclass(frozen=True, slots=True)
class _Noise:
    """Where the members' noise comes from: the seed of each, and the run."""

    job: Job
    run: str
    seeds: Mapping[str, int]

    def added(self, update: LocalUpdate, member: str, index: int) -> IntArray:
        """Return a member's sums as they leave it."""
        privacy = self.job.privacy
        if privacy.noise_multiplier is None:
            return update.values
        source = ReproducibleNoise(self.seeds[member]).stream(f"{self.run}/{index}/{member}")
        private = add_noise(
            update,
            noise_multiplier=privacy.noise_multiplier,
            shares=honest_shares(self.job),
            trust=privacy.trust,
            source=source,
        )
        return private.values


def train_lean(
    job: Job,
    schema: TableSchema,
    parts: Mapping[str, pl.DataFrame],
    *,
    run: str,
    seed: int,
    watcher: Watcher,
    present: Callable[[int], Sequence[str]] | None = None,
) -> TrainingState:
    """Train on all members' rows, round by round.

    present: who answers in a round, numbered from 1 on; everybody by default.
    Raises: what `present` does; TrainingDiverged, RangeExceeded, EpsilonInvalid, SchemaViolated.
    Guarantee: that of the module.
    """
    binning = public_binning(job, schema)
    tables = _encoded(job, schema, parts, binning)
    noise = _Noise(job, run, member_seeds(parts, seed))
    plans = planned_sums(job, binning)
    if job.model.surveys:
        binning, tables = _surveyed(job, schema, binning, tables, noise)
        plans = tuple(plan.over(binning) for plan in plans[1:])
    state = initial_state(binning, job.model)
    for plan in plans:
        weight = job.privacy.count_weight if plan.with_counts else None
        values = np.zeros(plan.length, dtype=np.int64)
        members = tables if present is None else present(state.round + 1)
        for member in members:
            update = local_sums(tables[member], state.model, count_weight=weight)
            values += noise.added(update, member, plan.index)
        state = apply_sum(
            state,
            values,
            noise_sigma=noise_in_sum(plan, job, survivors=len(members)),
            count_weight=job.privacy.count_weight,
        )
        watcher.finished_round(state.round, job.model.rounds, state.model)
    return state


def _encoded(
    job: Job, schema: TableSchema, parts: Mapping[str, pl.DataFrame], binning: Binning
) -> dict[str, Examples]:
    """Return every member's rows as bin codes; encoded all at once, which is much faster."""
    whole = PublicTable(pl.concat(parts.values()), schema, job.target).examples(binning)
    ends = np.cumsum([part.height for part in parts.values()])
    starts = ends - [part.height for part in parts.values()]
    return {
        member: Examples(np.ascontiguousarray(whole.codes[start:end]), whole.target[start:end])
        for member, start, end in zip(parts, starts, ends, strict=True)
    }


def _surveyed(
    job: Job,
    schema: TableSchema,
    grid: Binning,
    tables: Mapping[str, Examples],
    noise: _Noise,
) -> tuple[Binning, dict[str, Examples]]:
    """Return the bins that a survey finds, and every member's rows in them."""
    counted = [
        noise.added(survey_counts(table, grid), member, 0) for member, table in tables.items()
    ]
    edges = edges_from_survey(np.sum(counted, axis=0), grid, max_bins=job.model.max_bins)
    binning = binning_with_edges(schema, job.features, edges)
    recoded = {
        member: Examples(recode(table.codes, grid, binning), table.target)
        for member, table in tables.items()
    }
    return binning, recoded
