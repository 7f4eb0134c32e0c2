"""The results folder: one file a finished trial, and whose results they are.

Guarantee: a trial's file is whole and on disk before the trial counts as finished, so what a killed
sweep finished is kept; one process at a time writes; a folder of another scenario is refused
untouched.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedmkt import __version__
from fedmkt.core.errors import ResultsInUse, ResultsOfAnother, SettingInvalid
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.attack_trials import attack_family
from fedmkt.simulation.scenario.difference import difference
from fedmkt.simulation.scenario.rows import Row, failed_row
from fedmkt.simulation.scenario.schema import Scenario
from fedmkt.simulation.scenario.trials import family_of
from fedmkt.storage.whole_file import unwritable, write_whole

AnyScenario = Scenario | AttackScenario
_OWNER, _TRIALS, _WORK, _LOCK = "scenario.json", "trials", ".work", ".lock"


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished trial: its rows, and the seconds its parts took.

    failed: it could not be simulated. left_out: rows of its table that were not read, since of each
    customer one row counts. taken: what of a table of the user's own was taken for what, in words.
    """

    rows: tuple[Row, ...]
    seconds: dict[str, float]
    failed: bool = False
    left_out: int = 0
    taken: str = ""


@dataclass(frozen=True, slots=True)
class ResultsFolder:
    """Where a scenario's results go."""

    path: Path

    @property
    def work(self) -> Path:
        """Return the folder that trials put their passing files into."""
        return self.path / _WORK

    @contextmanager
    def held(self, scenario: AnyScenario) -> Iterator[None]:
        """Keep the folder for this scenario and this process while the block runs.

        Raises: SettingInvalid (no folder), ResultsOfAnother, ResultsInUse, OutputUnwritable.
        """
        if self.path.exists() and not self.path.is_dir():
            problem = "it is a file, not a folder"
            raise SettingInvalid(setting=f"--out {self.path}", problem=problem)
        self._refuse_another(scenario)
        with unwritable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResultsInUse(path=self.path) from None
            try:
                self._take(scenario)
                yield
            finally:
                # What passes belongs to whoever holds the lock.
                shutil.rmtree(self.work, ignore_errors=True)
        finally:
            os.close(lock)

    def _refuse_another(self, scenario: AnyScenario) -> None:
        """Raise ResultsOfAnother unless the folder is empty or of this scenario."""
        try:
            owner = json.loads((self.path / _OWNER).read_bytes())
            stands, found = owner["family"], difference(owner, scenario)
        except FileNotFoundError:
            if not self.path.exists() or {one.name for one in self.path.iterdir()} <= {_LOCK}:
                return
            stands, found = None, "it has files and no scenario.json"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            stands, found = None, "its scenario.json cannot be read"
        if stands != _family(scenario):
            raise ResultsOfAnother(path=self.path, difference=found)

    def _take(self, scenario: AnyScenario) -> None:
        with unwritable(self.work):
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir()
        plain = scenario.model_dump(mode="json")
        owner = {
            "name": scenario.name,
            "family": _family(scenario),
            "version": __version__,
            "scenario": plain,
        }
        write_whole(self.path / _OWNER, json.dumps(owner, indent=2).encode() + b"\n")

    def finished(self, trial: str) -> Finished | None:
        """Return a finished trial, or None. A file that is not whole counts for nothing."""
        try:
            value = self.kept(trial)
            if value is None:
                return None
            rows = tuple(Row(**row) for row in value["rows"])
            seconds = {name: float(s) for name, s in value["seconds"].items()}
            failed, left_out = value.get("failed") is True, int(value.get("left_out", 0))
            taken = str(value.get("taken", ""))
            return Finished(rows, seconds, failed=failed, left_out=left_out, taken=taken)
        except (ValueError, KeyError, TypeError):
            return None

    def finish(
        self,
        trial: str,
        rows: Sequence[Row],
        seconds: dict[str, float],
        *,
        left_out: int = 0,
        taken: str = "",
    ) -> None:
        """Make a trial's rows durable. Raises: OutputUnwritable."""
        plain = [asdict(row) for row in rows]
        told = {"left_out": left_out, "taken": taken}
        self.keep(trial, {"rows": plain, "seconds": seconds, **told})

    def fail(self, trial: str, code: str) -> None:
        """Write down that a trial could not be simulated, and why. Raises: OutputUnwritable."""
        rows = [asdict(failed_row(code))]
        self.keep(trial, {"rows": rows, "seconds": {}, "failed": True})

    def kept(self, trial: str) -> Any:
        """Return what `keep` made durable, or None. A file that is not whole counts for nothing."""
        try:
            return json.loads(self._file(trial).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def keep(self, trial: str, value: Mapping[str, Any]) -> None:
        """Make a trial's plain values durable, all numbers finite. Raises: OutputUnwritable."""
        plain = {"trial": trial, **value}
        write_whole(self._file(trial), json.dumps(plain, allow_nan=False).encode())

    def _file(self, trial: str) -> Path:
        return self.path / _TRIALS / f"{trial}.json"


def _family(scenario: AnyScenario) -> str:
    return attack_family(scenario) if isinstance(scenario, AttackScenario) else family_of(scenario)
