"""All keys of a scenario, explained: type, range, default and meaning.

Guarantee: what is printed is read off the schema itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fedmkt.contract.job import AdditiveSettings
from fedmkt.contract.network_settings import JoiningSettings, NetworkSettings, ServerSettings
from fedmkt.core.frozen import nearest_key
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.schema import Scenario
from fedmkt.simulation.scenario.vertical_part import SplitModel

_RANGE = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_WORDS: Mapping[Any, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
}
FAMILY = "The family of models: additive, network, or split where partition.kind = vertical."
ADDITIVE: Mapping[str, str] = {
    "family": FAMILY,
    "task": "What is predicted: propensity, whether a customer says yes.",
    "max_bins": "At most so many bins a number column. More bins follow the data more closely and "
    "take more noise.",
    "edges": "Where number columns are cut. declared: by the schema's bounds. private_quantiles: "
    "at quantiles, which one more release with noise finds before the rounds.",
    "grid_bins": "Cells of the public grid that private quantiles are counted on.",
    "rounds": "Rounds of the training. More rounds fit better and, at one epsilon, carry more "
    "noise each.",
    "ridge": "Penalty on the size of effects. Raise it where there is much noise.",
    "smoothness": "Penalty on differences of neighbouring bins. Raise it where there is much "
    "noise.",
    "step": "Share of the Newton step taken in each round; the last value repeats. A falling "
    "schedule averages noise away.",
}
NETWORK: Mapping[str, str] = {
    "family": FAMILY,
    "task": "What is predicted: propensity, whether a customer says yes.",
    "width": "Units of each hidden layer. 0 is a linear model.",
    "blocks": "Residual layers after the first hidden one.",
    "start": "Names the parameters that a training starts from.",
    "algorithm": "How partners train. fedsgd: one sum of gradients a round. fedavg: the mean of "
    "local trainings. fedprox: the same, drawn back to the round's start. scaffold: drift "
    "corrected by control variates. FedAdam and FedYogi are model.server.rule.",
    "rounds": "Rounds of the training. More rounds fit better and, at one epsilon, carry more "
    "noise each.",
    "local_steps": "Steps that a partner takes on its own rows in a round. fedsgd takes one.",
    "learning_rate": "Step size of a partner's local steps.",
    "proximal": "How strongly fedprox pulls local models to the common one; above 0 with it alone.",
    "sampling_rate": "Every customer's chance to be in a step.",
    "clip_norm": "L2 norm that a customer's gradient is clipped to; needed where there is noise.",
    "personal_head": "Whether the last layer stays at each partner.",
}
SPLIT: Mapping[str, str] = {
    "family": FAMILY,
    "activations": "Numbers that a partner's network shows of a customer.",
    "width": "Units of the hidden layer below the activations. 0: none.",
    "top_width": "Units of the owner's hidden layer above them. 0: none.",
    "rounds": "Exchanges of activations for gradients.",
    "local_steps": "Steps that everybody takes in a round, on what the others showed last.",
    "learning_rate": "Step size.",
    "weight_decay": "Share of each parameter, times the learning rate, that a step takes away.",
    "proximal": "How strongly a partner stays with the activations that the owner saw.",
    "activation_bound": "L2 norm that a customer's activations never pass.",
    "activation_noise": "Standard deviation of the noise on each activation. No epsilon is counted "
    "for it.",
    "gradient_bound": "L2 norm to which a customer's gradient is clipped before a partner sees it.",
    "gradient_noise": "Standard deviation of the noise on each number of a gradient. No epsilon is "
    "counted for it.",
}
SERVER: Mapping[str, str] = {
    "rule": "What the coordinator makes of a round's mean update: fedavg adds it, fedavgm adds "
    "momentum, fedadam and fedyogi scale every parameter's step by its own past.",
    "rate": "Step size of the coordinator.",
    "momentum": "Momentum of fedavgm.",
    "beta_1": "Decay of the mean update of fedadam and fedyogi.",
    "beta_2": "Decay of the mean square of fedadam and fedyogi.",
    "tau": "Added to the root of the mean square in fedadam and fedyogi; larger is more cautious.",
    "average": "Decay of a mean of the parameters over rounds, which is the result; averages "
    "noise away. 0: the last ones.",
}
JOINING: Mapping[str, str] = {
    "rule": "How updates become one. sum: masked. median, trimmed_mean, krum bear faulty partners, "
    "and the coordinator sees every update.",
    "faulty": "Partners that may send what they like, for trimmed_mean and krum.",
}
MEANINGS: Mapping[type[BaseModel], Mapping[str, str]] = {
    AdditiveSettings: ADDITIVE,
    NetworkSettings: NETWORK,
    ServerSettings: SERVER,
    JoiningSettings: JOINING,
    SplitModel: SPLIT,
}
"""What the keys of models mean; their settings themselves stand in contracts' jobs."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. kind: its type and range in words. default: in words. meaning: a paragraph."""

    name: str
    kind: str
    default: str
    meaning: str
    only: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Return in words where alone the key stands, or nothing."""
        tag = "attack.kind" if self.name.startswith("attack.") else "model.family"
        return f"where {tag} = {either(self.only)}" if self.only else ""


def either(words: Sequence[str]) -> str:
    """Return `a`, `a or b`, or `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def listed() -> tuple[tuple[str, str], ...]:
    """Return every key once, with its type and range in words; for each sort where they differ."""
    found: dict[str, list[Key]] = {}
    for key in all_keys():
        found.setdefault(key.name, []).append(key)
    return tuple((name, _listed(keys)) for name, keys in found.items())


def _listed(keys: Sequence[Key]) -> str:
    if len({key.kind for key in keys}) == 1:
        return keys[0].kind
    if all((key.kind,) == key.only for key in keys):  # it tells one sort from another
        return " | ".join(key.kind for key in keys)
    return "; ".join(f"{key.kind} ({either(key.only)})" for key in keys)


def all_keys() -> tuple[Key, ...]:
    """Return every key of a scenario, sections and their keys in order.

    One that families or attacks share is there once where it means the same for all of them.
    """
    attacks = (key for key in _keys(AttackScenario, "", ()) if key.name.startswith("attack."))
    shared: dict[Key, list[str]] = {}
    for key in (*_keys(Scenario, "", ()), *attacks):
        shared.setdefault(replace(key, only=()), []).extend(key.only)
    return tuple(replace(key, only=tuple(only)) for key, only in shared.items())


def explained(name: str) -> tuple[Key, ...]:
    """Return what is known of a key, or of all keys of a section; empty for an unknown one."""
    keys = all_keys()
    exact = tuple(key for key in keys if key.name == name)
    return exact or tuple(key for key in keys if key.name.startswith(f"{name}."))


def never_beside(key: Key) -> frozenset[str]:
    """Return the keys that stand in no setting with this one: those of other families alone."""
    others = (one for one in all_keys() if one.only and key.only)
    kept = {one.name for one in all_keys() if not one.only or {*one.only} & {*key.only}}
    return frozenset(one.name for one in others if one.name not in kept)


def nearest(name: str) -> str | None:
    """Return the key or section that is meant by a misspelt or misplaced one, or None."""
    return nearest_key(name, [key.name for key in all_keys()])


def _keys(model: type[BaseModel], above: str, only: tuple[str, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        if _is_fixed(field):
            continue
        below = list(_models(field.annotation))
        if not below:
            yield _key(model, f"{above}{name}", name, field, only)
        for part in below:
            of = _tag(part)
            yield from _keys(part, f"{above}{name}.", of or only)


def _is_fixed(field: FieldInfo) -> bool:
    """Tell whether a key can be one number alone, so that there is nothing to say of it."""
    least, most = ([getattr(rule, of, None) for rule in field.metadata] for of in ("ge", "le"))
    return bool({*least} & {*most} - {None})


def _tag(part: type[BaseModel]) -> tuple[str, ...]:
    """Return the family or the kind of attack that a part is for, if it is for one alone."""
    for field in (part.model_fields.get("family"), part.model_fields.get("kind")):
        words = get_args(field.annotation) if field is not None else ()
        if len(words) == 1:
            return (str(words[0]),)
    return ()


def _key(
    model: type[BaseModel], place: str, name: str, field: FieldInfo, only: tuple[str, ...]
) -> Key:
    # What tells one sort of a part from another means what the part is.
    described = field.description or model.__doc__
    meaning = MEANINGS[model][name] if model in MEANINGS else described
    kind, limits = _type(field.annotation), _limits(field.metadata)
    return Key(place, f"{kind}, {limits}" if limits else kind, _default(field), meaning or "", only)


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin is Literal:
        return " | ".join(str(one) for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in inner if one is not type(None))
    if origin is tuple:
        return f"list of: {_type(inner[0])}"
    if origin is dict:
        held = _type(inner[1])
        return f"table of keys, each with a {'list of values' if 'list' in held else held}"
    if hasattr(annotation, "__metadata__"):
        limits = _limits(annotation.__metadata__)
        return f"{_type(inner[0])}, {limits}" if limits else _type(inner[0])
    return "value"


def _limits(metadata: Any) -> str:
    rules = [one for given in metadata for one in (getattr(given, "metadata", None) or [given])]
    found = [
        f"{words} {_number(getattr(rule, name))}"
        for rule in rules
        for name, words in _RANGE.items()
        if isinstance(getattr(rule, name, None), int | float)
    ]
    return ", ".join(found)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "needed" if field.default_factory is None else "none"
    if field.default is None or field.default in ((), {}):
        return "none"
    if isinstance(field.default, dict):
        return ", ".join(f"{name} = {value:g}" for name, value in field.default.items())
    if isinstance(field.default, tuple):
        return f"[{', '.join(map(str, field.default))}]"
    return str(field.default)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a key stands for."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def choices(name: str) -> tuple[str, ...]:
    """Return the words a key may be, in order; empty for a key that takes others."""
    found = (key.kind.split(" | ") for key in all_keys() if key.name == name)
    return tuple(dict.fromkeys(word for words in found for word in words))
