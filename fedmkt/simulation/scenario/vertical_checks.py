"""What a vertical scenario must keep to: refused before any trial runs.

Guarantee: a setting that passes names parties that can be, and a training that can be simulated.
Not guaranteed: that the table has the parties' columns, which only reading it tells.
"""

from collections.abc import Set
from typing import get_args

from fedmkt.contract.job import AdditiveSettings
from fedmkt.contract.network_settings import NetworkSettings
from fedmkt.contract.vertical_jobs import MOST_PARTIES, VerticalSettings
from fedmkt.core.errors import ScenarioPartMissing, SettingInvalid
from fedmkt.simulation.scenario.customers import rows_to_train, source_of
from fedmkt.simulation.scenario.parts import LinkPart, ParticipationPart
from fedmkt.simulation.scenario.rows import Method
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.vertical_customers import columns_of
from fedmkt.simulation.scenario.vertical_part import SplitModel
from fedmkt.simulation.world import COORDINATOR

KIND = "vertical"


def check_vertical(setting: Setting) -> None:
    """Refuse what cannot be simulated. Raises: ScenarioPartMissing, SettingInvalid."""
    model = setting.model
    if isinstance(model, NetworkSettings):
        known = "additive and split, where partition.kind = vertical"
        raise ScenarioPartMissing(key="model.family", value=model.family, known=known)
    for key, value, plain in (
        ("participation", setting.participation, ParticipationPart()),
        ("link", setting.link, LinkPart()),
    ):
        if value != plain:
            problem = "it is not simulated where partition.kind = vertical"
            raise SettingInvalid(setting=f"[{key}]", problem=problem)
    if isinstance(model, SplitModel):
        _check_split(setting)
        return
    _check_model(model)
    _check_privacy(setting)


def check_parties(setting: Setting) -> None:
    """Refuse parties and customers that cannot be. Raises: ScenarioPartMissing, SettingInvalid."""
    if setting.data.kind != "generated":
        source_of(setting.data)
    columns = columns_of(setting)
    count, partition = len(columns), setting.partition
    if not 2 <= count <= MOST_PARTIES:
        problem = f"2 to {MOST_PARTIES} parties are needed, not {count}"
        raise SettingInvalid(setting="[vertical]", problem=problem)
    if "partners" in partition.model_fields_set and partition.partners != count:
        problem = f"[vertical] names {count} parties; leave it out"
        name = f"partition.partners = {partition.partners}"
        raise SettingInvalid(setting=name, problem=problem)
    # A party of a method's name would have that training's noise.
    for name in sorted({COORDINATOR, *get_args(Method)} & set(columns)):
        raise SettingInvalid(setting=f"the party {name}", problem="the name is taken")
    if setting.data.features:
        problem = "where partition.kind = vertical, vertical.columns says who has which"
        raise SettingInvalid(setting="data.features", problem=problem)
    _refuse_replaced(setting, set(columns) - {next(iter(columns))})
    rows_to_train(setting.data)  # refuses more than there are


def _refuse_replaced(setting: Setting, partners: Set[str]) -> None:
    """Raise SettingInvalid where each partner has its own value of what was written for all."""
    part, partition = setting.vertical, setting.partition
    for written, key, own in (
        ("overlap" in partition.model_fields_set, "partition.overlap", "overlaps"),
        ("lean" in part.model_fields_set, "vertical.lean", "leans"),
    ):
        if written and partners <= getattr(part, own).keys():
            problem = f"it has no effect, since vertical.{own} names every partner; leave it out"
            raise SettingInvalid(setting=key, problem=problem)


def _check_model(model: AdditiveSettings) -> None:
    most = VerticalSettings.model_fields["rounds"].metadata
    largest = next(rule.le for rule in most if hasattr(rule, "le"))
    if model.rounds > largest:
        problem = f"a vertical training has {largest} rounds at most"
        raise SettingInvalid(setting=f"model.rounds = {model.rounds}", problem=problem)
    if model.surveys:
        problem = "vertical trainings take declared edges"
        raise SettingInvalid(setting=f"model.edges = {model.edges}", problem=problem)


def _check_split(setting: Setting) -> None:
    mode, trust = setting.vertical.mode, setting.privacy.trust
    if setting.protocol == "full":
        problem = (
            "networks start from bytes that nodes draw themselves, so the same seed would not give "
            "the same results; say protocol = lean"
        )
        raise SettingInvalid(setting="model.family = split", problem=problem)
    if trust == "distributed" or (mode == "label_private") != (trust == "local"):
        problem = (
            "a split training sends exact gradients (privacy.trust = none), or randomises labels "
            "first (vertical.mode = label_private with privacy.trust = local)"
        )
        raise SettingInvalid(setting=f"vertical.mode = {mode}", problem=problem)


def _check_privacy(setting: Setting) -> None:
    mode, trust = setting.vertical.mode, setting.privacy.trust
    if trust == "distributed":
        problem = "in a vertical training the label owner alone adds noise; say local"
        raise SettingInvalid(setting="privacy.trust = distributed", problem=problem)
    if mode == "label_private" and trust == "none":
        problem = "randomised labels need privacy.trust = local and privacy.epsilon"
        raise SettingInvalid(setting=f"vertical.mode = {mode}", problem=problem)
    if mode == "label_private" and setting.protocol == "full":
        problem = (
            "an alignment's order, drawn anew each time, says whose label is flipped, so the same "
            "seed would not give the same results; say protocol = lean"
        )
        raise SettingInvalid(setting=f"vertical.mode = {mode}", problem=problem)
