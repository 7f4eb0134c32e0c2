"""Dealing customers out to partners.

Guarantee: every training row goes to exactly one partner, every partner has at least one, and the
same seed deals alike.
"""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from fedmkt.core.errors import ColumnMissing, ScenarioPartMissing, SettingInvalid
from fedmkt.simulation.scenario.customers import Customers, draws
from fedmkt.simulation.scenario.parts import PartitionPart
from fedmkt.simulation.world import COORDINATOR

Parts = dict[str, pl.DataFrame]


def deal(customers: Customers, partition: PartitionPart, seed: int) -> Parts:
    """Return each partner's training rows.

    Raises: ScenarioPartMissing; SettingInvalid (more partners than rows or values); ColumnMissing.
    """
    how = dealer_of(partition)
    rows = customers.training.height
    if partition.partners > rows:
        problem = f"there are {rows:,} rows to deal out"
        raise SettingInvalid(setting=f"partition.partners = {partition.partners}", problem=problem)
    return how(customers, partition, seed)


def _iid(customers: Customers, partition: PartitionPart, seed: int) -> Parts:
    """Deal at random, equally many to each."""
    order = draws(seed, "partition").permutation(customers.training.height)
    parts = np.array_split(order, partition.partners)
    return {
        name: customers.training[np.sort(part)]
        for name, part in zip(_names(partition.partners), parts, strict=True)
    }


def _column(customers: Customers, partition: PartitionPart, _seed: int) -> Parts:
    """Deal whole values of a column, the commonest first, each to the emptiest partner."""
    frame, name = customers.training, str(partition.column)
    if name not in frame.columns:
        raise ColumnMissing(
            dataset=customers.name,
            column=name,
            width=frame.width,
            present=", ".join(frame.columns),
            advice="Correct partition.column.",
        )
    values = frame.get_column(name).cast(pl.String).fill_null("").alias("value")
    sizes = values.value_counts().sort(["count", "value"], descending=[True, False])
    if sizes.height < partition.partners:
        problem = f"{name} has {sizes.height} values among the rows to deal out"
        raise SettingInvalid(setting=f"partition.partners = {partition.partners}", problem=problem)
    names = _names(partition.partners)
    words = tuple(_word(value) for value, _ in sizes.rows())
    if len(words) == partition.partners and len({*words, COORDINATOR}) > len(words):
        names = words
    held = dict.fromkeys(names, 0)
    owner: dict[str, str] = {}
    for value, count in sizes.rows():
        owner[value] = min(held, key=held.__getitem__)
        held[owner[value]] += count
    owners = values.replace_strict(owner)
    return {one: frame.filter(owners == one) for one in names}


PARTITIONS: Mapping[str, Callable[[Customers, PartitionPart, int], Parts]] = {
    "iid": _iid,
    "column": _column,
}
"""How each kind of partition deals customers out."""


def dealer_of(partition: PartitionPart) -> Callable[[Customers, PartitionPart, int], Parts]:
    """Return what deals customers out in this way. Raises: ScenarioPartMissing."""
    how = PARTITIONS.get(partition.kind)
    if how is None:
        known = ", ".join(PARTITIONS)
        raise ScenarioPartMissing(key="partition.kind", value=partition.kind, known=known)
    return how


def _names(partners: int) -> tuple[str, ...]:
    width = len(str(partners))
    return tuple(f"partner-{number:0{width}}" for number in range(1, partners + 1))


def _word(value: str) -> str:
    """Return a value as part of a member's name: letters, digits and - alone."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in value)
    return kept.strip("-")[:40] or "other"
