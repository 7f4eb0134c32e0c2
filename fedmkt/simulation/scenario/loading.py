"""From a scenario's file, or plain values, to a `Scenario`.

Guarantee: what is wrong is named with its file, its place and, where the file shows it, its line;
a misspelt key with the nearest right one, a key without effect with what it would need.
"""

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from fedmkt.core.errors import ScenarioInvalid
from fedmkt.core.frozen import first_problem
from fedmkt.simulation.scenario.attack_schema import AttackPart, AttackScenario
from fedmkt.simulation.scenario.effect import idle
from fedmkt.simulation.scenario.keys import either, explained, nearest
from fedmkt.simulation.scenario.schema import Scenario, Setting, replaced
from fedmkt.storage.whole_file import read_text

ATTACK = "attack"
_UNKNOWN = "extra_forbidden"
_TAGS = ("union_tag_invalid", "union_tag_not_found")
_FAMILIES = tuple(
    str(family.model_fields["family"].default)
    for family in get_args(Setting.model_fields["model"].annotation)
)
_KINDS = tuple(
    str(get_args(attack.model_fields["kind"].annotation)[0]) for attack in get_args(AttackPart)
)
_TAGGED = {"model": ("family", _FAMILIES), "attack": ("kind", _KINDS)}
"""Parts of several sorts: the key that tells which, and what it may be."""
_PATHS = ("path", "schema_path")


def bundled_scenarios() -> dict[str, str]:
    """Return the text of each bundled scenario by its name."""
    folder = files("fedmkt.simulation.scenario") / "bundled"
    found = [one for one in folder.iterdir() if one.name.endswith(".toml")]
    return {
        one.name.removesuffix(".toml"): one.read_text(encoding="utf-8")
        for one in sorted(found, key=lambda one: one.name)
    }


def load_scenario(given: Path) -> Scenario:
    """Return the scenario of a TOML file, or the bundled one of that name.

    Raises: FileMissing, SettingInvalid (not text), ScenarioInvalid.
    """
    found = load_any(given)
    if isinstance(found, AttackScenario):
        problem = "it is an attack; a scenario with a model is needed here"
        raise ScenarioInvalid(source=str(given), problem=problem)
    return found


def load_any(given: Path) -> Scenario | AttackScenario:
    """Return the scenario of a TOML file, or the bundled one of that name; an attack's too.

    Raises: as `load_scenario`.
    """
    bundled = bundled_scenarios()
    if str(given) in bundled and not given.is_file():
        return parse_any(bundled[str(given)], source=f"{given} (bundled)")
    names = ", ".join(bundled)
    meant = get_close_matches(str(given), bundled, n=1)
    hint = f"Did you mean {meant[0]}? " if meant else ""
    advice = f"{hint}Name a TOML file, or a bundled scenario: {names}."
    return parse_any(
        read_text(given, what="scenario", advice=advice), source=str(given), folder=given.parent
    )


def parse_any(text: str, *, source: str, folder: Path | None = None) -> Scenario | AttackScenario:
    """Parse TOML; a table [attack] makes it an attack. Raises: ScenarioInvalid."""
    value = _toml(text, source)
    if ATTACK in value:
        return attack_of(value, source=source, text=text)
    return scenario_of(value, source=source, folder=folder, text=text)


def parse_scenario(text: str, *, source: str, folder: Path | None = None) -> Scenario:
    """Parse TOML. folder: what paths in it count from. Raises: ScenarioInvalid."""
    return scenario_of(_toml(text, source), source=source, folder=folder, text=text)


def attack_of(value: Mapping[str, Any], *, source: str, text: str = "") -> AttackScenario:
    """Return the attack of plain values. Raises: ScenarioInvalid."""
    try:
        return AttackScenario.model_validate(dict(value))
    except ValidationError as error:
        raise ScenarioInvalid(source=source, problem=problem_of(error, text)) from None


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioInvalid(source=source, problem=f"it is not TOML: {error}") from None


def scenario_of(
    value: Mapping[str, Any], *, source: str, folder: Path | None = None, text: str = ""
) -> Scenario:
    """Return the scenario of plain values. Raises: ScenarioInvalid."""
    try:
        scenario = Scenario.model_validate(_anchored(value, folder))
    except ValidationError as error:
        raise ScenarioInvalid(source=source, problem=problem_of(error, text)) from None
    if without_effect := idle(scenario):
        key, why = without_effect
        raise ScenarioInvalid(source=source, problem=f"{_where(text, key)}{key}: {why}")
    return scenario


def problem_of(error: ValidationError, text: str = "") -> str:
    """Return the first problem in words: place, line where `text` shows it, and rule."""
    problems = error.errors(include_input=False)
    problem = next((one for one in problems if one["type"] == _UNKNOWN), problems[0])
    place = _place(problem["loc"])
    where = _where(text, place)
    if problem["type"] == _UNKNOWN:
        meant, part = nearest(place), place.partition(".")[0]
        hint = f" (did you mean {meant}?)" if meant else ""
        if meant == place and part == "model":  # a key, but of the other family of models
            only = either([f"'{one}'" for key in explained(place) for one in key.only])
            return f"{where}{place} is a key of another model; say model.family = {only}"
        if meant == place and part in _TAGGED:
            hint = f" (another {part}.{_TAGGED[part][0]} has it)"
        return f"{where}unknown key {place}{hint}"
    if problem["type"] in _TAGS:
        key, tags = _TAGGED[place]
        known = " or ".join(f"'{tag}'" for tag in tags)
        return f"{where}{place}.{key}: it must be {known}"
    words = first_problem(error)
    written = ".".join(str(part) for part in problem["loc"])
    return where + (words.replace(written, place, 1) if written else words)


def _place(loc: tuple[int | str, ...]) -> str:
    """Return a dotted key; a union's tag, which no file says, is left out."""
    _, tags = _TAGGED.get(str(loc[0]) if loc else "", ("", ()))
    kept = (loc[0], *loc[2:]) if len(loc) > 1 and loc[1] in tags else loc
    return ".".join(str(part) for part in kept)


def _where(text: str, place: str) -> str:
    line = _line(text, place)
    return f"line {line}, " if line else ""


def _line(text: str, place: str) -> int | None:
    """Return the line that sets `place`, or that sweeps over it, counted from 1."""
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            section = header[1].replace('"', "")
            if section == place:
                return number
        elif key := re.match(r"\s*([\w.\"'-]+?)\s*=", line):
            name = re.sub(r"[\"']", "", key[1])
            whole = f"{section}.{name}" if section else name
            if place in (whole, whole.removeprefix("sweep.")) or (
                section == "sweep" and place.startswith(f"{whole}.")
            ):
                return number
    return None


def _anchored(value: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return the values with paths that count from the file's folder made absolute."""
    data = value.get("data")
    if folder is None or not isinstance(data, Mapping):
        return dict(value)
    given = {key: data[key] for key in _PATHS if isinstance(data.get(key), str)}
    return replaced(
        value, {f"data.{key}": str((folder / path).absolute()) for key, path in given.items()}
    )
