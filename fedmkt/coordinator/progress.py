"""What a run has done so far, as a file that others can follow while it goes on.

runs/RUN/progress.jsonl    one event a line, oldest first; a line is written whole
runs/RUN/rounds/N.json     the model after round N of a horizontal training

Guarantee: events hold counts, names of steps and codes of errors, and nothing that a node sent.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from fedmkt.coordinator.summed_training import Watcher
from fedmkt.core.frozen import Frozen
from fedmkt.models.kept import AnyModel, model_bytes
from fedmkt.storage.whole_file import unwritable, write_whole
from fedmkt.transport.channel import Channel, Traffic

PROGRESS_FILE = "progress.jsonl"


class Event(Frozen):
    """One thing that happened in a run.

    number, of: how many rounds or exchanges are done, and of how many. name: the step, the run
    that goes on in this one's place (`continued`), or the rule, error or step it ended by. code: of
    the error a run ended with, member: whose node ended it or did not answer, each else "".
    pid: the coordinator's process that began it, on the coordinator's machine.
    """

    at: datetime
    what: Literal["begun", "round", "step", "continued", "ended"]
    number: int = Field(default=0, ge=0)
    of: int = Field(default=0, ge=0)
    name: str = ""
    code: str = ""
    member: str = ""
    pid: int = Field(default=0, ge=0)
    exchanges: int = Field(default=0, ge=0)
    bytes_up: int = Field(default=0, ge=0)
    bytes_down: int = Field(default=0, ge=0)


class ProgressFile:
    """Writes down what a run does, and passes it on to another watcher."""

    def __init__(self, folder: Path, channel: Channel, watcher: Watcher) -> None:
        self._folder, self._channel, self._watcher = folder, channel, watcher

    def begun(self) -> None:
        """The run starts, or starts again where it stopped."""
        self._note("begun", pid=os.getpid())

    def finished_round(self, number: int, rounds: int, model: AnyModel) -> None:
        """Round `number` of `rounds` is done."""
        write_whole(self._folder / "rounds" / f"{number}.json", model_bytes(model))
        self._note("round", number=number, of=rounds)
        self._watcher.finished_round(number, rounds, model)

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Exchange `number` of `steps`, called `name`, is done."""
        self._note("step", number=number, of=steps, name=name)
        self._watcher.finished_step(number, steps, name)

    def continued(self, run: str) -> None:
        """The run goes on as another one."""
        self._note("continued", name=run)

    def ended(self, code: str = "", member: str = "", reason: str = "") -> None:
        """The run is over, or stopped by the error of this code at a member's node.

        reason: a rule, an error's code or a step, never an error's text.
        """
        self._note("ended", code=code, member=member, name=reason)

    def _note(
        self,
        what: Literal["begun", "round", "step", "continued", "ended"],
        *,
        number: int = 0,
        of: int = 0,
        name: str = "",
        code: str = "",
        member: str = "",
        pid: int = 0,
    ) -> None:
        traffic: Traffic = self._channel.traffic
        event = Event(
            at=datetime.now(UTC),
            what=what,
            number=number,
            of=of,
            name=name,
            code=code,
            member=member,
            pid=pid,
            exchanges=traffic.exchanges,
            bytes_up=traffic.bytes_up,
            bytes_down=traffic.bytes_down,
        )
        path = self._folder / PROGRESS_FILE
        with unwritable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(event.model_dump_json(exclude_defaults=True) + "\n")


def read_progress(folder: Path) -> Sequence[Event]:
    """Return the events of a run, oldest first; none if it has not begun.

    A line that is being written, or was cut off by a crash, is left out.
    """
    path = folder / PROGRESS_FILE
    if not path.exists():
        return ()
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(Event.model_validate(json.loads(line)))
        except (json.JSONDecodeError, ValidationError):
            continue
    return events
