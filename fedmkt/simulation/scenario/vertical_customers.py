"""The customers of a vertical trial: who knows which columns of whom, and whose truth is known.

Guarantee: the same seed gives the same parties; a partner knows the stated share of the training
customers and, drawn apart, of the test customers; no test customer is in any party's table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.core.errors import SettingInvalid
from fedmkt.data.tables import positives
from fedmkt.simulation.partitions.columns import (
    ADULT_COLUMNS,
    IDENTIFIER,
    PartyColumns,
    known_customers,
    partition_columns,
)
from fedmkt.simulation.partitions.generator import (
    CUSTOMER,
    TARGET,
    GeneratedParty,
    GeneratorSettings,
    generate,
)
from fedmkt.simulation.partitions.truth import Truth
from fedmkt.simulation.scenario.customers import (
    Customers,
    Table,
    customers_of,
    draws,
    source_of,
)
from fedmkt.simulation.scenario.dealing import Parts
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.vertical_partition import PartyData

Known = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SharedCustomers(Customers):
    """Customers of whom parties know different columns.

    owner: the party with the target. columns: each party's features, the owner's first. parties:
    what each holds of the training customers. known: (test rows,), whom of the test customers each
    party knows. truth: about the test rows, None where it is not known.
    """

    owner: str
    columns: Mapping[str, tuple[str, ...]]
    parties: Mapping[str, PartyData]
    known: Mapping[str, Known]
    truth: Truth | None

    @property
    def partners(self) -> tuple[str, ...]:
        """Return the parties other than the owner."""
        return tuple(name for name in self.columns if name != self.owner)


def columns_of(setting: Setting) -> dict[str, tuple[str, ...]]:
    """Return each party's features: the owner's first, then the partners' by name.

    Raises: SettingInvalid.
    """
    part, data = setting.vertical, setting.data
    if data.kind == "generated":
        named = {party.name: party.columns for party in _generator(setting).parties}
    elif part.columns:
        named = dict(part.columns)
    elif data.kind == "bundled" and data.set == "adult":
        named = dict(ADULT_COLUMNS)
    else:
        raise SettingInvalid(setting="vertical.columns", problem="each party's columns are needed")
    owner = part.owner or next(iter(named))
    if owner not in named:
        known = ", ".join(named)
        raise SettingInvalid(setting=f"vertical.owner = {owner}", problem=f"parties are: {known}")
    for key in ("overlaps", "leans"):
        for name in getattr(part, key):
            if name not in named or name == owner:
                problem = "it names no partner; the owner knows everybody"
                raise SettingInvalid(setting=f"vertical.{key}.{name}", problem=problem)
    return {owner: named[owner]} | {name: named[name] for name in sorted(named) if name != owner}


def share_customers(setting: Setting, seed: int) -> tuple[SharedCustomers, Parts]:
    """Return the customers of a trial, and each party's table.

    Raises: SettingInvalid, PartitionImpossible, and what reading and checking a table raises.
    """
    columns, truth = columns_of(setting), None
    if setting.data.kind == "generated":
        table, whole = _generated(setting, seed)
        plain = customers_of(table, setting.data, seed)
        truth = whole.of_rows(_rows_in(table.rows, plain.public.frame))
    else:
        plain = customers_of(source_of(setting.data)(setting.data, seed), setting.data, seed)
    refuse_unusable(plain, columns)
    asked = _asked(setting, columns, plain.target)
    parties = partition_columns(plain.training, plain.schema, asked, seed=seed)
    shared = SharedCustomers(
        name=plain.name,
        training=plain.training,
        public=plain.public,
        features=tuple(name for names in columns.values() for name in names),
        declared=plain.declared,
        left_out=plain.left_out,
        owner=asked[0].name,
        columns=columns,
        parties=parties,
        known={party.name: _known(plain, party, seed) for party in asked},
        truth=truth,
    )
    return shared, {name: party.table for name, party in parties.items()}


def _generator(setting: Setting) -> GeneratorSettings:
    """Return the generator's settings. Raises: SettingInvalid."""
    asked, shares = setting.data.generator, setting.vertical.shares
    if not shares:
        return asked.drawn
    whole = math.fsum(shares.values())
    if not whole > 0:
        raise SettingInvalid(setting="vertical.shares", problem="one or more must be above 0")
    parties = tuple(
        GeneratedParty(name, weight / whole, asked.numbers, asked.levels)
        # The order of a table's keys is no part of what a trial stands for.
        for name, weight in sorted(shares.items())
    )
    return replace(asked.drawn, parties=parties)


def _generated(setting: Setting, seed: int) -> tuple[Table, Truth]:
    made = generate(_generator(setting), seed=seed)
    return Table("generated customers", made.frame, made.schema), made.truth


def _rows_in(frame: pl.DataFrame, some: pl.DataFrame) -> NDArray[np.int64]:
    """Return where the rows of `some` stand in the generated frame."""
    numbered = frame.select(CUSTOMER).with_row_index("row")
    found = some.select(CUSTOMER).join(numbered, on=CUSTOMER, how="left", maintain_order="left")
    return found["row"].to_numpy().astype(np.int64)


def _asked(
    setting: Setting, columns: Mapping[str, tuple[str, ...]], target: str
) -> list[PartyColumns]:
    """Return the parties as they are to be dealt out, the owner first. Raises: SettingInvalid."""
    part, (owner, *partners) = setting.vertical, columns
    asked = [PartyColumns(owner, (*columns[owner], target))]
    for name in partners:
        overlap = part.overlaps.get(name, setting.partition.overlap)
        asked.append(PartyColumns(name, columns[name], overlap, part.leans.get(name, part.lean)))
    return asked


def refuse_unusable(plain: Customers, columns: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a party's column that cannot be a feature. Raises: SettingInvalid."""
    declared = {column.name: column for column in plain.schema.columns}
    made = {IDENTIFIER, CUSTOMER} & set(declared) - {TARGET}
    if made:
        problem = "a party's own table has another column of this name; rename it"
        raise SettingInvalid(setting=f"the column {min(made)}", problem=problem)
    for party, names in columns.items():
        for name in names:
            column = declared.get(name)
            if column is None or column.use != "feature" or column.guarded:
                problem = f"the schema declares no feature {name}, or guards it"
                raise SettingInvalid(setting=f"vertical.columns.{party}", problem=problem)


def _known(plain: Customers, party: PartyColumns, seed: int) -> Known:
    """Return whom of the test customers a party knows, (test rows,).

    Raises: PartitionImpossible.
    """
    positive = positives(plain.public.frame, plain.schema, plain.target) > 0
    found = np.zeros(positive.size, dtype=np.bool_)
    rng = draws(seed, f"known to {party.name}")
    found[known_customers(positive, party, rng)] = True
    return found
