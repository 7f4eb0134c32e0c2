"""The customers a node brings to an alignment or an overlap, and the lists members pass around.

Guarantee: consent is applied before anything is computed from a customer; a list is of exactly the
size its member signed, and made of points that a list should hold.
"""

from fedmkt.contract.shared_permissions import terms_of
from fedmkt.core.errors import AudienceTooSmall, ConsentWithdrawn, StepOutOfOrder, TableChanged
from fedmkt.data.identifiers import Customers, identifier_bytes, read_customers
from fedmkt.node.answer import Priced
from fedmkt.node.home import NodeHome
from fedmkt.node.shared_state import SharedState
from fedmkt.security.psi import lists
from fedmkt.wire.canonical import digest, encode


def covered_customers(home: NodeHome, priced: Priced, keys: tuple[str, ...]) -> Customers:
    """Read a dataset's customers whose consent covers the purpose, each once.

    Raises: DataError; AudienceTooSmall.
    """
    dataset = priced.dataset
    terms = terms_of(dataset)
    columns = [column for key in keys if (column := terms.key(key)) is not None]
    # Privacy: who did not agree is left out before anything is computed from them.
    covered = _covered(home, priced)
    found = read_customers(
        home.source(dataset.name),
        customer_key=dataset.table.customer_key,
        columns=columns,
        dataset=dataset.name,
        covered=covered,
    )
    if len(found.customer_keys) < dataset.minimum_audience:
        raise AudienceTooSmall(dataset=dataset.name, minimum=dataset.minimum_audience)
    return found


def still_covered(home: NodeHome, priced: Priced, customers: Customers) -> None:
    """Check that consent still covers everybody who was read. Raises: ConsentWithdrawn."""
    covered = _covered(home, priced)
    if covered is not None and not covered.issuperset(customers.customer_keys):
        job = priced.job
        raise ConsentWithdrawn(alignment=job.name, purpose=job.purpose, dataset=priced.dataset.name)


def _covered(home: NodeHome, priced: Priced) -> frozenset[str] | None:
    """Return whose consent covers the purpose now; None where the contract asks for no consent."""
    dataset = priced.dataset
    if not terms_of(dataset).consent:
        return None
    return home.consent(dataset.name).covered(priced.job.purpose, now=home.clock.now())


def reading_of(customers: Customers) -> str:
    """Return what tells two readings of the customers apart, for sealed state alone."""
    return digest(encode([list(customers.customer_keys), identifier_bytes(customers)]))


def unchanged(state: SharedState, priced: Priced, customers: Customers) -> Customers:
    """Return the customers, if they are those the run was opened with. Raises: TableChanged."""
    # Security: another process may have read the table anew; positions would name others.
    if reading_of(customers) != state.memory["read"]:
        raise TableChanged(dataset=priced.dataset.name, alignment=state.run)
    return customers


def opened_list(
    state: SharedState, origin: str, sender: str, name: str, sealed: bytes, *, columns: int
) -> lists.Tags:
    """Open the list of `origin` that `sender` sealed as `name`, shape (columns, rows, 32).

    Raises: StepOutOfOrder before the keys are known; SealBroken, SetSizeWrong, PointInvalid,
        SetReplayed.
    """
    peer = state.keys.peers.get(origin)
    if peer is None:
        raise StepOutOfOrder(step="a list before the keys", run=state.run)
    declared = peer.facts.get("rows")
    rows = declared if isinstance(declared, int) else -1
    data = state.keys.open_from(sender, name, sealed)
    return lists.tags_from_bytes(data, columns=columns, rows=rows, member=origin)
