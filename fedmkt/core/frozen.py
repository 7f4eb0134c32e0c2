"""The base of every value that comes from a file, a setting or the wire, and why one is refused.

Guarantee: the words for a refusal name a field and a rule; a rejected value is in them only where
the rule itself is about a name.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

_UNKNOWN_KEY = "extra_forbidden"
_LONGEST = 200
"""A longer key is nobody's slip of the pen; it is cut, and compared with none."""
_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table of keys",
    "model": "a table of keys",
}
_RULES = {
    "missing": "it is missing",
    "finite_number": "it must be a finite number",
    "int_from_float": "it must be a whole number",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
    "literal_error": "it must be {expected}",
    "string_too_short": "it needs {min_length} or more characters",
    "string_too_long": "it has more than {max_length} characters",
    "string_pattern_mismatch": "it does not have the form {pattern}",
    "too_short": "it needs {min_length} or more entries",
    "too_long": "it has more than {max_length} entries",
} | {f"{kind}_{how}": f"it must be {name}" for kind, name in _KINDS.items()
     for how in ("type", "parsing")}  # fmt: skip


class Frozen(BaseModel):
    """Frozen, unknown keys refused, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def first_place(error: ValidationError) -> str:
    """Return the field the first problem is about, as in `caps.0.delta`; empty for the whole."""
    return _dotted(error.errors(include_input=False)[0]["loc"])


def first_problem(error: ValidationError) -> str:
    """Return a problem in plain words: its field, if it has one, and the rule it broke.

    Of several it is the first unknown key, since a misspelt key is what makes another one missing.
    """
    problems = error.errors(include_input=False)
    problem = next((one for one in problems if one["type"] == _UNKNOWN_KEY), problems[0])
    place = _dotted(problem["loc"])
    if problem["type"] == _UNKNOWN_KEY:
        meant = _meant(error.title, problem["loc"])
        return f"unknown key {_short(place)}" + (f" (did you mean {meant}?)" if meant else "")
    rule = _RULES.get(problem["type"])
    words = rule.format(**problem.get("ctx", {})) if rule else _plain(problem["msg"])
    return f"{place}: {words}" if place else words


def nearest_key(wrong: str, keys: Sequence[str]) -> str | None:
    """Return the dotted key or section that is meant by a misspelt or misplaced one, or None."""
    if len(wrong) > _LONGEST:
        return None
    sections = {key.rpartition(".")[0] for key in keys} - {""}
    last = {one.rpartition(".")[2]: one for one in reversed(keys)}
    names = [*keys, *sorted(sections)]
    for found in (
        get_close_matches(wrong, names, cutoff=0.75),
        [last[one] for one in get_close_matches(wrong.rpartition(".")[2], last, cutoff=0.75)],
        get_close_matches(wrong, names),
    ):
        if found:
            return found[0]
    return None


def _meant(title: str, place: tuple[int | str, ...]) -> str | None:
    """Return the key that is meant by an unknown one: one beside it, else any of the whole."""
    # Security: likeness takes time and memory by length, and a job of the wire has any keys.
    if len(_dotted(place)) > _LONGEST:
        return None
    beside = get_close_matches(str(place[-1]), _known_keys(title, place))
    if beside:
        return _dotted((*place[:-1], beside[0]))
    whole = [key for model in _titled(title) for key in _keys_below(model, ())]
    return nearest_key(_dotted(place), whole)


def _titled(title: str) -> set[type["Frozen"]]:
    return {model for model in _below(Frozen) if model.__name__ == title}


def _keys_below(model: type["Frozen"], above: tuple[type["Frozen"], ...]) -> Iterator[str]:
    """Yield the dotted keys of a model, sections after their own keys."""
    for name, field in model.model_fields.items():
        yield name
        for part in _models(field.annotation):
            if part not in above:
                yield from (f"{name}.{key}" for key in _keys_below(part, (*above, model)))


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should", "it should")


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _dotted(place: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in place)


def _known_keys(title: str, place: tuple[int | str, ...]) -> list[str]:
    """Return the keys that may stand where the last part of `place` does."""
    here = _titled(title)
    for part in place[:-1]:
        fields = [model.model_fields[str(part)] for model in here if part in model.model_fields]
        # A place in a list, or a name that the user chose, leads to the same models.
        here = {model for field in fields for model in _models(field.annotation)} or here
    return [key for model in here for key in model.model_fields]


def _below(model: type[Frozen]) -> Iterator[type[Frozen]]:
    for one in model.__subclasses__():
        yield one
        yield from _below(one)


def _models(annotation: Any) -> Iterator[type[Frozen]]:
    """Yield the models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
