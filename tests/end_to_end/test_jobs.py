"""Jobs on a deployment whose SuperLink is played: started or not, stopped, told about."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from end_to_end.small_world import small_job, small_world
from typer.testing import CliRunner

from fedmkt.cli.commands import app
from fedmkt.contract.job import Job
from fedmkt.coordinator.progress import PROGRESS_FILE, Event
from fedmkt.core.errors import LinkUnreachable, RequestConflict, RunRefused, SettingInvalid
from fedmkt.deployment import jobs
from fedmkt.deployment.plan import Layout, Plan, ProcessStatus, Status
from fedmkt.storage.contract_files import write_job
from fedmkt.transport.control import LinkRun


class Link:
    """A SuperLink's control routes, answering or not."""

    def __init__(self, *, answers: bool) -> None:
        self.answers, self.status, self.started = answers, "pending", 0

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None: ...

    def start(self, _config: dict[str, str]) -> int:
        if not self.answers:
            raise LinkUnreachable(address="127.0.0.1:9444", problem="ConnectError")
        self.started += 1
        return 7

    def run(self, run_id: int) -> LinkRun:
        return LinkRun(run_id, self.status)

    def stop(self, run_id: int) -> None:
        assert run_id == 7
        self.status = "finished:stopped"


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    found = Link(answers=False)
    monkeypatch.setattr(jobs, "operators_control", lambda *_: found)
    monkeypatch.setattr(jobs, "_CANCEL_S", 0.0)
    return found


@pytest.fixture
def deployment(tmp_path: Path) -> tuple[Layout, Job]:
    world, layout = small_world(tmp_path, members=2), Layout(tmp_path)
    world.close()
    layout.write_plan(Plan(control_port=9444, fleet_port=9443, commands=()))
    own = ProcessStatus(name="supervisor", state="up", pid=os.getpid())
    layout.write_status(Status(supervisor=own, at=datetime.now(UTC)))
    return layout, small_job(world)


def test_an_order_that_did_not_reach_the_superlink_is_stopped_and_resumed(
    deployment: tuple[Layout, Job], link: Link
) -> None:
    layout, job = deployment
    with pytest.raises(LinkUnreachable):
        jobs.submit(layout, job, "first")
    with pytest.raises(RequestConflict):
        jobs.submit(layout, job, "first")
    found = jobs.standing(layout, "first")
    assert (found.state, found.code) == ("stopped", jobs.NOT_STARTED)
    assert jobs.cancel(layout, "first").state == "stopped"
    with pytest.raises(LinkUnreachable):
        jobs.resume(layout, "first")
    link.answers = True
    jobs.resume(layout, "first")
    assert link.started == 1
    assert jobs.standing(layout, "first").state == "waiting"


def test_a_runs_name_hides_no_other_run(deployment: tuple[Layout, Job], link: Link) -> None:
    layout, job = deployment
    link.answers = True
    for name in ("spring.link", "spring"):
        jobs.submit(layout, job, name)
    assert {one.order for one in jobs.standings(layout)} == {"spring.link", "spring"}


def test_a_run_that_does_not_end_by_itself_is_told_as_it_stands_after_its_stop(
    deployment: tuple[Layout, Job], link: Link
) -> None:
    layout, job = deployment
    link.answers = True
    jobs.submit(layout, job, "first")
    found = jobs.cancel(layout, "first")
    assert (found.state, found.code) == ("stopped", jobs.PROCESS_ENDED)


def test_a_run_whose_start_was_not_confirmed_is_cancelled_without_its_number(
    deployment: tuple[Layout, Job], link: Link
) -> None:
    layout, job = deployment
    with pytest.raises(LinkUnreachable):
        jobs.submit(layout, job, "first")
    note(layout, Event(at=datetime.now(UTC), what="begun", pid=os.getpid()))
    assert jobs.cancel(layout, "first").state == "running"
    assert (layout.coordinator / "runs" / "first" / "cancelled").exists()


def note(layout: Layout, event: Event) -> None:
    """Write down what the run `first` did."""
    folder = layout.coordinator / "runs" / "first"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRESS_FILE).write_text(event.model_dump_json() + "\n")


@pytest.mark.parametrize(
    ("words", "told"), [((), "give --follow"), (("--follow",), "have a report")]
)
def test_a_place_for_a_report_that_there_will_not_be_is_refused_before_anything_starts(
    deployment: tuple[Layout, Job], link: Link, words: tuple[str, ...], told: str
) -> None:
    layout, job = deployment
    link.answers = True
    write_job(layout.folder / "job.toml", job)
    place = ("--out", "report", "--home", str(layout.folder))
    ran = CliRunner().invoke(
        app, ["job", "submit", str(layout.folder / "job.toml"), *place, *words]
    )
    assert isinstance(ran.exception, SettingInvalid)
    assert told in str(ran.exception)
    assert link.started == 0
    jobs.submit(layout, job, "first")
    ran = CliRunner().invoke(app, ["job", "follow", "first", *place])
    assert "have a report" in str(ran.exception)


@pytest.mark.parametrize("here", [True, False])
def test_the_home_of_a_node_that_refused_is_told_where_it_is_on_this_machine(
    deployment: tuple[Layout, Job], link: Link, here: bool
) -> None:
    layout, job = deployment
    link.answers = True
    jobs.submit(layout, job, "first")
    refused = Event(at=datetime.now(UTC), what="ended", code=RunRefused.code, member="member-1")
    note(layout, refused)
    home = layout.node("member-1")
    if not here:
        home.rename(layout.folder / "elsewhere")
    ran = CliRunner().invoke(app, ["job", "follow", "first", "--home", str(layout.folder)])
    assert ran.exit_code == RunRefused.exit_code
    assert f"ledger explain first --home {home if here else 'HOME'}\n" in ran.output
