"""The study that comes with the package: Adult's customers, ten partners, three of them hostile."""

from functools import cache

from fedmkt.data import bundled
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
    Rows,
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
    shape, _ = _table()
    # One of 32,561 customers has this country, 11 a loss above 3,000; this is the greatest.
    rare = rare_category(shape, "native_country", "Holand-Netherlands")
    far = far_number(shape, "capital_loss", 4356)
    return (
        LabelFlips(),
        TurnedUpdates(),
        Backdoor(rare),
        Backdoor(rare, scale=PARTNERS / HOSTILE),
        Backdoor(far),
        NoiseRiders(),
        EchoRiders(),
    )


def adult_population(seed: int) -> Population:
    """Return partners and test rows drawn from Adult's training table."""
    shape, rows = _table()
    return draw_population(
        rows, shape, partners=PARTNERS, rows_each=ROWS_EACH, test_rows=TEST_ROWS, seed=seed
    )


@cache
def _table() -> tuple[NetworkShape, Rows]:
    """Return the network's shape and all rows of the training table."""
    schema = bundled.schema("adult")
    features = [column.name for column in schema.columns if column.use == "feature"]
    shape = shape_from_schema(schema, features, width=16)
    return shape, rows_of(bundled.load("adult_train"), schema, "income", shape)
