"""How a scenario differs from the one whose results a folder holds, in words.

Guarantee: keys and the values that the two scenarios state; nothing of the files they read.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedmkt import __version__
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.schema import Scenario, flat

_MOST, _LONGEST = 3, 60
_FILES = ("data.path", "data.schema_path")


def difference(there: Mapping[str, Any], here: Scenario | AttackScenario) -> str:
    """Return the first keys that differ. there: what the folder's scenario.json holds."""
    version = there.get("version", __version__)
    if version != __version__:
        return f"they are of fedmkt {version}, this is {__version__}"
    attacks = (_is_attack(there.get("scenario")), isinstance(here, AttackScenario))
    if attacks[0] != attacks[1]:
        before, now = ("an attack" if one else "a sweep" for one in attacks)
        return f"there {before}, here {now}"
    found = list(_differing(there.get("scenario"), here))
    if not found:
        return "the bytes of a file it reads have changed, or it is of another version"
    more = f", and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more


def _differing(stands: Any, here: Scenario | AttackScenario) -> Iterator[str]:
    if not isinstance(stands, Mapping):
        return
    swept_there, swept_here = _sweep(stands), list(getattr(here, "sweep", {}))
    before, now = _plain(stands), _plain(here.model_dump(mode="json"))
    stated = _plain(here.model_dump(mode="json", exclude_defaults=True))
    for key in dict.fromkeys((*now, *before)):
        if key in swept_there and key in swept_here:
            continue
        if (key in swept_there) != (key in swept_here):
            yield f"{key} is swept over {'there' if key in swept_there else 'here'} alone"
        elif key in before and key in now:
            if before[key] != now[key] and key not in _FILES:
                yield f"{key} = {_short(before[key])} there, {_short(now[key])} here"
        elif key in stated or key in before:
            where, value = ("there", before[key]) if key in before else ("here", now[key])
            yield f"{key} = {_short(value)} {where} alone"


def _is_attack(stands: Any) -> bool:
    return isinstance(stands, Mapping) and "attack" in stands


def _sweep(stands: Mapping[str, Any]) -> Sequence[str]:
    sweep = stands.get("sweep")
    return list(sweep) if isinstance(sweep, Mapping) else []


def _plain(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys without what results of one owner may differ in."""
    kept = {key: value for key, value in scenario.items() if key not in ("seeds", "sweep")}
    return flat(kept)


def _short(value: object) -> str:
    words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
