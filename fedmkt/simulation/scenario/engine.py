"""Runs a scenario's trials, in this process or over worker processes, and resumes where it stopped.

Guarantee: a finished trial is on disk before anybody is told of it and never run again; workers end
when this process does, however that ends; results do not depend on the number of workers.
Not guaranteed: that the time left is right. It follows from rough costs and what was measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from fedmkt.core.errors import FedmktError, SweepTooLong
from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.folder import Finished, ResultsFolder
from fedmkt.simulation.scenario.results import Done
from fedmkt.simulation.scenario.schema import Scenario
from fedmkt.simulation.scenario.single import carry_out, check_all
from fedmkt.simulation.scenario.trials import Trial, expand
from fedmkt.simulation.scenario.workers import worker_pool

LONG_S = 3600.0
_PROBED_S = 300.0
"""Above so many expected seconds the first trials are measured before the others are begun."""


class HasId(Protocol):
    """A trial of any sort."""

    @property
    def id(self) -> str:
        """Return what stands for what it computes."""
        ...


T = TypeVar("T", bound=HasId)


class SweepWatcher(Protocol):
    """Told how far a sweep is, and asked before a long one."""

    def planned(self, trials: int, finished: int, left_s: float) -> None:
        """There are so many trials, some finished before; the others take about so many seconds."""
        ...

    def advanced(self, finished: int, left_s: float) -> None:
        """So many trials are finished; the others take about so many seconds."""
        ...

    def failed(self, trial: str, error: FedmktError) -> None:
        """A trial could not be simulated; the others go on. trial: in words."""
        ...

    def noted(self, words: str) -> None:
        """There is something to know of the results."""
        ...

    def agrees(self, trials: int, left_s: float) -> bool:
        """Answer whether a sweep that takes so long is to go on."""
        ...


class Unwatched:
    """Shows nothing and agrees to everything."""

    def planned(self, trials: int, finished: int, left_s: float) -> None:
        """Show nothing."""

    def advanced(self, finished: int, left_s: float) -> None:
        """Show nothing."""

    def failed(self, trial: str, error: FedmktError) -> None:
        """Show nothing."""

    def noted(self, words: str) -> None:
        """Show nothing."""

    def agrees(self, trials: int, left_s: float) -> bool:  # noqa: ARG002
        """Agree."""
        return True


@dataclass
class _Clock:
    """Expected seconds of trials, corrected by what finished ones took."""

    workers: int
    expected: float = 0.0
    measured: float = 0.0
    to_do: dict[str, float] = field(default_factory=dict)

    def left_s(self) -> float:
        """Return the wall seconds that are left, about."""
        pace = self.measured / self.expected if self.expected else 1.0
        return sum(self.to_do.values()) * pace / self.workers

    def took(self, trial: str, seconds: float) -> None:
        """Take note of a finished trial."""
        self.expected += self.to_do.pop(trial)
        self.measured += seconds


def checked_trials(scenario: Scenario) -> tuple[Trial, ...]:
    """Return all trials of a scenario, each of which can be simulated.

    Raises: ScenarioInvalid, ScenarioPartMissing, SettingInvalid, FileMissing; what reading and
        checking the user's own table raises.
    """
    trials = expand(scenario)
    check_all(trials, scenario.name)
    return trials


def run_sweep(
    trials: Sequence[Trial], folder: ResultsFolder, *, workers: int, watcher: SweepWatcher
) -> Done:
    """Run every trial that is not finished, and return all, in order. `folder` is held.

    One that cannot be simulated is a row with the code of the reason; it is tried again another
    time.
    Raises: SweepTooLong where the watcher does not agree; WorkerLost; what ends a sweep; what the
        first trial raised where all of them failed. What is finished then is kept.
    """
    errors: dict[str, FedmktError] = {}

    def failed(trial: Trial, error: FedmktError) -> None:
        folder.fail(trial.id, error.code)
        errors[trial.id] = error
        watcher.failed(trial.words, error)

    plan = Plan(trials, _is_finished, carry_out, _cost, failed)
    run_unfinished(plan, folder, workers=workers, watcher=watcher)
    if trials and len(errors) == len(trials):
        raise errors[trials[0].id]
    return [(trial, _read(folder, trial)) for trial in trials]


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """Trials of any sort: which are finished, how one is carried out, and its rough seconds.

    work: a function of a module, so that worker processes find it; it makes a trial's rows durable
    and returns the seconds it took. failed: told of a trial that could not be carried out; without
    it such a trial ends the sweep.
    """

    trials: Sequence[T]
    finished: Callable[[T, ResultsFolder], bool]
    work: Callable[[T, Path], float]
    seconds: Callable[[T], float]
    failed: Callable[[T, FedmktError], None] | None = None


def run_unfinished(
    plan: Plan[T], folder: ResultsFolder, *, workers: int, watcher: SweepWatcher
) -> None:
    """Run every trial of a plan that is not finished. `folder` is held. Raises: as `run_sweep`."""
    trials = plan.trials
    to_do = [trial for trial in trials if not plan.finished(trial, folder)]
    costs = {trial.id: plan.seconds(trial) for trial in to_do}
    clock = _Clock(min(workers, max(1, len(to_do))), to_do=dict(costs))
    watcher.planned(len(trials), len(trials) - len(to_do), clock.left_s())
    # The longest first: a short one is then what the last worker waits for.
    ordered = sorted(to_do, key=lambda trial: -costs[trial.id])
    _carry_out_all(plan, ordered, folder.path, clock, watcher)


def _carry_out_all(
    plan: Plan[T],
    ordered: Sequence[T],
    folder: Path,
    clock: _Clock,
    watcher: SweepWatcher,
) -> None:
    def done(trial: T, took: float | FedmktError) -> None:
        if isinstance(took, FedmktError):
            if plan.failed is None:
                raise took
            plan.failed(trial, took)
            clock.to_do.pop(trial.id)
        else:
            clock.took(trial.id, took)
        watcher.advanced(len(plan.trials) - len(clock.to_do), clock.left_s())

    with worker_pool(clock.workers) as run:
        probed = len(ordered)
        if clock.left_s() > _PROBED_S:
            # The shortest tell soonest how fast this machine is.
            ordered, probed = ordered[::-1], clock.workers
        run(plan.work, ordered[:probed], folder, done)
        rest = ordered[probed:][::-1]
        left_s = clock.left_s()
        if rest and left_s > LONG_S and not watcher.agrees(len(rest), left_s):
            raise SweepTooLong(trials=len(rest), hours=f"{left_s / 3600:.1f}")
        run(plan.work, rest, folder, done)


def _is_finished(trial: Trial, folder: ResultsFolder) -> bool:
    found = folder.finished(trial.id)
    return found is not None and not found.failed


def _cost(trial: Trial) -> float:
    return family(trial.setting).seconds(trial.setting)


def _read(folder: ResultsFolder, trial: Trial) -> Finished:
    finished = folder.finished(trial.id)
    assert finished is not None, "it was finished before anybody was told"
    return finished
