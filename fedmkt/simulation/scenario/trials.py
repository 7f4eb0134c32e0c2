"""From a scenario to its trials: every combination of swept values with every seed.

Guarantee: a trial's id stands for what it computes: the whole setting, the seed and the bytes of
the files it reads; two trials of one id would give the same rows. Every combination is checked
before any runs.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from fedmkt import __version__
from fedmkt.core.errors import FileMissing, ScenarioInvalid
from fedmkt.simulation.scenario.loading import problem_of
from fedmkt.simulation.scenario.schema import Scenario, Setting, replaced
from fedmkt.wire.canonical import canonical_json, digest

MOST_TRIALS = 100_000
_ID_DIGITS = 16
_OF_SCENARIO = {"name", "seeds", "sweep"}


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting with one seed. swept: the values it has of the swept keys."""

    id: str
    setting: Setting
    seed: int
    swept: Mapping[str, JsonValue]


def expand(scenario: Scenario) -> tuple[Trial, ...]:
    """Return all trials: the first swept key varies slowest, seeds fastest.

    Raises: ScenarioInvalid (a combination that cannot be); FileMissing.
    """
    keys = tuple(scenario.sweep)
    count = len(scenario.seeds)
    for values in scenario.sweep.values():
        count *= len(values)
    if count > MOST_TRIALS:
        problem = f"the sweep has {count:,} trials, more than {MOST_TRIALS:,}"
        raise ScenarioInvalid(source=scenario.name, problem=problem)
    base = scenario.model_dump(exclude=_OF_SCENARIO, exclude_unset=True)
    trials = []
    for values in itertools.product(*scenario.sweep.values()):
        swept = dict(zip(keys, values, strict=True))
        setting = _setting(scenario, base, swept)
        trials += [Trial(_id(setting, seed), setting, seed, swept) for seed in scenario.seeds]
    return tuple(trials)


def family_of(scenario: Scenario) -> str:
    """Return what stands for the scenario but its seeds and swept values: its results' owner."""
    setting = _content(_setting(scenario, scenario.model_dump(exclude=_OF_SCENARIO), {}))
    for key in scenario.sweep:
        *above, last = key.split(".")
        part = setting
        for name in above:
            part = part[name]
        part.pop(last, None)
    content = {"name": scenario.name, "setting": setting, "sweep": sorted(scenario.sweep)}
    return digest(canonical_json(content))


def _setting(scenario: Scenario, base: Mapping[str, Any], swept: Mapping[str, Any]) -> Setting:
    try:
        return Setting.model_validate(replaced(base, swept))
    except ValidationError as error:
        which = ", ".join(f"{key} = {value}" for key, value in swept.items())
        problem = f"with {which}: {problem_of(error)}"
        raise ScenarioInvalid(source=scenario.name, problem=problem) from None


def _id(setting: Setting, seed: int) -> str:
    content = {"setting": _content(setting), "seed": seed}
    return digest(canonical_json(content))[:_ID_DIGITS]


def _content(setting: Setting) -> dict[str, Any]:
    """Return the setting with its files' bytes in place of their paths, and who computes it."""
    plain = setting.model_dump(mode="json")
    for key in ("path", "schema_path"):
        file: Path | None = getattr(setting.data, key)
        if file is not None:
            plain["data"][key] = _file_digest(file)
    return plain | {"version": __version__}


def _file_digest(file: Path) -> str:
    if not file.is_file():
        advice = "Correct the path in the scenario's [data]."
        raise FileMissing(what="table or schema", path=file, advice=advice)
    status = file.stat()
    return _digest_of(file, status.st_mtime_ns, status.st_size)


@cache
def _digest_of(file: Path, _changed: int, _size: int) -> str:
    return digest(file.read_bytes())
