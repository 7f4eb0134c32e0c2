"""The audit log's records: a signed hash chain of canonical JSON lines that verifies offline.

Guarantee: whoever holds the public key and the lines finds every altered, reordered, inserted or
dropped record; whoever also holds a later head finds a cut tail, a fork and a restored backup.
Not guaranteed: that what a record says is true, nor, without a head seen elsewhere, that the tail
is whole: the key's owner can always write another history, but not one that holds others' heads.

A key may give way to another: the last record of the old key names the new one, which accepts, by a
signature of its own, exactly that record and those before. So whoever holds the present key alone
can check the records of all earlier keys, and whoever has stolen an earlier key can alter none.
Source: Schneier and Kelsey 1999, "Secure audit logs to support computer forensics", section 3
(chain), with signatures in place of evolving secrets.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fedmkt.core.errors import AuditBroken, AuditCut, SettingInvalid, SignatureInvalid
from fedmkt.identity.keys import Identity, PublicIdentity
from fedmkt.wire.canonical import canonical_json, digest

JSON = str | int | float | bool | None | Sequence["JSON"] | Mapping[str, "JSON"]
ROTATED = "rotated"
"""The kind of the record by which one key hands a log to another."""
_LABEL, _ACCEPTS = "audit-record", "audit-rotation"
_BODY = ("sequence", "at", "kind", "facts", "previous")
_NO_HASH = "0" * 64
_NOT_THIS_KEY = "its signature does not fit this key: another member's key, or an altered record"
_NOT_ITS_HASH = "its hash does not fit its content"
_NOT_FOLLOWING = "it does not follow the record before it"
_SEALED = re.compile(
    rb'(.*),"hash":"([0-9a-f]{64})"(,"kind":"[^"\\]*","previous":"[0-9a-f]{64}",'
    rb'"sequence":[1-9][0-9]*),"signature":"[^"]*"\}\n'
)
"""A record's line; the first and third group, closed, are the bytes that were hashed."""
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
    """A log that holds: the number of its records, its head, and where it changed its key."""

    records: int
    head: Head
    rotations: tuple[int, ...] = ()


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


def link_rotation(previous: Head, *, old: Identity, new: Identity, at: datetime) -> Record:
    """Return the record that hands a log over: signed with the old key, accepted with the new."""
    facts = {"old": old.public.hex, "new": new.public.hex}
    said = link(previous, identity=old, at=at, kind=ROTATED, facts=facts)
    accepted = new.sign(_ACCEPTS, canonical_json(_body(said))).hex()
    return link(previous, identity=old, at=at, kind=ROTATED, facts={**facts, "accepted": accepted})


def key_after(record: Record, key: PublicIdentity, *, path: str) -> PublicIdentity:
    """Return whose signature the next record must have. key: whose this record has.

    Raises: AuditBroken, for a record that hands the log over and was not accepted.
    """
    if record.kind != ROTATED:
        return key
    try:
        old, new, accepted = (str(record.facts[name]) for name in ("old", "new", "accepted"))
        # Security: of all the record says, or the old key's thief could say it otherwise.
        facts = {name: fact for name, fact in record.facts.items() if name != "accepted"}
        statement, found = canonical_json({**_body(record), "facts": facts}), PublicIdentity(new)
        found.verify(_ACCEPTS, statement, bytes.fromhex(accepted), member="the log's owner")
    except (KeyError, ValueError, SettingInvalid, SignatureInvalid):
        problem = "the key it names did not take the log over"
        raise AuditBroken(record=record.sequence, path=path, problem=problem) from None
    if old != key.hex:
        problem = "it hands over a log of another key"
        raise AuditBroken(record=record.sequence, path=path, problem=problem)
    return found


def read_last(line: bytes, *, key: PublicIdentity, path: str) -> Record:
    """Parse and check a log's last line: one that `key` signed, or took the log over by.

    Raises: AuditBroken.
    """
    place = "at the end"
    stated = _stated(line)
    if stated.get("kind") != ROTATED:
        return read_record(line, number=place, key=key, path=path)
    problem = "the log was handed over to another key than this one"
    old, new = (_key_in(stated, name) for name in ("old", "new"))
    if old is None or new != key:
        raise AuditBroken(record=place, path=path, problem=problem)
    record = read_record(line, number=place, key=old, path=path)
    key_after(record, old, path=path)
    return record


def _stated(line: bytes) -> dict[str, Any]:
    """Return what a line says, unchecked; nothing where it is no record."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _key_in(stated: Mapping[str, Any], name: str) -> PublicIdentity | None:
    facts = stated.get("facts")
    try:
        return PublicIdentity(str(facts[name])) if isinstance(facts, dict) else None
    except (KeyError, SettingInvalid):
        return None


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
        raise broken(_NOT_ITS_HASH)
    try:
        signature = bytes.fromhex(record.signature)
        key.verify(_LABEL, data, signature, member="the log's owner")
    except (SignatureInvalid, ValueError, TypeError):
        raise broken(_NOT_THIS_KEY) from None
    if signature.hex() != record.signature:
        raise broken("it is no canonical record")
    return record


def verify_chain(
    lines: Iterable[bytes], key: PublicIdentity, head: Head | None, path: str
) -> Verified:
    """Check a whole log, line by line (each with its newline), in one pass and constant memory.

    Args: key: the present one; records of earlier keys are followed to it. head: the latest head
    seen elsewhere, None if there is none. path: for errors.
    Raises: AuditBroken, naming the first record that does not hold; AuditCut, when the log does
    not hold `head`.
    """
    last, present, rotations = None, key, []
    for number, line in enumerate(lines, start=1):
        if number == 1:
            present = _first_key(line) or key
        record = read_record(line, number=number, key=present, path=path)
        if record.sequence != number or record.previous != (last.hash if last else _NO_HASH):
            raise AuditBroken(record=number, path=path, problem=_NOT_FOLLOWING)
        last = record.head
        if head is not None and head.sequence == number and head != last:
            raise AuditCut(path=path, record=number)
        if record.kind == ROTATED:
            present = key_after(record, present, path=path)
            rotations.append(number)
    _require_present(last, present, key, rotations, path)
    if head is not None and (last is None or last.sequence < head.sequence):
        raise AuditCut(path=path, record=head.sequence)
    if last is None:
        raise AuditBroken(record=1, path=path, problem="the log is empty")
    return Verified(last.sequence, last, tuple(rotations))


def bound_records(lines: Iterable[bytes], head: Head, path: str) -> list[dict[str, Any]]:
    """Return kind, facts and hash of every record of a log that ends at `head`.

    Guarantee: they are as true as the head is: it names the last record's hash, and each record
    that of the one before. So one signature, the last, stands for all; whether earlier lines still
    bear theirs is for `verify_chain`, which takes many times as long.
    Raises: AuditBroken, naming the first record that does not hold.
    """
    found: list[dict[str, Any]] = []
    last = _NO_HASH
    for number, line in enumerate(lines, start=1):
        parts = _SEALED.fullmatch(line)
        body = parts[1] + parts[3] + b"}" if parts else b""
        # Security: what is read is what was hashed, so nothing else on the line can say more.
        stated = _stated(body)
        if parts is None or digest(body) != parts[2].decode():
            raise AuditBroken(record=number, path=path, problem=_NOT_ITS_HASH)
        if stated.get("sequence") != number or stated.get("previous") != last:
            raise AuditBroken(record=number, path=path, problem=_NOT_FOLLOWING)
        last = digest(body)
        found.append({"kind": stated["kind"], "facts": stated["facts"], "hash": last})
    if Head(len(found), last) != head:
        raise AuditBroken(record=len(found), path=path, problem="it is not the log's last record")
    return found


def _first_key(line: bytes) -> PublicIdentity | None:
    """Return the key that a log's first record names as its own, None where it names none."""
    # Security: this is the log's own word. It counts by what ends the chain: the key that the
    # verifier brought signed the last records, and accepted all that came before.
    return _key_in(_stated(line), "key")


def _require_present(
    last: Head | None, present: PublicIdentity, key: PublicIdentity, rotations: list[int], path: str
) -> None:
    """Raise AuditBroken unless a chain that was followed ends at the verifier's key."""
    if last is None or present == key:
        return
    if not rotations:
        raise AuditBroken(record=1, path=path, problem=_NOT_THIS_KEY)
    problem = f"this key is not the one that record {rotations[-1]} hands the log to"
    raise AuditBroken(record=last.sequence, path=path, problem=problem)


def _body(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in _BODY}
