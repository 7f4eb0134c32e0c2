"""The study that comes with the package: Adult's customers, ten partners, three of them hostile."""

from functools import cache
from typing import Literal

from fedmkt.data import bundled
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network_shape import NetworkShape, shape_from_schema
from fedmkt.simulation.poisoning.attackers import (
    Backdoor,
    EchoRiders,
    LabelFlips,
    NoiseRiders,
    TurnedUpdates,
)
from fedmkt.simulation.poisoning.parts import Attack, Terms
from fedmkt.simulation.poisoning.population import (
    Population,
    Trigger,
    draw_population,
    far_number,
    rare_category,
    rows_of,
)
from fedmkt.simulation.poisoning.study import Study

PARTNERS, HOSTILE, ROWS_EACH, TEST_ROWS = 10, 3, 300, 5_000


def adult_study() -> Study:
    """Return the study: ten partners of 300 customers each, 12 rounds of six steps."""
    return Study(adult_population, Terms(), HOSTILE)


def adult_attacks() -> tuple[Attack, ...]:
    """Return the attacks of the study."""
    rare, far = adult_trigger("rare_category"), adult_trigger("far_number")
    return (
        LabelFlips(),
        TurnedUpdates(),
        Backdoor(rare),
        Backdoor(rare, scale=PARTNERS / HOSTILE),
        Backdoor(far),
        NoiseRiders(),
        EchoRiders(),
    )


def adult_trigger(kind: Literal["rare_category", "far_number"]) -> Trigger:
    """Return a mark that few of Adult's customers bear."""
    shape, _ = _table()
    # One of 32,561 customers has this country, 11 a loss above 3,000; this is the greatest.
    if kind == "rare_category":
        return rare_category(shape, "native_country", "Holand-Netherlands")
    return far_number(shape, "capital_loss", 4356)


def adult_population(seed: int) -> Population:
    """Return the study's partners and test rows."""
    return adult_partners(seed, partners=PARTNERS, rows_each=ROWS_EACH, test_rows=TEST_ROWS)


def adult_partners(seed: int, *, partners: int, rows_each: int, test_rows: int) -> Population:
    """Return partners and test rows drawn from Adult's training table. Raises: SettingInvalid."""
    shape, rows = _table()
    return draw_population(
        rows, shape, partners=partners, rows_each=rows_each, test_rows=test_rows, seed=seed
    )


@cache
def _table() -> tuple[NetworkShape, NetworkRows]:
    """Return the network's shape and all rows of the training table."""
    schema = bundled.schema("adult")
    features = [column.name for column in schema.columns if column.use == "feature"]
    shape = shape_from_schema(schema, features, width=16)
    return shape, rows_of(bundled.load("adult_train"), schema, "income", shape)
