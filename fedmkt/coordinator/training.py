"""What the coordinator does in a training of the additive model: one secure sum a round.

Where the job takes its bins from private quantiles, a survey is summed before the rounds.
"""

from dataclasses import dataclass

from fedmkt.contract.job import Job
from fedmkt.coordinator.summed_training import SummedTraining
from fedmkt.data.binning import Binning, binning_with_edges
from fedmkt.horizontal.newton import apply_sum, initial_state
from fedmkt.horizontal.plan import SumPlan, noise_in_sum, planned_sums
from fedmkt.horizontal.survey import edges_from_survey, public_binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.wire.training import MaskRequest


@dataclass(kw_only=True)
class TrainingRun(SummedTraining[AdditiveModel]):
    """One run of an additive model's job."""

    job: Job

    @property
    def stated(self) -> Job:
        """Return the job."""
        return self.job

    def trained(self) -> AdditiveModel:
        """Train from the agreed keys to the model."""
        job, table = self.job, self.table
        binning = public_binning(job, table)
        self.agree_on_keys()
        plans = planned_sums(job, binning)
        edges: dict[str, tuple[float, ...]] = {}
        if job.model.surveys:
            edges = self._survey(plans[0], binning)
            binning = binning_with_edges(table, job.features, edges)
            plans = tuple(plan.over(binning) for plan in plans[1:])
        state = initial_state(binning, job.model)
        for plan in plans:
            asked = _asked(plan, state.model, edges)
            values, survivors = self.sum(asked, length=plan.length)
            state = apply_sum(
                state,
                values,
                noise_sigma=noise_in_sum(plan, job, survivors=survivors),
                count_weight=job.privacy.count_weight,
            )
            self.finished_round(job.model.rounds, state.model)
        return state.model

    def _survey(self, plan: SumPlan, grid: Binning) -> dict[str, tuple[float, ...]]:
        """Have customers counted on the fine grid, and make edges of the released counts."""
        asked = MaskRequest(sum_index=plan.index, intercept=0.0, effects=b"")
        values, _ = self.sum(asked, length=plan.length)
        return edges_from_survey(values, grid, max_bins=self.job.model.max_bins)


def _asked(plan: SumPlan, model: AdditiveModel, edges: dict[str, tuple[float, ...]]) -> MaskRequest:
    return MaskRequest(
        sum_index=plan.index,
        intercept=model.intercept,
        effects=model.effects.astype("<f8").tobytes(),
        edges=edges,
    )
