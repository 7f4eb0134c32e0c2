"""Vertical partitions: which party holds which columns, and whom of the customers it knows.

Guarantee: no column goes to two parties; a party knows exactly the stated share of the label
owner's customers, rounded to whole people; the same seed gives the same parties, and what is drawn
for a party depends on its own name and settings, not on the others. Identifiers, customer keys and
consent are synthetic.
Not made here: customers whom the owner does not know, misspelt identifiers, withdrawn consent; the
demonstration's parties (`simulation.vertical_partition`) have them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.collaboration import KeyColumn
from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import PartitionImpossible, SettingInvalid
from fedmkt.core.stages import IntArray
from fedmkt.data.tables import positives
from fedmkt.simulation.vertical_partition import PURPOSE, PartyData

IDENTIFIER = "person"
KEYS = (KeyColumn(key=IDENTIFIER, column=IDENTIFIER, kind="own"),)
ADULT_COLUMNS = {
    "bank": ("age", "capital_gain", "capital_loss", "hours_per_week", "workclass"),
    "retailer": ("marital_status", "relationship"),
    "map_provider": ("education", "occupation", "native_country"),
}
"""The columns of the vertical demonstration's parties, the label owner's first."""
_CUSTOMER = "customer"
_GRANTED = "2024-03-01T09:00:00Z"


@dataclass(frozen=True, slots=True)
class PartyColumns:
    """A party's columns and whom it knows.

    overlap: share of the label owner's customers it knows. lean: the correlation (phi) of being
    known with a positive target, so that a party can know the good customers better. The owner has
    the target column and knows everybody.

    Raises: SettingInvalid.
    """

    name: str
    columns: tuple[str, ...]
    overlap: float = 1.0
    lean: float = 0.0

    def __post_init__(self) -> None:
        if not self.columns:
            raise self.invalid("it has no columns")
        if not 0 < self.overlap <= 1:
            raise self.invalid("its overlap must be more than 0 and at most 1")
        if not -1 <= self.lean <= 1:
            raise self.invalid("its lean must be from -1 to 1")

    def invalid(self, problem: str) -> SettingInvalid:
        """Return the error that names this party."""
        return SettingInvalid(setting=f"the party {self.name}", problem=problem)


def partition_columns(
    frame: pl.DataFrame, schema: TableSchema, parties: Sequence[PartyColumns], *, seed: int
) -> dict[str, PartyData]:
    """Return what each party holds; the label owner, whose columns hold the target, first.

    Args: frame: the declared columns, one row a customer. The people of a party are row numbers of
    it, in an order drawn for each party.

    Raises: SettingInvalid (columns unknown or given twice, no owner, an owner who does not know
    everybody), PartitionImpossible (a lean that such an overlap cannot have, nobody known).
    """
    owner = _owner(schema, parties)
    target = next(name for name in owner.columns if schema.column(name).use == "target")
    positive = positives(frame, schema, target) > 0
    made = dict[str, PartyData]()
    for party in parties:
        own = np.random.SeedSequence(seed, spawn_key=tuple(party.name.encode()))
        made[party.name] = _party(frame, schema, party, positive, np.random.default_rng(own))
    return {owner.name: made.pop(owner.name)} | made


def known_customers(
    positive: NDArray[np.bool_], party: PartyColumns, rng: np.random.Generator
) -> IntArray:
    """Return the rows of the customers a party knows, in the order drawn.

    Args: positive: (rows,), whose target is positive. With share p of positives, overlap o and
    lean r, a positive is known with chance o + r sqrt(o (1 - o) (1 - p) / p), another one with
    o - r sqrt(o (1 - o) p / (1 - p)); so phi between the two is r, up to one person.

    Raises: PartitionImpossible.
    """
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)
    known = round(party.overlap * positive.size)
    if not known:
        raise PartitionImpossible(
            problem=f"{party.name} knows none of {positive.size} customers",
            advice="Use a larger overlap or a larger table.",
        )
    share = yes.size / positive.size
    moved = party.lean * np.sqrt(
        party.overlap * (1 - party.overlap) * share * (1 - share) * positive.size**2
    )
    exact = float(party.overlap * yes.size + moved)
    known_yes = min(max(round(exact), 0, known - no.size), known, yes.size)
    if abs(known_yes - exact) > 1:
        raise PartitionImpossible(
            problem=f"{party.name} cannot know {party.overlap:g} of the customers and lean "
            f"{party.lean:g} to the positives, who are {share:.3g} of them",
            advice="Use a lean nearer to 0 or another overlap.",
        )
    drawn = (rng.permutation(yes)[:known_yes], rng.permutation(no)[: known - known_yes])
    return rng.permutation(np.concatenate(drawn))


def _owner(schema: TableSchema, parties: Sequence[PartyColumns]) -> PartyColumns:
    """Return the party with the target. Raises: SettingInvalid."""
    declared = {column.name: column for column in schema.columns}
    names, given = [party.name for party in parties], set[str]()
    for party in parties:
        for column in party.columns:
            if column not in declared:
                raise party.invalid(f"the schema declares no column {column}")
            if column in given:
                raise party.invalid(f"the column {column} is given twice")
            given.add(column)
    owners = [
        party for party in parties if any(declared[name].use == "target" for name in party.columns)
    ]
    if len(parties) < 2 or len(owners) != 1 or len(set(names)) != len(names):
        raise SettingInvalid(
            setting="the parties",
            problem="two or more with different names are needed, one of them with the target",
        )
    if owners[0].overlap != 1 or owners[0].lean:
        raise owners[0].invalid("it has the target, so its overlap is 1 and its lean 0")
    return owners[0]


def _party(
    frame: pl.DataFrame,
    schema: TableSchema,
    party: PartyColumns,
    positive: NDArray[np.bool_],
    rng: np.random.Generator,
) -> PartyData:
    """Return one party's table, schema and consent."""
    people = known_customers(positive, party, rng)
    keys = pl.Series(_CUSTOMER, [f"{party.name}-{n:07}" for n in range(1, people.size + 1)])
    persons = pl.Series(IDENTIFIER, [f"synthetic-{n:07}" for n in people])
    table = pl.DataFrame([keys, persons]).hstack(frame.select(party.columns)[people])
    columns = tuple(schema.column(name) for name in party.columns)
    owns_target = any(column.use == "target" for column in columns)
    consent = pl.DataFrame({"key": keys}).with_columns(
        purpose=pl.lit(PURPOSE), status=pl.lit("granted"), time=pl.lit(_GRANTED)
    )
    own = TableSchema(
        customer_key=_CUSTOMER,
        columns=columns,
        target_positive=schema.target_positive if owns_target else None,
    )
    return PartyData(table, own, consent, KEYS, people)
