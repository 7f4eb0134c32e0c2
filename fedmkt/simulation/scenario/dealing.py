"""Dealing customers out to partners that know the same columns.

Guarantee: that of `partitions.rows`: every training row goes to exactly one partner, every partner
has at least one, and the same seed deals alike.
"""

from collections.abc import Mapping

import polars as pl

from fedmkt.core.errors import ScenarioPartMissing, SettingInvalid
from fedmkt.simulation.partitions.rows import Kind, RowPartition, partition_rows, refuse_too_many
from fedmkt.simulation.partitions.value_groups import PRESETS
from fedmkt.simulation.scenario.customers import Customers, draws, rows_to_train
from fedmkt.simulation.scenario.data_parts import DataPart
from fedmkt.simulation.scenario.parts import PartitionPart
from fedmkt.simulation.world import COORDINATOR

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
    parts = {name: frame[places] for name, places in rows.items()}
    column = _column(customers, partition)
    return parts if kind_of(partition) != "by_column" else _named(parts, str(column))


def refuse_undealt(data: DataPart, partition: PartitionPart) -> None:
    """Refuse what is known to be impossible before a table is read.

    Raises: ScenarioPartMissing, SettingInvalid, PartitionImpossible.
    """
    kind_of(partition)
    _refuse_groups_of_another(data, partition)
    rows = rows_to_train(data)
    if rows is not None:
        refuse_too_many(rows, RowPartition(kind="iid", partners=partition.partners))


def _refuse_groups_of_another(data: DataPart, partition: PartitionPart) -> None:
    """Raise SettingInvalid where the groups are those of another bundled table."""
    if partition.groups is None or data.kind != "bundled":
        return
    if PRESETS[partition.groups].table != data.set:
        known = ", ".join(name for name, preset in PRESETS.items() if preset.table == data.set)
        problem = f"these are groups of another table; {data.set} has: {known}"
        raise SettingInvalid(setting=f"partition.groups = {partition.groups}", problem=problem)


def _named(parts: Parts, column: str) -> Parts:
    """Return the parts under their values' names, where each has one value and names differ."""
    values = [part.get_column(column).cast(pl.String).unique().to_list() for part in parts.values()]
    names = [_word(str(one[0])) for one in values if len(one) == 1]
    if len({*names, COORDINATOR}) <= len(parts):
        return parts
    return dict(zip(names, parts.values(), strict=True))


def _word(value: str) -> str:
    """Return a value as a member's name: letters, digits and - alone."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in value)
    return kept.strip("-")[:40] or "other"


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
    return RowPartition(
        kind=kind,
        partners=partition.partners,
        column=_column(customers, partition),
        groups=() if preset is None else preset.values,
        alpha=partition.alpha,
        exponent=partition.skew,
    )


def _column(customers: Customers, partition: PartitionPart) -> str | None:
    """Return the column that decides; label skew takes the target where none is named."""
    if partition.groups is not None:
        return PRESETS[partition.groups].column
    if partition.column is None and partition.kind == "dirichlet":
        return customers.target
    return partition.column
