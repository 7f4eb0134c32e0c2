"""Which customers all members share, from everybody's fully blinded lists.

The rule: key columns are taken in the order of trust. In a column, a tag that stands in a row of
every member that is not linked yet links these rows into one customer.

Guarantee: the links are a function of the lists alone, whatever the order of rows or members. By
induction over columns: within a member's column a tag stands once at most (checked), so the tags
that link in a column are the intersection of the members' sets of tags in unlinked rows, which no
order changes; and each takes exactly one row of every member out of the next columns. Hence no row
is linked twice. Links are sorted by column and tag, so everybody who knows them has the same order,
and it tells nothing of identifiers to whoever lacks a key.
Not guaranteed: that lists are honest, or that identifiers of a trusted column never belong to two
people; a less trusted column does not undo a link. A member that blinds last may try several keys
to have the order it likes.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from fedmkt.core.errors import AlignmentMismatch, SetReplayed
from fedmkt.security.psi.group import POINT_BYTES, Points, as_strings, has_repeats
from fedmkt.security.psi.lists import Tags

Positions = NDArray[np.int64]  # (links,), rows of one member's list
_LABEL = b"fedmkt/v1/psi.links"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Links:
    """The shared customers in their common order.

    columns: (links,), the key column that linked each; tags: (links, 32), by which a member finds
    its row. Tags are known to those who saw fully blinded lists, and stay with them.
    """

    columns: NDArray[np.uint8]
    tags: Points

    @property
    def count(self) -> int:
        """Return the number of shared customers."""
        return len(self.columns)

    def __repr__(self) -> str:
        return f"Links({self.count} customers, tags hidden)"


@dataclass(frozen=True, slots=True)
class _Column:
    """One member's key column in the order of its tags: tags (rows,) and their rows (rows,)."""

    tags: NDArray[np.bytes_]
    rows: Positions


def link(lists: Mapping[str, Tags]) -> Links:
    """Return the customers common to all members.

    Args: lists: each member's fully blinded tags, (columns, its rows, 32), columns in the order of
    trust.
    Raises: SetReplayed for a tag that stands twice in a member's column.
    """
    assert len({tags.shape[0] for tags in lists.values()}) == 1
    linked = {member: np.zeros(tags.shape[1], dtype=np.bool_) for member, tags in lists.items()}
    columns, found = [], []
    for number in range(next(iter(lists.values())).shape[0]):
        free = {
            member: _free(_sorted_column(tags[number], member=member), linked[member])
            for member, tags in lists.items()
        }
        common = _common([column.tags for column in free.values()])
        columns.append(np.full(len(common), number, dtype=np.uint8))
        found.append(common)
        for member, column in free.items():
            linked[member][column.rows[np.searchsorted(column.tags, common)]] = True
    return Links(columns=np.concatenate(columns), tags=_as_points(np.concatenate(found)))


def find_positions(own: Tags, links: Links, *, alignment: str) -> Positions:
    """Return a member's own rows for the links, shape (links,), from its own list alone.

    Args: own: the member's fully blinded tags, (columns, rows, 32), in the member's own order.
    Raises: AlignmentMismatch if a link has no row in the list, or two links have the same.
    """
    positions = np.empty(links.count, dtype=np.int64)
    for number in np.unique(links.columns).tolist():
        chosen = links.columns == number
        wanted = as_strings(links.tags[chosen])
        if number >= own.shape[0]:
            raise AlignmentMismatch(alignment=alignment, problem="a link names no key column")
        order = np.argsort(strings := as_strings(own[number]))
        places = np.searchsorted(strings, wanted, sorter=order)
        if bool((places >= len(order)).any()) or bool((strings[order[places]] != wanted).any()):
            raise AlignmentMismatch(alignment=alignment, problem="a link is not in the own list")
        positions[chosen] = order[places]
    # Security: one customer under two links would count twice in every sum.
    if len(np.unique(positions)) != len(positions):
        raise AlignmentMismatch(alignment=alignment, problem="two links name one customer")
    return positions


def links_to_bytes(links: Links) -> bytes:
    """Return the links as bytes: all columns, then all tags."""
    return links.columns.tobytes() + links.tags.tobytes()


def links_from_bytes(data: bytes, *, alignment: str) -> Links:
    """Return the links that `links_to_bytes` wrote.

    Raises: AlignmentMismatch unless they are whole and stand in the common order, each once.
    """
    count, rest = divmod(len(data), 1 + POINT_BYTES)
    if rest:
        raise AlignmentMismatch(alignment=alignment, problem="the links are cut off")
    columns = np.frombuffer(data, dtype=np.uint8, count=count)
    tags = np.frombuffer(data, dtype=np.uint8, offset=count).reshape(count, POINT_BYTES)
    strings = as_strings(tags)
    later = columns[1:] > columns[:-1]
    after = (columns[1:] == columns[:-1]) & (strings[1:] > strings[:-1])
    # Security: a chosen order could carry a message, or differ from member to member.
    if not bool((later | after).all()):
        raise AlignmentMismatch(alignment=alignment, problem="the links are out of order")
    return Links(columns=columns, tags=tags)


def digest_of(links: Links, *, alignment: str) -> str:
    """Return a fingerprint of the links, 64 hexadecimal digits, to compare across members.

    Guarantee: whoever does not know the tags learns from equal fingerprints that alignments agree
    and no more, except that it can tell whether there are no links at all.
    Source: RFC 2104 (HMAC), RFC 5869 (HKDF).
    """
    # Security: the key comes from the tags themselves, so nobody without them can try a guess.
    key = HKDF(SHA256(), 32, None, _LABEL).derive(links_to_bytes(links))
    return hmac.new(key, _LABEL + b"/" + alignment.encode(), hashlib.sha256).hexdigest()


def _sorted_column(tags: Points, *, member: str) -> _Column:
    """Return a column (rows, 32) in the order of its tags. Raises: SetReplayed."""
    strings = as_strings(tags)
    rows = np.argsort(strings)
    if has_repeats(ordered := strings[rows]):
        raise SetReplayed(member=member, problem="a tag stands twice in a key column")
    return _Column(tags=ordered, rows=rows.astype(np.int64, copy=False))


def _free(column: _Column, linked: NDArray[np.bool_]) -> _Column:
    """Return what a column holds in rows that are not linked yet."""
    free = ~linked[column.rows]
    return _Column(tags=column.tags[free], rows=column.rows[free])


def _common(columns: list[NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    """Return the tags that stand in every one of sorted columns, sorted."""
    common, *others = columns
    for other in others:
        common = np.intersect1d(common, other, assume_unique=True)
    return common


def _as_points(strings: NDArray[np.bytes_]) -> Points:
    return strings.view(np.uint8).reshape(-1, POINT_BYTES)
