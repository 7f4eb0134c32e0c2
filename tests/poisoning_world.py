"""A small population from Adult for trainings of a second, and triggers that few rows bear."""

from functools import cache

from fedmkt.data import bundled
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network_shape import NetworkShape, shape_from_schema
from fedmkt.simulation.poisoning.population import (
    Population,
    draw_population,
    rare_category,
    rows_of,
)

FEATURES = ["age", "education", "marital_status", "capital_loss", "native_country"]


@cache
def table() -> tuple[NetworkShape, NetworkRows]:
    schema = bundled.schema("adult")
    shape = shape_from_schema(schema, FEATURES, width=8)
    return shape, rows_of(bundled.load("adult_train"), schema, "income", shape)


def population(seed: int, *, partners: int = 9, rows_each: int = 150) -> Population:
    shape, rows = table()
    return draw_population(
        rows, shape, partners=partners, rows_each=rows_each, test_rows=2_000, seed=seed
    )


def trigger():
    return rare_category(table()[0], "native_country", "Holand-Netherlands")
