"""Live progress of a study on the terminal: run, round, loss, budget left, time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class StudyProgress(Protocol):
    """Told how far a study is."""

    def moved(self, aside: Path) -> None:
        """What an earlier study left is in `aside` now."""
        ...

    def planned(self, rounds: int) -> None:
        """The study will take so many rounds in all."""
        ...

    def started(self, run: str) -> None:
        """A run has started."""
        ...

    def finished_round(self, number: int, rounds: int, loss: float, left: float | None) -> None:
        """A round is done. loss: on public data. left: a partner's epsilon left for life."""
        ...

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """An exchange of a run over shared customers is done."""
        ...


class Silent:
    """Shows nothing."""

    def moved(self, aside: Path) -> None:
        """Show nothing."""

    def planned(self, rounds: int) -> None:
        """Show nothing."""

    def started(self, run: str) -> None:
        """Show nothing."""

    def finished_round(self, number: int, rounds: int, loss: float, left: float | None) -> None:
        """Show nothing."""

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Show nothing."""


class Live:
    """A bar over all rounds of the study, with the figures of the current run beside it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("preparing", total=None, facts="")
        self._run = ""

    def moved(self, aside: Path) -> None:
        """Say where the earlier study is."""
        words = f"the earlier demonstration is in {aside} now"
        self._progress.console.print(words, markup=False, highlight=False, soft_wrap=True)

    def planned(self, rounds: int) -> None:
        """Set the length of the bar."""
        self._progress.update(self._task, total=rounds)

    def started(self, run: str) -> None:
        """Name the run."""
        self._run = run
        self._progress.update(self._task, description=run)

    def finished_round(self, number: int, rounds: int, loss: float, left: float | None) -> None:
        """Move the bar on by one round."""
        budget = "no noise" if left is None else f"budget left {left:.2f}"
        facts = f"round {number}/{rounds} loss {loss:.3f} {budget}"
        self._progress.update(self._task, advance=1, facts=facts)

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Move the bar on by one exchange."""
        facts = f"exchange {number}/{steps}: {name}"
        self._progress.update(self._task, advance=1, facts=facts)

    def finished(self) -> None:
        """Take the last run's figures off the line: they are not the study's."""
        self._progress.update(self._task, description="done", facts="")


@contextmanager
def live(console: Console) -> Iterator[Live]:
    """Show progress on `console` while the block runs."""
    columns = (
        TextColumn("{task.description:<17}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console) as progress:
        shown = Live(progress)
        yield shown
        shown.finished()
