"""The coordinator as Flower's ServerApp: reads a job, runs it, keeps model and receipts.

Run configuration: `home` (the coordinator's folder) and `order` (path of a signed order; the same
order again resumes its run).
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from fedmkt.contract.order import Order, verify_order
from fedmkt.coordinator.conversation import Conversation, Patience
from fedmkt.coordinator.home import CoordinatorHome, open_coordinator
from fedmkt.coordinator.training import Outcome, TrainingRun, Watcher
from fedmkt.core.errors import SettingInvalid
from fedmkt.models.additive import AdditiveModel
from fedmkt.storage.contract_files import read_order
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
    order: Order,
    watcher: Watcher,
    patience: Patience | None = None,
) -> Outcome:
    """Run an order over a channel and keep what came of it.

    Raises: SignatureInvalid (not the requester's), RequestConflict (the run is another job's),
        and what `TrainingRun.train` raises.
    """
    verify_order(home.contract.hash, order, home.directory)
    journal = CoordinatorJournal(home.run_folder(order.run, order.job) / "journal.db")
    try:
        talk = Conversation(
            channel=channel,
            journal=journal,
            identity=home.identity,
            contract=home.contract,
            directory=home.directory,
            run=order.run,
            job=order.job.name,
            patience=patience or Patience(),
        )
        outcome = TrainingRun(order=order, talk=talk, watcher=watcher).train()
    finally:
        journal.close()
    home.keep(outcome)
    return outcome


def make_main(
    watcher: Watcher,
    *,
    patience: Patience | None = None,
    keep: Callable[[Outcome], None] = lambda _outcome: None,
) -> Callable[[Channel, Mapping[str, object]], None]:
    """Return what a ServerApp does: run the order its run configuration names.

    Args: keep: is handed the outcome, beside the files the coordinator's home keeps of it.
    What is returned raises SettingInvalid, FileMissing, JobInvalid, and what `run_job` raises.
    """

    def main(channel: Channel, run_config: Mapping[str, object]) -> None:
        settings = {key: str(run_config.get(key, "")) for key in ("home", "order")}
        for key, value in settings.items():
            if not value:
                raise SettingInvalid(setting=f"run configuration {key}", problem="it is missing")
        home, order = open_coordinator(Path(settings["home"])), read_order(Path(settings["order"]))
        keep(run_job(home, channel, order=order, watcher=watcher, patience=patience))

    return main


app = make_server_app(make_main(LogWatcher()))
