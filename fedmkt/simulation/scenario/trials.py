"""From a scenario to its trials: every combination of swept values with every seed.

Guarantee: a trial's id stands for what it computes: what its setting has other than the defaults,
the seed, the bytes of the files it reads and the version; two trials of one id would give the same
rows. Its noise follows from the same without the version, so a later version, or one more key with
a default, leaves a trial's noise as it was. Every combination is checked before any runs,
and no trial is there twice.
Not guaranteed: that a default which another version changed is told from the earlier one by its
noise; by its id it is.
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
_DIGITS = 16
_OF_SCENARIO = {"name", "seeds", "sweep"}


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting with one seed. run: what its noise follows from, beside the seed. swept: the
    values it has of the swept keys."""

    id: str
    run: str
    setting: Setting
    seed: int
    swept: Mapping[str, JsonValue]

    @property
    def words(self) -> str:
        """Return which trial it is, as `privacy.epsilon = 1, seed 2`."""
        return ", ".join(filter(None, (self.combination, f"seed {self.seed}")))

    @property
    def combination(self) -> str:
        """Return the swept values, as `privacy.epsilon = 1`; nothing without a sweep."""
        return _words(self.swept)


def expand(scenario: Scenario) -> tuple[Trial, ...]:
    """Return all trials: the first swept key varies slowest, seeds fastest.

    Raises: ScenarioInvalid (a combination that cannot be, or is another one's setting);
        FileMissing.
    """
    keys = tuple(scenario.sweep)
    count = len(scenario.seeds)
    for values in scenario.sweep.values():
        count *= len(values)
    if count > MOST_TRIALS:
        problem = f"the sweep has {count:,} trials, more than {MOST_TRIALS:,}"
        raise ScenarioInvalid(source=scenario.name, problem=problem)
    base = scenario.model_dump(exclude=_OF_SCENARIO, exclude_unset=True)
    trials: list[Trial] = []
    known: dict[str, Mapping[str, JsonValue]] = {}
    for values in itertools.product(*scenario.sweep.values()):
        swept = dict(zip(keys, values, strict=True))
        setting = _setting(scenario, base, swept)
        content = _content(setting)
        same = known.setdefault(digest(canonical_json(content)), swept)
        if same is not swept:  # as 1 and 1.0, or a section and a key of it
            problem = f"with {_words(swept)}: it is the same setting as with {_words(same)}"
            raise ScenarioInvalid(source=scenario.name, problem=problem)
        trials += [_trial(content, setting, seed, swept) for seed in scenario.seeds]
    return tuple(trials)


def family_of(scenario: Scenario) -> str:
    """Return what stands for the scenario but its seeds and swept values: its results' owner."""
    content = _content(_setting(scenario, scenario.model_dump(exclude=_OF_SCENARIO), {}))
    for key in scenario.sweep:
        content = _without(content, key)
    owner = {"name": scenario.name, "setting": content, "sweep": sorted(scenario.sweep)}
    return digest(canonical_json(owner | {"version": __version__}))


def _without(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return plain values without a dotted key; a section that nothing is left of goes with it."""
    first, _, rest = key.partition(".")
    kept = {name: value for name, value in content.items() if name != first}
    if (
        rest
        and isinstance(below := content.get(first), Mapping)
        and (left := _without(below, rest))
    ):
        kept[first] = left
    return kept


def _setting(scenario: Scenario, base: Mapping[str, Any], swept: Mapping[str, Any]) -> Setting:
    try:
        return Setting.model_validate(replaced(base, swept))
    except ValidationError as error:
        problem = f"with {_words(swept)}: {problem_of(error)}"
        raise ScenarioInvalid(source=scenario.name, problem=problem) from None


def _words(swept: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in swept.items())


def _trial(
    content: Mapping[str, Any], setting: Setting, seed: int, swept: Mapping[str, JsonValue]
) -> Trial:
    whole = {"setting": content, "seed": seed}
    return Trial(
        id=digest(canonical_json(whole | {"version": __version__}))[:_DIGITS],
        run=f"trial-{digest(canonical_json(whole))[:_DIGITS]}",
        setting=setting,
        seed=seed,
        swept=swept,
    )


def _content(setting: Setting) -> dict[str, Any]:
    """Return what is not a default, with files' bytes in place of their paths."""
    plain = setting.model_dump(mode="json", exclude_defaults=True)
    # Families share names of keys, so which one it is stands there even where it is the default.
    plain["model"] = {**plain.get("model", {}), "family": setting.model.family}
    for key in ("path", "schema_path"):
        file: Path | None = getattr(setting.data, key)
        if file is not None:
            plain["data"][key] = _file_digest(file)
    return plain


def _file_digest(file: Path) -> str:
    if not file.is_file():
        advice = "Correct the path in the scenario's [data]."
        raise FileMissing(what="table or schema", path=file, advice=advice)
    status = file.stat()
    return _digest_of(file, status.st_mtime_ns, status.st_size)


@cache
def _digest_of(file: Path, _changed: int, _size: int) -> str:
    return digest(file.read_bytes())
