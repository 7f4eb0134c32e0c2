"""When a scenario's keys have an effect. What was written and has none is refused.

Guarantee: a key that stands in the table below and was written has an effect in one combination of
the sweep at least, a swept one in all of them: else one setting would be tried more than once.
Not guaranteed: that an effect is large, or that a key which is not in the table has one; of a table
of partners, that each one's value has one. A key that another one replaces for every partner is
refused by `vertical_checks`, which knows the partners' names.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fedmkt.simulation.scenario.schema import WHOLE, Scenario, Setting, flat, replaced

_WHOLE = {*WHOLE}


@dataclass(frozen=True, slots=True)
class Need:
    """What another key must hold for a key to have an effect. words: the same for a reader."""

    key: str
    words: str
    holds: Callable[[Any], bool]


def _is(key: str, *values: str) -> Need:
    return Need(key, f"{key} = {' or '.join(values)}", lambda value: value in values)


def _is_not(key: str, unfit: str) -> Need:
    return Need(key, f"{key} is not {unfit}", lambda value: value != unfit)


def _given(key: str) -> Need:
    return Need(key, f"{key} is given", lambda value: value is not None and value != {})


def _absent(key: str) -> Need:
    return Need(key, f"{key} is left out", lambda value: value is None or value == {})


def _above(key: str, least: float) -> Need:
    return Need(key, f"{key} is more than {least:g}", lambda value: _number(value) > least)


def _below(key: str, most: float) -> Need:
    return Need(key, f"{key} is less than {most:g}", lambda value: _number(value) < most)


def _one_below(key: str, most: float) -> Need:
    words = f"a value of {key} is less than {most:g}"
    return Need(key, words, lambda held: any(_number(value) < most for value in held.values()))


def _number(value: Any) -> float:
    # Anything else is refused by the key's own type.
    return float(value) if isinstance(value, int | float) else 0.0


_VERTICAL = _is("partition.kind", "vertical")
_HORIZONTAL = _is_not("partition.kind", "vertical")
_LINE = _given("link.mbit_s")
_NOISE = _is_not("privacy.trust", "none")
_LOCAL_STEPS = _is_not("model.algorithm", "fedsgd")
_MOMENTS = _is("model.server.rule", "fedadam", "fedyogi")
_KNOWN_IN_PART = (_below("partition.overlap", 1), _one_below("vertical.overlaps", 1))

NEEDS: Mapping[str, Sequence[Need | tuple[Need, ...]]] = {
    "data.set": [_is("data.kind", "bundled")],
    "data.path": [_is("data.kind", "file")],
    "data.schema_path": [_is("data.kind", "file")],
    "data.positive": [_is("data.kind", "file"), _absent("data.schema_path")],
    "data.generator": [_is("data.kind", "generated")],
    "data.generator.parties": [_absent("vertical.shares")],
    "data.generator.correlation": [
        (_above("data.generator.parties", 1), _given("vertical.shares")),
    ],
    "partition.column": [_is("partition.kind", "column", "dirichlet")],
    "partition.alpha": [_is("partition.kind", "dirichlet")],
    "partition.skew": [_is("partition.kind", "quantity")],
    "partition.overlap": [_VERTICAL],
    "participation.straggler_share": [_LINE, _above("participation.straggler_slowdown", 1)],
    "participation.straggler_slowdown": [_LINE, _above("participation.straggler_share", 0)],
    "participation.quorum": [_above("participation.dropout", 0)],
    "link.latency_ms": [_LINE],
    "link.compute_s": [_LINE],
    "model.grid_bins": [_is("model.edges", "private_quantiles")],
    "model.local_steps": [_LOCAL_STEPS],
    "model.learning_rate": [_LOCAL_STEPS],
    # It pulls to where a round started, and the first step starts there.
    "model.proximal": [_above("model.local_steps", 1)],
    "model.server.momentum": [_is("model.server.rule", "fedavgm")],
    "model.server.beta_1": [_MOMENTS],
    "model.server.beta_2": [_MOMENTS],
    "model.server.tau": [_MOMENTS],
    "privacy.epsilon": [_NOISE],
    "privacy.delta": [_NOISE],
    "vertical": [_VERTICAL],
    "vertical.columns": [_is_not("data.kind", "generated")],
    "vertical.shares": [_is("data.kind", "generated")],
    "vertical.score_levels": [_is_not("model.family", "split")],
    "vertical.score_limit": [_is_not("model.family", "split")],
    "vertical.lean": [_KNOWN_IN_PART],
    "vertical.leans": [_KNOWN_IN_PART],
    "backend": [_is("protocol", "full"), _HORIZONTAL],
    "backend.workers": [_is("backend.kind", "workers", "ray")],
}
"""What a key or a section needs to have an effect: all of these, of a tuple any one."""


def needs_of(name: str, lacks: Collection[str] = ()) -> str:
    """Return in words what a key needs to have an effect, or nothing.

    lacks: keys that it never stands beside, as those of another family of models.
    """
    found = (_either(need) for of, needs in NEEDS.items() if _is_of(name, of) for need in needs)
    said = (either for either in found if not any(need.key in lacks for need in either))
    return "; ".join(" or ".join(need.words for need in either) for either in said)


def idle(scenario: Scenario) -> tuple[str, str] | None:
    """Return the first written key without effect and why it has none, or None."""
    for key in _written(scenario):
        for of, needs in NEEDS.items():
            if not _is_of(key, of):
                continue
            for need in needs:
                why = _unmet(scenario, key, _either(need))
                if why:
                    return key, why
    return None


def _is_of(key: str, of: str) -> bool:
    return key == of or key.startswith(f"{of}.")


def _either(need: Need | tuple[Need, ...]) -> tuple[Need, ...]:
    return need if isinstance(need, tuple) else (need,)


def _written(scenario: Scenario) -> Iterator[str]:
    """Yield the keys that the user wrote, swept ones last."""
    plain = scenario.model_dump(exclude_unset=True, exclude=_WHOLE)
    yield from (key for key in flat(plain) if key not in scenario.sweep)
    yield from scenario.sweep


def _unmet(scenario: Scenario, key: str, either: tuple[Need, ...]) -> str | None:
    """Return why a key has no effect, if none of `either` holds where one has to."""
    found = [[need.holds(value) for value in _values(scenario, need.key)] for need in either]
    words = " or ".join(need.words for need in either)
    if not any(any(one) for one in found):
        return f"it has no effect; it needs that {words}"
    if key in scenario.sweep and not any(all(one) for one in found):
        return (
            f"it has no effect in some combinations of the sweep, so that one setting would be "
            f"tried more than once; it needs that {words}"
        )
    return None


def _values(scenario: Scenario, key: str) -> Sequence[Any]:
    """Return the values that a key has in the sweep, or the only one it has."""
    for swept, values in scenario.sweep.items():
        if key == swept:
            return values
        if key.startswith(f"{swept}."):
            return [_value(_with(swept, one), key) for one in values if isinstance(one, Mapping)]
    return (_value(scenario, key),)


def _with(section: str, value: Mapping[str, Any]) -> Setting:
    """Return a setting with one section; the default one where the section's own check refuses."""
    try:
        return Setting.model_validate(replaced({}, {section: value}))
    except ValidationError:
        return Setting()


def _value(setting: Setting, key: str) -> Any:
    value: Any = setting
    for name in key.split("."):
        value = getattr(value, name, None)
    return value
