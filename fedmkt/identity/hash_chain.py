"""The audit log's records: a signed hash chain of canonical JSON lines that verifies offline.

Guarantee: whoever holds the public key and the lines finds every altered, reordered, inserted or
dropped record; whoever also holds a later head finds a cut tail, a fork and a restored backup.
Not guaranteed: that what a record says is true, nor, without a head seen elsewhere, that the tail
is whole: the key's owner can always write another history, but not one that holds others' heads.
Source: Schneier and Kelsey 1999, "Secure audit logs to support computer forensics", section 3
(chain), with signatures in place of evolving secrets.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fedmkt.core.errors import AuditBroken, AuditCut, SettingInvalid, SignatureInvalid
from fedmkt.identity.keys import Identity, PublicIdentity
from fedmkt.wire.canonical import canonical_json, digest

JSON = str | int | float | bool | None | Sequence["JSON"] | Mapping[str, "JSON"]
_LABEL = "audit-record"
_BODY = ("sequence", "at", "kind", "facts", "previous")
_NO_HASH = "0" * 64
_HEAD_TEXT = re.compile(r"([1-9][0-9]{0,15}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a log: its sequence (from 1) and hash. Text form: `SEQ:HASH`."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Parse the text form. Raises: SettingInvalid."""
        match = _HEAD_TEXT.fullmatch(text.strip())
        if match is None:
            raise SettingInvalid(setting="head", problem="it does not read SEQUENCE:HASH")
        return cls(int(match[1]), match[2])


@dataclass(frozen=True, slots=True)
class Record:
    """One entry: what happened (`kind`, `facts`), when, and how it hangs on the one before."""

    sequence: int
    at: str
    kind: str
    facts: Mapping[str, JSON]
    previous: str
    hash: str
    signature: str

    @property
    def head(self) -> Head:
        """Return the head of a log that ends with this record."""
        return Head(self.sequence, self.hash)

    def line(self) -> bytes:
        """Return the record's canonical JSON line, with its newline."""
        sealed = {"hash": self.hash, "signature": self.signature}
        return canonical_json({**_body(self), **sealed}) + b"\n"


@dataclass(frozen=True, slots=True)
class Verified:
    """A log that holds: the number of its records and its head."""

    records: int
    head: Head


def link(
    previous: Head | None,
    *,
    identity: Identity,
    at: datetime,
    kind: str,
    facts: Mapping[str, JSON],
) -> Record:
    """Return the next record after `previous` (None: the first), signed.

    Privacy: `facts` are read by others; only names, counts, hashes and codes belong there.
    """
    body = {
        "sequence": previous.sequence + 1 if previous else 1,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "kind": kind,
        "facts": dict(facts),
        "previous": previous.hash if previous else _NO_HASH,
    }
    data = canonical_json(body)
    signature = identity.sign(_LABEL, data).hex()
    # Facts are taken from the bytes that were signed, so that later changes to the argument or
    # tuples that JSON reads as lists cannot make the record differ from its line.
    return Record(**json.loads(data), hash=digest(data), signature=signature)


def read_record(line: bytes, *, number: int | str, key: PublicIdentity, path: str) -> Record:
    """Parse and check one line by itself: its form, its hash and its signature.

    Args: number: the record's place, for the error alone. Raises: AuditBroken.
    """

    def broken(problem: str) -> AuditBroken:
        return AuditBroken(record=number, path=path, problem=problem)

    if not line.endswith(b"\n"):
        raise broken("its line is not complete")
    try:
        record = Record(**json.loads(line))
        canonical = record.line()
    except (ValueError, TypeError, RecursionError):
        raise broken("it is no canonical record") from None
    # Security: exactly one spelling of a record is accepted, so no byte of the file can change.
    if canonical != line or type(record.sequence) is not int:
        raise broken("it is no canonical record")
    data = canonical_json(_body(record))
    if record.hash != digest(data):
        raise broken("its hash does not fit its content")
    try:
        signature = bytes.fromhex(record.signature)
        key.verify(_LABEL, data, signature, member="the log's owner")
    except (SignatureInvalid, ValueError, TypeError):
        problem = "its signature does not fit this key: another member's key, or an altered record"
        raise broken(problem) from None
    if signature.hex() != record.signature:
        raise broken("it is no canonical record")
    return record


def verify_chain(
    lines: Iterable[bytes], key: PublicIdentity, head: Head | None, path: str
) -> Verified:
    """Check a whole log, line by line (each with its newline), in one pass and constant memory.

    Args: head: the latest head seen elsewhere, None if there is none. path: for errors.
    Raises: AuditBroken, naming the first record that does not hold; AuditCut, when the log does
    not hold `head`.
    """
    last: Head | None = None
    for number, line in enumerate(lines, start=1):
        record = read_record(line, number=number, key=key, path=path)
        if record.sequence != number or record.previous != (last.hash if last else _NO_HASH):
            raise AuditBroken(
                record=number, path=path, problem="it does not follow the record before it"
            )
        last = record.head
        if head is not None and head.sequence == number and head != last:
            raise AuditCut(path=path, record=number)
    if head is not None and (last is None or last.sequence < head.sequence):
        raise AuditCut(path=path, record=head.sequence)
    if last is None:
        raise AuditBroken(record=1, path=path, problem="the log is empty")
    return Verified(last.sequence, last)


def _body(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in _BODY}
