"""The families of models that a scenario can train, each run by one function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedmkt.core.errors import ScenarioPartMissing, SettingInvalid
from fedmkt.simulation.scenario import additive, network
from fedmkt.simulation.scenario.additive import check_additive, run_additive
from fedmkt.simulation.scenario.customers import Customers, read_customers, source_of
from fedmkt.simulation.scenario.dealing import Parts, deal, refuse_undealt
from fedmkt.simulation.scenario.network import check_network, run_network
from fedmkt.simulation.scenario.rows import Row, Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.vertical import run_vertical, seconds_of_vertical
from fedmkt.simulation.scenario.vertical_checks import KIND, check_parties, check_vertical
from fedmkt.simulation.scenario.vertical_customers import share_customers

SPLIT = "split"


def _dealt_out(setting: Setting, seed: int) -> tuple[Customers, Parts]:
    customers = read_customers(setting.data, seed)
    return customers, deal(customers, setting.partition, seed)


def _refuse_undealt(setting: Setting) -> None:
    source_of(setting.data)
    refuse_undealt(setting.data, setting.partition)


@dataclass(frozen=True, slots=True)
class Family:
    """One family. run: a trial's rows. check: refuses what it cannot simulate, before any trial
    runs. seconds: about how long a trial takes on one core. dealt: customers and who has what of
    them. dealable: refuses customers that cannot be dealt out."""

    run: Callable[[Task], Sequence[Row]]
    check: Callable[[Setting], None]
    seconds: Callable[[Setting], float]
    dealt: Callable[[Setting, int], tuple[Customers, Parts]] = _dealt_out
    dealable: Callable[[Setting], None] = _refuse_undealt


FAMILIES: Mapping[str, Family] = {
    "additive": Family(run_additive, check_additive, additive.seconds_of),
    "network": Family(run_network, check_network, network.seconds_of),
    KIND: Family(run_vertical, check_vertical, seconds_of_vertical, share_customers, check_parties),
}


def family(setting: Setting) -> Family:
    """Return the family that trains `setting`. Raises: ScenarioPartMissing, SettingInvalid."""
    name = KIND if setting.partition.kind == KIND else setting.model.family
    if name == SPLIT:
        problem = f"its parties know different columns; say partition.kind = {KIND}"
        raise SettingInvalid(setting=f"model.family = {SPLIT}", problem=problem)
    found = FAMILIES.get(name)
    if found is None:
        raise ScenarioPartMissing(key="model.family", value=name, known=", ".join(FAMILIES))
    return found
