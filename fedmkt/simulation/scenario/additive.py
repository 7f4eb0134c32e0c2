"""The additive family of a scenario."""

from collections.abc import Sequence

from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.coordinator.summed_training import Outcome, Watcher
from fedmkt.horizontal.plan import planned_releases, planned_sums
from fedmkt.horizontal.survey import public_binning
from fedmkt.models.kept import AnyModel
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.privacy.events import Event
from fedmkt.simulation.scenario.horizontal import check_horizontal, full_seconds, run_horizontal
from fedmkt.simulation.scenario.horizontal_rounds import Rounds
from fedmkt.simulation.scenario.horizontal_trainer import Parts, Present, Trainer, stated
from fedmkt.simulation.scenario.lean import train_lean
from fedmkt.simulation.scenario.rows import Row, Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.world import World

# Rough seconds on one core: a row and a lean partner in a round.
_ROW_S, _PARTNER_S = 1e-6, 3e-4


class AdditiveTrainer(Trainer[Job]):
    """Trains additive models."""

    def job(self, task: Task, members: Sequence[str], privacy: PrivacySettings) -> Job:
        """Return the trial's job."""
        model = task.setting.model
        assert isinstance(model, AdditiveSettings), "the table of families"
        return Job(**stated(task, members, privacy), model=model)

    def calibrated(self, task: Task, job: Job) -> Job:  # noqa: ARG002
        """Return the job with the noise that its epsilon needs."""
        privacy = job.privacy
        assert privacy.epsilon is not None
        multiplier = noise_multiplier_for(
            epsilon=privacy.epsilon, delta=privacy.delta, releases=job.model.releases
        )
        noised = privacy.model_copy(update={"noise_multiplier": multiplier})
        return job.model_copy(update={"privacy": noised})

    def events(self, task: Task, job: Job) -> tuple[Sequence[Event], int]:
        """Return a survey's event, if the job has one, and one a round."""
        releases = planned_releases(job, public_binning(job, task.customers.schema))
        return [release.event for release in releases], int(job.model.surveys)

    def sizes(self, task: Task, job: Job) -> tuple[int, int]:
        """Return the bytes of effects, and of sums."""
        last = planned_sums(job, public_binning(job, task.customers.schema))[-1]
        return 8 * last.length, 8 * last.length

    def lean(
        self,
        task: Task,
        job: Job,
        parts: Parts,
        *,
        seed: int,
        watcher: Rounds,
        present: Present | None,
    ) -> None:
        """Train without keys, masks and ledgers."""
        schema = task.customers.schema
        train_lean(job, schema, parts, run=task.run, seed=seed, watcher=watcher, present=present)

    def full(self, world: World, job: Job, run: str, watcher: Watcher) -> Outcome[AnyModel]:
        """Train as deployed."""
        return world.run(job, run, watcher)


def run_additive(task: Task) -> list[Row]:
    """Train the joint model and its twins. Raises: what a run raises but TrainingDiverged."""
    return run_horizontal(task, AdditiveTrainer())


def check_additive(setting: Setting) -> None:
    """Refuse what this family cannot simulate. Raises: ScenarioPartMissing, SettingInvalid."""
    check_horizontal(setting)


def seconds_of(setting: Setting) -> float:
    """Return about how long a trial takes on one core."""
    assert isinstance(setting.model, AdditiveSettings)
    rounds = setting.model.rounds
    rows = setting.data.rows or 30_000
    work = rounds * rows * _ROW_S * (2 + 2 * len(setting.compare))
    partners = rounds * setting.partition.partners * _PARTNER_S
    return work + partners + full_seconds(setting, rounds)
