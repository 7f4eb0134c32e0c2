"""The coordinator as Flower's ServerApp: reads a job, runs it, keeps model and receipts.

Run configuration: `home` (the coordinator's folder) and `order` (path of a signed order; the same
order again resumes its run).
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from fedmkt.contract.job import AnyJob, Job, NetworkJob
from fedmkt.contract.order import Order, job_as_run, may_restart, run_without, verify_order
from fedmkt.coordinator.alignment import AlignmentRun, OverlapRun
from fedmkt.coordinator.closing import abandon_run, broke_protocol
from fedmkt.coordinator.conversation import Conversation, Patience
from fedmkt.coordinator.home import CoordinatorHome, open_coordinator
from fedmkt.coordinator.network_training import NetworkTrainingRun
from fedmkt.coordinator.progress import ProgressFile
from fedmkt.coordinator.shared_run import SharedOutcome, SharedRun
from fedmkt.coordinator.split import SplitRun
from fedmkt.coordinator.summed_training import Outcome, Watcher
from fedmkt.coordinator.training import TrainingRun
from fedmkt.coordinator.vertical import ExpansionRun, ScoringRun, VerticalRun
from fedmkt.core.errors import (
    FedmktError,
    NodeFailed,
    QuorumLost,
    RunNotOpen,
    RunRefused,
    SettingInvalid,
)
from fedmkt.core.logs import about_run, log_to_stderr
from fedmkt.models.kept import AnyModel
from fedmkt.storage.contract_files import read_order
from fedmkt.storage.journal import CoordinatorJournal
from fedmkt.transport.channel import Channel
from fedmkt.transport.flower import make_server_app

_log = logging.getLogger(__name__)


class LogWatcher:
    """Says in the log which round is done."""

    def finished_round(self, number: int, rounds: int, model: AnyModel) -> None:  # noqa: ARG002
        """Log the round."""
        _log.info("round %d of %d finished", number, rounds)

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Log the exchange."""
        _log.info("exchange %d of %d finished: %s", number, steps, name)


AnyOutcome = Outcome[AnyModel] | SharedOutcome
_SHARED: dict[str, type[SharedRun]] = {
    run.kind: run
    for run in (OverlapRun, AlignmentRun, VerticalRun, SplitRun, ScoringRun, ExpansionRun)
}


def run_job(
    home: CoordinatorHome,
    channel: Channel,
    *,
    order: Order,
    watcher: Watcher,
    patience: Patience | None = None,
) -> AnyOutcome:
    """Run an order over a channel and keep what came of it.

    A training over shared customers whose order allows it starts again without partners that are
    lost, as a run of its own.
    Raises: SignatureInvalid (not the requester's), RequestConflict (the run is another job's),
        RunFinished (over shared customers; a horizontal training is resumed to its end), and what
        `TrainingRun.train` and `SharedRun.run` raise.
    """
    verify_order(home.contract.hash, order, home.directory)
    lost = home.lost_of(order)
    while True:
        try:
            with about_run(run_without(order.run, lost)):
                outcome = _run_once(home, channel, order, lost, watcher, patience or Patience())
            break
        except (QuorumLost, NodeFailed) as failure:
            missing = lost_partners(order.job, failure, lost)
            if not missing:
                raise
            lost = home.lost_of(order)
            _log.warning("%s lost; starting again without", ", ".join(missing))
    return outcome


def _run_once(
    home: CoordinatorHome,
    channel: Channel,
    order: Order,
    lost: tuple[str, ...],
    watcher: Watcher,
    patience: Patience,
) -> AnyOutcome:
    run = run_without(order.run, lost)
    home.refuse_finished(run)
    folder = home.run_folder(run, order.job)
    progress = ProgressFile(folder, channel, watcher)
    journal = CoordinatorJournal(folder / "journal.db")
    try:
        progress.begun()
        talk = Conversation(
            channel=channel,
            journal=journal,
            identity=home.identity,
            contract=home.contract,
            directory=home.directory,
            run=run,
            job=order.job.name,
            patience=patience,
            check=lambda: home.check_goes_on(order),
            keep_receipts=lambda receipts: home.keep_receipts(run, receipts),
        )
        job = job_as_run(order.job, lost)
        if isinstance(job, Job | NetworkJob):
            trained = _train(order, job, talk, progress)
            home.keep(trained)
            progress.ended()
            return trained
        shared = _SHARED[job.kind](order=order, job=job, talk=talk, watcher=progress, lost=lost)
        try:
            outcome = shared.run()
        except (QuorumLost, NodeFailed) as failure:
            if missing := lost_partners(order.job, failure, lost):
                # Noted first: a coordinator that stops in between must not go back to a run whose
                # nodes were told that it is over.
                left = tuple(sorted({*lost, *missing}))
                home.remember_lost(order, left)
                progress.continued(run_without(order.run, left))
                abandon_run(talk)
            raise
        home.keep(outcome)
        progress.ended()
        journal.let_go()
        return outcome
    except Exception as error:
        code = error.code if isinstance(error, FedmktError) else "internal_error"
        progress.ended(code, *_member_and_reason(error))
        raise
    finally:
        journal.close()


def _train(
    order: Order, job: Job | NetworkJob, talk: Conversation, watcher: Watcher
) -> Outcome[AnyModel]:
    """Run a horizontal training to its end. Raises: as `SummedTraining.train`."""
    if isinstance(job, Job):
        return TrainingRun(order=order, job=job, talk=talk, watcher=watcher).train()
    return NetworkTrainingRun(order=order, job=job, talk=talk, watcher=watcher).train()


def _member_and_reason(error: Exception) -> tuple[str, str]:
    """Return which members ended a run and by which rule, error or step, each "" if not known."""
    if isinstance(error, RunRefused):
        return str(error.fields["member"]), str(error.fields["rule"])
    if isinstance(error, NodeFailed):
        return str(error.fields["member"]), str(error.fields["error"])
    if isinstance(error, QuorumLost):
        return str(error.fields["missing"]), f"no answer to {error.fields['step']}"
    return "", ""


def exchanges_of(job: AnyJob) -> int:
    """Return how many exchanges a run of a job over shared customers takes.

    Raises: KeyError for a horizontal training, whose exchanges depend on who drops out.
    """
    return _SHARED[job.kind].exchanges(job)


def lost_partners(
    job: AnyJob, failure: QuorumLost | NodeFailed, lost: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the partners that `failure` lost, if the job may start again without them.

    Who found the protocol broken is not lost, unless its own run is over; and a run that lacks
    receipts alone is not begun again: it is resumed.
    """
    over = failure.fields.get("error") == RunNotOpen.code
    if failure.fields["step"] == "close" or (broke_protocol(failure) and not over):
        return ()
    named = failure.fields.get("missing", failure.fields.get("member"))
    missing = tuple(str(named).split(", "))
    return missing if may_restart(job, tuple(sorted({*lost, *missing}))) else ()


def make_main(
    watcher: Watcher,
    *,
    patience: Patience | None = None,
    keep: Callable[[AnyOutcome], None] = lambda _outcome: None,
    log: bool = False,
) -> Callable[[Channel, Mapping[str, object]], None]:
    """Return what a ServerApp does: run the order its run configuration names.

    Args: keep: is handed the outcome, beside the files the coordinator's home keeps of it. log:
            whether to log to standard error, where nobody else set that up.
    What is returned raises SettingInvalid, FileMissing, JobInvalid, and what `run_job` raises.
    """

    def main(channel: Channel, run_config: Mapping[str, object]) -> None:
        settings = {key: str(run_config.get(key, "")) for key in ("home", "order")}
        for key, value in settings.items():
            if not value:
                raise SettingInvalid(setting=f"run configuration {key}", problem="it is missing")
        home, order = open_coordinator(Path(settings["home"])), read_order(Path(settings["order"]))
        if log:
            log_to_stderr(home.contract.coordinator.name)
        keep(run_job(home, channel, order=order, watcher=watcher, patience=patience))

    return main


app = make_server_app(make_main(LogWatcher(), log=True))
