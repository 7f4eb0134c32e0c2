"""A collaboration for trying out on one machine, and the report of a training it ran.

The partners, their rows and their contract are made here; the processes are started elsewhere
(`fedmkt.deployment`). Figures are taken as in the demonstration: on Adult's official test rows.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedmkt.contract.collaboration import Cap, Dataset
from fedmkt.contract.job import AnyJob, Job, NetworkJob
from fedmkt.coordinator.progress import Event
from fedmkt.coordinator.summed_training import Outcome
from fedmkt.data import bundled
from fedmkt.evidence.report import Report
from fedmkt.models.kept import AnyModel, model_from_json
from fedmkt.simulation.demo import twins_without_noise
from fedmkt.simulation.demo_plan import ARMS, DELTA, PURPOSE, REQUESTER, job_for
from fedmkt.simulation.demo_report import build_report
from fedmkt.simulation.demo_study import Study, Trained
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.network_notes import notes_of
from fedmkt.simulation.partition import PARTNERS, by_occupation
from fedmkt.simulation.world import Terms, World, build_world
from fedmkt.storage.contract_files import write_job

DATASET = "prospects"
_TARGET = "income"
_VALID_DAYS = 365
_DEMO_JOB = Path("jobs") / "demo.toml"
_NOTES = (
    "The run went over real processes: a SuperLink, an executor and a node for each partner, over "
    "TLS on loopback.",
    "AUC is measured on Adult's official test rows, which are public; nothing was charged for it. "
    "Models of a partner alone and of the pool are additive ones without noise, trained here for "
    "comparison, because the data are public.",
    "Noise came from the operating system's generator.",
    "Epsilon holds for each partner's release by itself. Every customer is known to one partner.",
)


def build_collaboration(folder: Path) -> tuple[str, ...]:
    """Make homes, keys and a signed contract for three partners below `folder`; return their names.

    What is there already stays as it is. Raises: OutputUnwritable.
    """
    world = World(folder, PARTNERS)
    if not (world.coordinator / "collaboration.signatures.json").exists():
        parts = by_occupation(bundled.load("adult_train"))
        build_world(folder, _terms(), parts, noise_seed=None)
        demo = job_for(ARMS[-1], name="demo").model_copy(update={"dataset": DATASET})
        write_job(folder / _DEMO_JOB, demo)
    return PARTNERS


def has_report(folder: Path, job: AnyJob) -> bool:
    """Tell whether `report_of` has a report of a job's trainings."""
    if not isinstance(job, Job | NetworkJob) or not (folder / _DEMO_JOB).exists():
        return False
    return (job.dataset, job.target) == (DATASET, _TARGET)


def report_of(
    folder: Path, job: Job | NetworkJob, run: str, events: Sequence[Event]
) -> Report | None:
    """Return the report of a finished training of `build_collaboration`'s partners.

    None for other partners, or another job than one that predicts their target.
    Raises: SignatureInvalid; ExtraMissing for a network, where what computes one is missing.
    """
    if not has_report(folder, job):
        return None
    parts = by_occupation(bundled.load("adult_train"))
    public = PublicTable(bundled.load("adult_test"), bundled.schema("adult"), _TARGET)
    world = World(folder, PARTNERS)
    trained = _trained(world, job, run, events, public)
    try:
        study = Study(
            seed=None,
            public=public,
            rows={partner: part.height for partner, part in parts.items()},
            trained={trained.name: [trained]},
            worlds=(world,),
            twins=twins_without_noise(parts, public),
        )
        return build_report(study, (*_NOTES, *notes_of(job, public.schema)))
    finally:
        world.close()


def _trained(
    world: World, job: Job | NetworkJob, run: str, events: Sequence[Event], public: PublicTable
) -> Trained:
    folder, last = world.coordinator / "runs" / run, events[-1]
    rounds = [event.number for event in events if event.what == "round"]
    models = {number: _model(folder / "rounds" / f"{number}.json") for number in rounds}
    outcome = Outcome(
        run=run,
        model=_model(folder / "model.json"),
        rounds=max(rounds, default=0),
        receipts={path.stem: path.read_bytes() for path in (folder / "receipts").glob("*.json")},
        exchanges=last.exchanges,
        bytes_up=last.bytes_up,
        bytes_down=last.bytes_down,
        wall_s=(last.at - events[0].at).total_seconds(),
    )
    measured = tuple(
        (number, public.loss(model), public.auc(model).value)
        for number, model in sorted(models.items())
    )
    return Trained(_named(job), job, outcome, world, measured, 0.0)


def _named(job: Job | NetworkJob) -> str:
    """Return the name of a job's model on a page, which says how it was protected."""
    epsilon = job.privacy.epsilon
    protected = "no-noise" if epsilon is None else f"epsilon-{epsilon:g}"
    return protected if isinstance(job, Job) else f"network-{protected}"


def _model(path: Path) -> AnyModel:
    return model_from_json(json.loads(path.read_bytes()))


def _terms() -> Terms:
    dataset = Dataset(
        name=DATASET,
        population=DATASET,
        holders=PARTNERS,
        uses={PURPOSE: (REQUESTER,)},
        modes=("local", "distributed"),
        minimum_audience=1000,
        table=bundled.schema("adult"),
    )
    caps = (
        Cap(dataset=DATASET, delta=DELTA, period_epsilon=3, lifetime_epsilon=10),
        Cap(
            dataset=DATASET,
            purpose=PURPOSE,
            delta=DELTA,
            period_epsilon=3,
            lifetime_epsilon=8,
            uses_per_day=20,
        ),
    )
    return Terms("trial", (dataset,), caps, datetime.now(UTC) + timedelta(days=_VALID_DAYS))
