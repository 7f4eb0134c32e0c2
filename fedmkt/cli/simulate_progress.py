"""How far a sweep is: a bar on a terminal, plain lines to standard error elsewhere.

Guarantee: nothing is shown before it is known how many trials there are, so that a refusal stands
alone. Elsewhere a line is written at each tenth of the trials, and every half a minute.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fedmkt.core.errors import FedmktError

_SHOWN_FAILURES = 5
_TENTHS = 10
EVERY_S = 30.0


class Shown:
    """What both ways of showing share: failures, and the question before a long sweep."""

    def __init__(self, *, yes: bool) -> None:
        self._yes, self._failures, self._trials = yes, 0, 0

    def say(self, words: str) -> None:
        """Write a line."""
        typer.echo(words, err=True)

    def planned(self, trials: int, finished: int, left_s: float) -> None:  # noqa: ARG002
        """Say what was finished before."""
        self._trials = trials
        if finished:
            self.say(f"{finished} of {trials} trials were finished before and are kept")

    def failed(self, trial: str, error: FedmktError) -> None:
        """Say which trial failed and why; of many the first few."""
        self._failures += 1
        if self._failures <= _SHOWN_FAILURES:
            self.say(f"{trial} failed: {error.code}: {error}")

    def noted(self, words: str) -> None:
        """Say it."""
        self.say(words)

    def agrees(self, trials: int, left_s: float) -> bool:
        """Say how long it takes, and ask."""
        typer.echo(f"{trials} trials will take about {in_words(left_s)}")
        return self._yes or (
            sys.stdin.isatty() and click.confirm("Go on? What is finished is kept")
        )


class Bar(Shown):
    """A bar over the trials, with the time left."""

    def __init__(self, progress: Progress, *, yes: bool) -> None:
        super().__init__(yes=yes)
        self._progress = progress
        self._task = progress.add_task("trials", total=None, left="")

    def say(self, words: str) -> None:
        """Write a line above the bar."""
        self._progress.console.print(words, markup=False, highlight=False, soft_wrap=True)

    def planned(self, trials: int, finished: int, left_s: float) -> None:
        """Show the bar."""
        super().planned(trials, finished, left_s)
        self._progress.update(self._task, total=trials, completed=finished, left=_left(left_s))
        self._progress.start()

    def advanced(self, finished: int, left_s: float) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=finished, left=_left(left_s))

    def agrees(self, trials: int, left_s: float) -> bool:
        """Say how long it takes, and ask, without the bar."""
        self._progress.stop()
        agreed = super().agrees(trials, left_s)
        self._progress.start()
        return agreed


class Lines(Shown):
    """A line now and then."""

    def __init__(self, *, yes: bool) -> None:
        super().__init__(yes=yes)
        self._finished, self._ends_at = 0, 0.0
        self._said_at, self._said_tenth = time.monotonic(), 0
        self._lock = threading.Lock()

    def planned(self, trials: int, finished: int, left_s: float) -> None:
        """Say how many trials there are, and how long they take."""
        super().planned(trials, finished, left_s)
        with self._lock:
            self._known(finished, left_s)
            self._tell()

    def advanced(self, finished: int, left_s: float) -> None:
        """Say it where another tenth is done."""
        with self._lock:
            self._known(finished, left_s)
            if _TENTHS * finished // self._trials > self._said_tenth:
                self._tell()

    def tell_late(self) -> None:
        """Say it where nothing was said for long."""
        with self._lock:
            if self._trials and time.monotonic() - self._said_at >= EVERY_S:
                self._tell()

    def _known(self, finished: int, left_s: float) -> None:
        self._finished, self._ends_at = finished, time.monotonic() + left_s if left_s else 0.0

    def _tell(self) -> None:
        # Nothing is said of a time that has passed: it was too short, by nobody knows how much.
        left = _left(self._ends_at - time.monotonic())
        self.say(f"{self._finished} of {self._trials} trials{', ' if left else ''}{left}")
        self._said_at = time.monotonic()
        self._said_tenth = _TENTHS * self._finished // max(1, self._trials)


@contextmanager
def shown(console: Console, *, yes: bool) -> Iterator[Bar | Lines]:
    """Show how far a sweep is while the block runs."""
    if console.is_terminal:
        columns = (
            TextColumn("trials"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        progress = Progress(*columns, console=console)
        try:
            yield Bar(progress, yes=yes)
        finally:
            progress.stop()
        return
    lines, over = Lines(yes=yes), threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S / _TENTHS):
            lines.tell_late()

    threading.Thread(target=watch, daemon=True, name="progress").start()
    try:
        yield lines
    finally:
        over.set()


def _left(seconds: float) -> str:
    return f"about {in_words(seconds)} left" if seconds > 0 else ""


def in_words(seconds: float) -> str:
    """Return seconds as people say them."""
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    whole = max(1, round(seconds))
    return f"{whole} second{'s' if whole > 1 else ''}"
