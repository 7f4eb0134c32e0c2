"""Dealing customers out to partners that know the same columns.

Guarantee: that of `partitions.rows`: every training row goes to exactly one partner, every partner
has at least one, and the same seed deals alike.
"""

from collections.abc import Mapping

import polars as pl

from fedmkt.core.errors import ScenarioPartMissing
from fedmkt.simulation.partitions.rows import Kind, RowPartition, partition_rows
from fedmkt.simulation.partitions.value_groups import PRESETS
from fedmkt.simulation.scenario.customers import Customers, draws
from fedmkt.simulation.scenario.parts import PartitionPart

Parts = dict[str, pl.DataFrame]
KINDS: Mapping[str, Kind] = {
    "iid": "iid",
    "column": "by_column",
    "dirichlet": "dirichlet",
    "quantity": "quantity",
}


def deal(customers: Customers, partition: PartitionPart, seed: int) -> Parts:
    """Return each partner's training rows.

    Raises: ScenarioPartMissing; PartitionImpossible (more partners than rows or values);
        SettingInvalid (a column that is not there, values in no group).
    """
    frame = customers.training
    rows = partition_rows(frame, _settings(customers, partition), draws(seed, "partition"))
    return {name: frame[places] for name, places in rows.items()}


def kind_of(partition: PartitionPart) -> Kind:
    """Return how rows are dealt out. Raises: ScenarioPartMissing."""
    kind = KINDS.get(partition.kind)
    if kind is None:
        known = ", ".join(KINDS)
        raise ScenarioPartMissing(key="partition.kind", value=partition.kind, known=known)
    return kind


def _settings(customers: Customers, partition: PartitionPart) -> RowPartition:
    kind = kind_of(partition)
    preset = None if partition.groups is None else PRESETS[partition.groups]
    column = partition.column if preset is None else preset.column
    if kind == "dirichlet" and column is None:
        column = customers.target
    return RowPartition(
        kind=kind,
        partners=partition.partners,
        column=column,
        groups=() if preset is None else preset.values,
        alpha=partition.alpha,
        exponent=partition.skew,
    )
