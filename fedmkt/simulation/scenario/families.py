"""The families of models that a scenario can train, each run by one function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedmkt.core.errors import ScenarioPartMissing
from fedmkt.simulation.scenario import additive, network
from fedmkt.simulation.scenario.additive import check_additive, run_additive
from fedmkt.simulation.scenario.network import check_network, run_network
from fedmkt.simulation.scenario.rows import Row, Task
from fedmkt.simulation.scenario.schema import Setting


@dataclass(frozen=True, slots=True)
class Family:
    """One family. run: a trial's rows. check: refuses what it cannot simulate, before any trial
    runs. seconds: about how long a trial takes on one core."""

    run: Callable[[Task], Sequence[Row]]
    check: Callable[[Setting], None]
    seconds: Callable[[Setting], float]


FAMILIES: Mapping[str, Family] = {
    "additive": Family(run_additive, check_additive, additive.seconds_of),
    "network": Family(run_network, check_network, network.seconds_of),
}


def family(setting: Setting) -> Family:
    """Return the family that trains `setting`. Raises: ScenarioPartMissing."""
    name = setting.model.family
    found = FAMILIES.get(name)
    if found is None:
        raise ScenarioPartMissing(key="model.family", value=name, known=", ".join(FAMILIES))
    return found
