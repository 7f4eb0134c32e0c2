"""Whether a node or a coordinator does its work, told from a file in its home.

A node notes in heartbeat.json when it last looked for a message, and whether it found one. It
looks only while the coordinator answers, so a node without a connection is not healthy. The
coordinator's supervisor writes status.json at least every 5 s.

Guarantee: nothing is opened but that one file, and nothing is asked of the network. A heartbeat
that cannot be written ends no node; it only grows old.
Not guaranteed: that a message which is being answered will ever be done; `answering_s` bounds it.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from fedmkt.core.errors import FileMissing
from fedmkt.core.frozen import Frozen
from fedmkt.deployment.plan import Layout

HEARTBEAT_FILE, COORDINATOR_FILE = "heartbeat.json", "coordinator.toml"
WAITING_S, ANSWERING_S = 60.0, 6 * 3600.0
_EVERY_S = 5.0


class Heartbeat(Frozen):
    """When a node last looked for a message, and what it does since."""

    state: Literal["waiting", "answering"]
    at: datetime


@dataclass(frozen=True, slots=True)
class Health:
    """Whether all is well, and the sentence that says why."""

    healthy: bool
    sentence: str


class HeartbeatFile:
    """The heartbeat of the node whose home is `home`; what an earlier process left is removed."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = home / HEARTBEAT_FILE, clock
        self._last: tuple[bool, float] | None = None
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def looked(self, found: bool = False) -> None:
        """Note a look for a message: at once when what the node does changed, else now and then."""
        now = self._clock()
        if self._last is not None:
            before, at = self._last
            if before == found and abs(now - at) < _EVERY_S:
                return
        state: Literal["waiting", "answering"] = "answering" if found else "waiting"
        beat = Heartbeat(state=state, at=datetime.fromtimestamp(now, UTC))
        partial = self._path.with_suffix(".new")
        # Replaced, not written over, so that a reader sees it whole. It need not outlast a crash of
        # the machine, so nothing waits for the disk.
        with contextlib.suppress(OSError):
            partial.write_text(beat.model_dump_json(), encoding="utf-8")
            partial.replace(self._path)
            self._last = (found, now)


def health_of(
    home: Path, *, now: datetime, waiting_s: float = WAITING_S, answering_s: float = ANSWERING_S
) -> Health:
    """Return how the node or the coordinator is whose home this is.

    Args: waiting_s, answering_s: how old the last sign of life may be, by what a node does.
    Raises: FileMissing (no home), DeploymentFailed (the coordinator's status cannot be read).
    """
    if (home / COORDINATOR_FILE).is_file():
        return _coordinator_health(home, now=now, waiting_s=waiting_s)
    if not (home / "node.toml").is_file():
        advice = "Give the home folder of a node or of a coordinator."
        raise FileMissing(what="home", path=home, advice=advice)
    return _node_health(home, now=now, waiting_s=waiting_s, answering_s=answering_s)


def _node_health(home: Path, *, now: datetime, waiting_s: float, answering_s: float) -> Health:
    try:
        beat = Heartbeat.model_validate_json((home / HEARTBEAT_FILE).read_bytes())
    except FileNotFoundError:
        return Health(False, "the node has not looked for a message since it was started")
    except (OSError, ValidationError):
        return Health(False, f"{HEARTBEAT_FILE} cannot be read")
    age_s = (now - beat.at).total_seconds()  # negative after the clock was set back
    if beat.state == "answering":
        said = f"the node has been answering a message for {age_s:.0f} s"
        return Health(abs(age_s) <= answering_s, said)
    return Health(abs(age_s) <= waiting_s, f"the node last looked for a message {age_s:.0f} s ago")


def _coordinator_health(home: Path, *, now: datetime, waiting_s: float) -> Health:
    # Whichever partners are connected: their being away is not its illness.
    status = Layout(home).read_status()
    if status is None:
        return Health(False, "the coordinator never ran here")
    age_s = (now - status.at).total_seconds()
    if not status.supervisor.alive or abs(age_s) > waiting_s:
        return Health(False, "the coordinator does not run")
    down = [one.name for one in status.processes if one.state != "up" or not one.alive]
    if down:
        return Health(False, f"not up: {', '.join(down)}")
    online = sum(status.nodes.values())
    return Health(True, f"all processes are up, {online} of {len(status.nodes)} nodes online")
