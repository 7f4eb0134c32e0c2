"""Alignments a node keeps: which of its own customers it shares, in the order all members have.

    alignments/HASH     sealed; HASH is the start of the run's SHA-256

Guarantee: a file opens under this node's identity alone. Rows that are used under an alignment are
those it was made over: each aligned customer is still there, unchanged in every declared column
(held by a keyed fingerprint), and consent still covers the purpose.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from fedmkt.contract.collaboration import Dataset
from fedmkt.contract.shared_permissions import terms_of
from fedmkt.contract.vertical_jobs import OwnedJob
from fedmkt.core.errors import (
    AlignmentUnknown,
    ConsentWithdrawn,
    OverlapTooSmall,
    SealBroken,
)
from fedmkt.data.aligned import AlignedCustomers, AlignedRows, load_aligned
from fedmkt.data.tables import RowCoder
from fedmkt.identity.keys import Identity
from fedmkt.identity.sealed import open_sealed, seal
from fedmkt.node.answer import PricedT
from fedmkt.node.home import NodeHome
from fedmkt.node.kept_files import file_name
from fedmkt.node.shared_state import SharedJobT, SharedProgram
from fedmkt.storage.whole_file import write_private
from fedmkt.wire.canonical import decode_kept, encode

_FOLDER = "alignments"
_LABEL = "alignment"
_FINGERPRINT = "table fingerprint"


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened to a table's rows before it was aligned; stays at the node."""

    rows: int
    duplicates: int
    opted_out: int
    unusable: int
    offered: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """One finished alignment at one member.

    customer_keys: own customers that all members share, in the common order. overlap, size: as
    stated to others, with their noise. padded: at least the number of rows; messages are padded to
    it. digest: what members compare to know they hold the same. fingerprint_key: what the
    fingerprint was made with, where that was an earlier identity's; empty for the present one's.
    """

    run: str
    purpose: str
    members: tuple[str, ...]
    dataset: str
    digest: str
    overlap: int
    padded: int
    size: int
    fingerprint: str
    counts: Counts
    customer_keys: tuple[str, ...] = field(repr=False)
    fingerprint_key: bytes = field(default=b"", repr=False)

    @property
    def rows(self) -> int:
        """Return how many customers are aligned, exactly; for this node alone."""
        return len(self.customer_keys)


class OverAlignment(Protocol):
    """What a run over aligned customers loaded."""

    @property
    def alignment(self) -> Alignment:
        """Return whose customers they are."""
        ...


def keep_alignment(home: NodeHome, alignment: Alignment) -> None:
    """Write an alignment, sealed. Raises: OutputUnwritable."""
    path = alignment_path(home.folder, alignment.run)
    write_private(path, sealed_alignment(home.identity, alignment))


def read_alignment(home: NodeHome, run: str) -> Alignment:
    """Return the alignment of a run. Raises: AlignmentUnknown."""
    path = alignment_path(home.folder, run)
    if not path.is_file():
        raise AlignmentUnknown(alignment=run, problem="any job")
    try:
        return opened_alignment(home.identity, run, path.read_bytes())
    except SealBroken:
        raise AlignmentUnknown(alignment=run, problem="this identity") from None


def alignment_path(folder: Path, run: str) -> Path:
    """Return where in a home an alignment lies."""
    return folder / _FOLDER / file_name(run)


def sealed_alignment(identity: Identity, alignment: Alignment) -> bytes:
    """Return an alignment as it is kept."""
    key, context = identity.derive_key(_LABEL), alignment.run.encode()
    return seal(key, encode(asdict(alignment)), context=context)


def opened_alignment(identity: Identity, run: str, sealed: bytes) -> Alignment:
    """Return an alignment that was kept. Raises: SealBroken (another identity's, another run's)."""
    key = identity.derive_key(_LABEL)
    data = open_sealed(key, sealed, context=run.encode(), what="alignment")
    value = decode_kept(data, kind="alignment")
    return Alignment(
        **{
            **value,
            "members": tuple(value["members"]),
            "customer_keys": tuple(value["customer_keys"]),
            "counts": Counts(**value["counts"]),
        }
    )


def resealed_alignment(old: Identity, new: Identity, run: str, sealed: bytes) -> bytes:
    """Return a kept alignment as another identity keeps it. Raises: SealBroken."""
    found = opened_alignment(old, run, sealed)
    # The table is not read for it: the fingerprint stays, with the key it was made with.
    key = found.fingerprint_key or old.derive_key(_FINGERPRINT)
    return sealed_alignment(new, replace(found, fingerprint_key=key))


def alignment_for(home: NodeHome, job: OwnedJob, dataset: Dataset) -> Alignment:
    """Return the alignment a job names, if it may be used for it.

    Raises: AlignmentUnknown (none, or of other members, another purpose or dataset);
        OverlapTooSmall, by the noised size that was stated when it was made.
    """
    found = read_alignment(home, job.alignment)
    if found.purpose != job.purpose:
        raise AlignmentUnknown(alignment=job.alignment, problem=f"purpose {job.purpose}")
    if found.dataset != dataset.name or not set(job.members) <= set(found.members):
        raise AlignmentUnknown(alignment=job.alignment, problem="these members and datasets")
    # Privacy: judged by the released number, so the answer tells nothing new about customers.
    if found.overlap < dataset.minimum_overlap:
        raise OverlapTooSmall(dataset=dataset.name, minimum=dataset.minimum_overlap)
    return found


def customers_of(
    home: NodeHome, dataset: Dataset, run: str, customer_keys: Sequence[str]
) -> AlignedCustomers:
    """Return these customers of a dataset as an alignment's, under this node's fingerprint key."""
    return AlignedCustomers(
        dataset=dataset.name,
        alignment=run,
        customer_keys=tuple(customer_keys),
        fingerprint_key=home.identity.derive_key(_FINGERPRINT),
    )


def aligned_rows(
    home: NodeHome, dataset: Dataset, alignment: Alignment, coder: RowCoder, target: str | None
) -> AlignedRows:
    """Read the aligned customers' rows, in the common order.

    Raises: ConsentWithdrawn, TableChanged, DataError.
    """
    check_consent(home, dataset, alignment)
    customers = customers_of(home, dataset, alignment.run, alignment.customer_keys)
    if alignment.fingerprint_key:
        customers = replace(customers, fingerprint_key=alignment.fingerprint_key)
    rows = load_aligned(
        home.source(dataset.name),
        dataset.table,
        customers,
        coder=coder,
        target=target,
        quality_floor=dataset.quality_floor,
    )
    if rows.fingerprint != alignment.fingerprint:
        raise customers.changed()
    return rows


AlignedT = TypeVar("AlignedT", bound=OverAlignment)


class AlignedProgram(SharedProgram[SharedJobT, PricedT, AlignedT]):
    """What the programs of all runs over aligned customers have in common."""

    def recheck(self, home: NodeHome, priced: PricedT, loaded: AlignedT) -> None:
        """Check that every aligned customer still agrees. Raises: ConsentWithdrawn, DataError."""
        check_consent(home, priced.dataset, loaded.alignment)


def check_consent(home: NodeHome, dataset: Dataset, alignment: Alignment) -> None:
    """Raise ConsentWithdrawn unless consent covers the purpose for every aligned customer."""
    if not terms_of(dataset).consent:
        return
    table = home.consent(dataset.name)
    covered = table.covered(alignment.purpose, now=home.clock.now())
    if not covered.issuperset(alignment.customer_keys):
        raise ConsentWithdrawn(
            alignment=alignment.run, purpose=alignment.purpose, dataset=dataset.name
        )
