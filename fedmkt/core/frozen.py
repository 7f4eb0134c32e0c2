"""The base of every value that comes from a file, a setting or the wire, and why one is refused.

Guarantee: the words for a refusal name a field and a rule; a rejected value is in them only where
the rule itself is about a name.
"""

from pydantic import BaseModel, ConfigDict, ValidationError


class Frozen(BaseModel):
    """Frozen, unknown keys refused, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def first_place(error: ValidationError) -> str:
    """Return the field the first problem is about, as in `caps.0.delta`; empty for the whole."""
    return ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])


def first_problem(error: ValidationError) -> str:
    """Return the first problem in words: its field, if it has one, and the rule it broke."""
    rule = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
    place = first_place(error)
    return f"{place}: {rule}" if place else rule
