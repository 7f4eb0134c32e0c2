"""The network family of a scenario. What computes networks, an extra, is loaded when one runs."""

from collections.abc import Mapping, Sequence

import polars as pl

from fedmkt.contract.job import NetworkJob, PrivacySettings
from fedmkt.contract.network_settings import JoiningSettings, NetworkSettings
from fedmkt.coordinator.summed_training import Outcome, Watcher
from fedmkt.core.errors import SettingInvalid
from fedmkt.data.tables import positives
from fedmkt.horizontal.network_plan import (
    job_shape,
    network_multiplier,
    network_releases,
    planned_network,
)
from fedmkt.models.kept import AnyModel
from fedmkt.models.network_shape import NetworkShape, network_inputs
from fedmkt.privacy.events import Event
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.simulation.scenario.horizontal import check_horizontal, full_seconds, run_horizontal
from fedmkt.simulation.scenario.horizontal_rounds import Rounds
from fedmkt.simulation.scenario.horizontal_trainer import Parts, Present, Trainer, stated
from fedmkt.simulation.scenario.rows import Row, Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.world import World, member_seeds

_FLOAT32, _INT64 = 4, 8
# Rough seconds on one core: a step, and a row of a step for each million of parameters.
_STEP_S, _ROW_S = 1e-3, 2e-3


class NetworkTrainer(Trainer[NetworkJob]):
    """Trains networks."""

    def job(self, task: Task, members: Sequence[str], privacy: PrivacySettings) -> NetworkJob:
        """Return the trial's job. Raises: SettingInvalid."""
        model = task.setting.model
        assert isinstance(model, NetworkSettings), "the table of families"
        if len(members) == 1:  # a twin: nobody to be joined with, nor to keep a head from
            whole = {"joining": JoiningSettings(), "personal_head": False}
            model = model.model_copy(update=whole)
        return NetworkJob(**stated(task, members, privacy), model=model)

    def calibrated(self, task: Task, job: NetworkJob) -> NetworkJob:
        """Return the job with the noise that its epsilon needs."""
        multiplier = network_multiplier(job, _shape(task, job))
        noised = job.privacy.model_copy(update={"noise_multiplier": multiplier})
        return job.model_copy(update={"privacy": noised})

    def events(self, task: Task, job: NetworkJob) -> tuple[Sequence[Event], int]:
        """Return the count's event and one a round."""
        return [release.event for release in network_releases(job, _shape(task, job))], 1

    def sizes(self, task: Task, job: NetworkJob) -> tuple[int, int]:
        """Return the bytes of parameters, and of updates."""
        shape = _shape(task, job)
        control = shape.length if job.model.algorithm == "scaffold" else 0
        return _FLOAT32 * (shape.length + control), _INT64 * planned_network(job, shape)[-1].length

    def lean(
        self,
        task: Task,
        job: NetworkJob,
        parts: Parts,
        *,
        seed: int,
        watcher: Rounds,
        present: Present | None,
    ) -> None:
        """Train without keys, masks and ledgers. Raises: ExtraMissing, TrainingDiverged."""
        # The extra's library: whoever simulates no network does without it.
        from fedmkt.horizontal.network_server import NetworkState, result
        from fedmkt.horizontal.network_together import train_together
        from fedmkt.horizontal.network_update import Memory, NetworkRows, with_head

        shape, rounds = _shape(task, job), job.model.rounds
        whole = pl.concat(parts.values())
        inputs = network_inputs(whole, shape, dataset=task.customers.name)
        everybody = NetworkRows(inputs, positives(whole, task.customers.schema, job.target))
        tables, start = {}, 0
        for member, part in parts.items():
            tables[member] = everybody.between(start, start + part.height)
            start += part.height

        def watch(state: NetworkState, kept: Mapping[str, Memory]) -> None:
            network = result(state, job)
            if job.model.personal_head:
                own = [with_head(network, memory) for memory in kept.values()]
                watcher.finished_each(state.round, own)
            else:
                watcher.finished_round(state.round, rounds, network)

        seeds = member_seeds(parts, seed)
        noise = {member: ReproducibleNoise(one) for member, one in seeds.items()}
        train_together(tables, job, shape, noise, run=task.run, present=present, watch=watch)

    def full(self, world: World, job: NetworkJob, run: str, watcher: Watcher) -> Outcome[AnyModel]:
        """Train as deployed."""
        return world.run_network(job, run, watcher)


def run_network(task: Task) -> list[Row]:
    """Train the joint model and its twins. Raises: what a run raises but TrainingDiverged."""
    # The extra's library: whoever simulates no network does without it.
    from fedmkt.privacy.dp_sgd.library import one_thread

    with one_thread():
        return run_horizontal(task, NetworkTrainer())


def check_network(setting: Setting) -> None:
    """Refuse what this family cannot simulate. Raises: ScenarioPartMissing, SettingInvalid."""
    check_horizontal(setting)
    model, trust = setting.model, setting.privacy.trust
    assert isinstance(model, NetworkSettings)
    if setting.protocol == "full" and model.personal_head:
        problem = "partners' own heads stay at their nodes and cannot be measured; say lean"
        raise SettingInvalid(setting="model.personal_head", problem=problem)
    if trust != "none" and model.clip_norm is None:
        problem = "noise needs a bound on a customer's gradient; say model.clip_norm = 1.0"
        raise SettingInvalid(setting=f"privacy.trust = {trust}", problem=problem)
    if trust == "distributed" and not model.sums_gradients:
        problem = "it needs model.algorithm = fedsgd; say trust = local"
        raise SettingInvalid(setting="privacy.trust = distributed", problem=problem)
    joining = model.joining
    if setting.partition.partners < joining.fewest:
        problem = f"it needs partition.partners = {joining.fewest} or more"
        named = f"model.joining.faulty = {joining.faulty} of {joining.rule}"
        raise SettingInvalid(setting=named, problem=problem)


def seconds_of(setting: Setting) -> float:
    """Return about how long a trial takes on one core."""
    model = setting.model
    assert isinstance(model, NetworkSettings)
    rows = (setting.data.rows or 30_000) * model.sampling_rate
    steps = model.rounds * model.steps_a_round * (1 + len(setting.compare))
    size = max(1e-4, model.width * (model.width * model.blocks + 100) / 1e6)
    work = steps * (setting.partition.partners * _STEP_S + rows * _ROW_S * size)
    return work + full_seconds(setting, model.rounds)


def _shape(task: Task, job: NetworkJob) -> NetworkShape:
    return job_shape(job, task.customers.schema)
