"""The collaboration: who may do what with which data, and at what price. Default: nothing.

Guarantee: what the contract does not name is denied. All amounts are finite; every dataset that
may be used with noise has a root cap (no purpose, no requester) for life.
"""

import tomllib
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from fedmkt.contract.schema import Identifier, Name, TableSchema
from fedmkt.core.errors import ContractInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.wire.canonical import canonical_json, digest

Mode = Literal["local", "distributed", "none"]
LabelMode = Literal["encrypted", "encrypted_without_noise", "label_private", "shared_labels"]
SplitMode = Literal["split_label_private", "split_shared_labels"]
MOST_USES = 10**9
"""The largest number of uses that a cap can state; every store holds it."""
Requesters = Annotated[tuple[Identifier, ...], Field(min_length=1)]


class Member(Frozen):
    """An organisation and its identity key (64 hexadecimal digits)."""

    name: Identifier
    key: str = Field(pattern=r"^[0-9a-f]{64}$")


class Cap(Frozen):
    """What may be spent, at most, on a dataset's customers.

    No purpose (requester) means: all of them together. `period_epsilon` limits the rate within any
    `period_days` days; `lifetime_epsilon` is the guarantee. Both at `delta`. `uses_*`: runs.
    What no epsilon bounds is counted for life: `exact_scores_lifetime`, totals of scores shown to a
    label owner customer by customer, and each number of a customer that a split training shows it;
    `alignments_lifetime`, runs that show members which of their own customers they share. Without
    such a cap there may be none.
    """

    dataset: Identifier
    purpose: Identifier | None = None
    requester: Identifier | None = None
    delta: float = Field(default=1e-5, gt=0, lt=0.01)
    period_epsilon: float | None = Field(default=None, gt=1e-3, le=100)
    period_days: int = Field(default=30, ge=1, le=3660)
    lifetime_epsilon: float | None = Field(default=None, gt=1e-3, le=100)
    uses_per_day: int | None = Field(default=None, ge=1, le=MOST_USES)
    uses_per_week: int | None = Field(default=None, ge=1, le=MOST_USES)
    uses_per_month: int | None = Field(default=None, ge=1, le=MOST_USES)
    uses_lifetime: int | None = Field(default=None, ge=1, le=MOST_USES)
    exact_scores_lifetime: int | None = Field(default=None, ge=1, le=MOST_USES)
    alignments_lifetime: int | None = Field(default=None, ge=1, le=MOST_USES)


class KeyColumn(Frozen):
    """An identifier column of a table, by which customers are found at other members.

    key: what all members call this identifier. kind: the rule it is normalised by. region: the
    country (ISO 3166, as DE) of phone numbers that are written without one.
    """

    key: Identifier
    column: Name
    kind: Literal["email", "phone", "own"]
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None


class VerticalTerms(Frozen):
    """Terms for work over customers that members share: who is whom, and what may be shown of them.

    keys: identifier columns. modes: ways in which this dataset's labels may be used; partners'
    datasets name the modes they take part in; a split training, in which activations are seen, only
    under a mode of its own. consent: whether a consent table must cover the
    purpose. exact_sizes: whether set and overlap sizes may be shown without noise. parts: whether
    this member's part of a customer's score may be shown to the label owner beside the total.
    most_levels and most_limit: how finely, and up to what size (log-odds), one feature may move a
    score that is shown. least_bin: smaller bins are merged before they are used. least_seed:
    aligned customers that an audience expansion needs.
    """

    keys: tuple[KeyColumn, ...] = Field(min_length=1)
    modes: tuple[LabelMode | SplitMode, ...] = ("encrypted",)
    consent: bool = True
    exact_sizes: bool = False
    parts: bool = False
    most_levels: int = Field(default=33, ge=3, le=2**20 + 1)
    most_limit: float = Field(default=4.0, ge=1e-3, le=16)
    most_rounds: int = Field(default=15, ge=1, le=50)
    least_bin: int = Field(default=20, ge=1)
    least_seed: int = Field(default=500, ge=1)

    @model_validator(mode="after")
    def _distinct(self) -> "VerticalTerms":
        if len({one.key for one in self.keys}) != len(self.keys):
            raise ValueError("keys need different names")
        return self

    def key(self, name: str) -> KeyColumn | None:
        """Return the key column called `name`, or None."""
        return next((one for one in self.keys if one.key == name), None)


class Dataset(Frozen):
    """A table that every named holder keeps for its own customers, and the terms of its use.

    population: who the rows are about; datasets about the same people name the same population
    and share its root cap. uses: purpose to those who may ask for it. modes: allowed trust
    settings; `none` (no noise) only where named. updates_seen: whether a coordinator may see each
    holder's update by itself, which robust rules need. minimum_overlap: the least number of shared
    customers, as far as noise tells it. guarded_uses: purposes for which a job may use audit and
    special columns as features, if it says so too. vertical: terms for work over shared customers;
    without them there is none.
    """

    name: Identifier
    population: Identifier
    holders: tuple[Identifier, ...] = Field(min_length=1)
    uses: dict[Identifier, Requesters] = Field(min_length=1)
    modes: tuple[Mode, ...] = ("local",)
    updates_seen: bool = False
    guarded_uses: tuple[Identifier, ...] = ()
    minimum_audience: int = Field(default=100, ge=1)
    minimum_overlap: int = Field(default=100, ge=1)
    quality_floor: float = Field(default=0.95, ge=0, le=1)
    vertical: VerticalTerms | None = None
    table: TableSchema


class Collaboration(Frozen):
    """The contract all members sign.

    bundle_hashes: SHA-256 of the code bundles members agree to run; a node that runs as
    `fedmkt node run` does answers no other. None: each node's own version's.
    """

    schema_version: Literal[1] = 1
    name: Identifier
    expires: datetime
    coordinator: Member
    members: tuple[Member, ...] = Field(min_length=1)
    datasets: tuple[Dataset, ...]
    caps: tuple[Cap, ...]
    bundle_hashes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Collaboration":
        names = [member.name for member in (*self.members, self.coordinator)]
        keys = [member.key for member in (*self.members, self.coordinator)]
        if len(set(names)) != len(names) or len(set(keys)) != len(keys):
            raise ValueError("members (and the coordinator) need different names and keys")
        if self.expires.tzinfo is None:
            raise ValueError("expires needs a time zone, as in 2027-01-01T00:00:00Z")
        datasets = {dataset.name: dataset for dataset in self.datasets}
        if len(datasets) != len(self.datasets):
            raise ValueError("datasets need different names")
        for dataset in self.datasets:
            if unknown := set(dataset.holders) - set(names):
                raise ValueError(f"dataset {dataset.name}: {sorted(unknown)} are no members")
            if set(dataset.modes) != {"none"} and self.root_cap(dataset).lifetime_epsilon is None:
                raise ValueError(f"dataset {dataset.name}: its root cap needs lifetime_epsilon")
        scopes = [(cap.dataset, cap.purpose, cap.requester) for cap in self.caps]
        if len(set(scopes)) != len(scopes) or any(cap.dataset not in datasets for cap in self.caps):
            raise ValueError("each cap names a dataset of the contract, each scope once")
        self._one_root_a_population()
        return self

    def _one_root_a_population(self) -> None:
        roots: dict[str, dict[str, object]] = {}
        for dataset in self.datasets:
            terms = self.root_cap(dataset).model_dump(exclude={"dataset"})
            if roots.setdefault(dataset.population, terms) != terms:
                raise ValueError(
                    f"population {dataset.population}: its datasets need equal root caps"
                )

    def root_cap(self, dataset: Dataset) -> Cap:
        """Return the cap over all purposes and requesters of `dataset`."""
        for cap in self.caps:
            if cap.dataset == dataset.name and cap.purpose is None and cap.requester is None:
                return cap
        raise ValueError(f"dataset {dataset.name} has no root cap (no purpose, no requester)")

    def dataset(self, name: str) -> Dataset | None:
        """Return the dataset called `name`, or None."""
        return next((dataset for dataset in self.datasets if dataset.name == name), None)

    def key_of(self, member: str) -> str | None:
        """Return the identity key the contract gives `member` (the coordinator too), or None."""
        everybody = (*self.members, self.coordinator)
        return next((one.key for one in everybody if one.name == member), None)

    def signed_bytes(self) -> bytes:
        """Return the canonical bytes that members sign."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def hash(self) -> str:
        """Return the SHA-256 that stands for this contract."""
        return digest(self.signed_bytes())


def parse_collaboration(text: str, *, source: str) -> Collaboration:
    """Parse a contract from TOML text. Raises: ContractInvalid."""
    try:
        return Collaboration.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ContractInvalid(contract=source, problem=f"not TOML: {error}") from None
    except ValidationError as error:
        raise ContractInvalid(contract=source, problem=first_problem(error)) from None
