"""The coordinator as Flower's ServerApp: reads a job, runs it, keeps model and receipts.

Run configuration: `home` (the coordinator's folder), `job` (path of a job file), `run` (a name;
the same name again resumes that run).
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from fedmkt.coordinator.conversation import Conversation, Patience
from fedmkt.coordinator.home import CoordinatorHome, open_coordinator
from fedmkt.coordinator.training import Outcome, TrainingRun, Watcher
from fedmkt.core.errors import SettingInvalid
from fedmkt.models.additive import AdditiveModel
from fedmkt.storage.contract_files import read_job
from fedmkt.storage.journal import CoordinatorJournal
from fedmkt.transport.channel import Channel
from fedmkt.transport.flower import make_server_app

_log = logging.getLogger(__name__)


class LogWatcher:
    """Says in the log which round is done."""

    def finished_round(self, number: int, rounds: int, model: AdditiveModel) -> None:
        """Log the round."""
        _log.info("round %d of %d finished, intercept %.4f", number, rounds, model.intercept)


def run_job(
    home: CoordinatorHome,
    channel: Channel,
    *,
    job_file: Path,
    run: str,
    watcher: Watcher,
    patience: Patience | None = None,
) -> Outcome:
    """Run a job over a channel and keep what came of it.

    Raises: FileMissing, JobInvalid, and what `TrainingRun.train` raises.
    """
    job = read_job(job_file)
    journal = CoordinatorJournal(home.run_folder(run, job) / "journal.db")
    try:
        talk = Conversation(
            channel=channel,
            journal=journal,
            identity=home.identity,
            contract=home.contract,
            directory=home.directory,
            run=run,
            job=job.name,
            patience=patience or Patience(),
        )
        outcome = TrainingRun(job=job, talk=talk, watcher=watcher).train()
    finally:
        journal.close()
    home.keep(outcome)
    return outcome


def main(channel: Channel, run_config: Mapping[str, object]) -> None:
    """Run the job a Flower run's configuration names. Raises: SettingInvalid."""
    settings = {key: str(run_config.get(key, "")) for key in ("home", "job", "run")}
    for key, value in settings.items():
        if not value:
            raise SettingInvalid(setting=f"run configuration {key}", problem="it is missing")
    home = open_coordinator(Path(settings["home"]))
    run_job(
        home, channel, job_file=Path(settings["job"]), run=settings["run"], watcher=LogWatcher()
    )


app = make_server_app(main)
