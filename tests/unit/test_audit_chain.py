"""The audit log's chain: whatever is altered, moved or missing is found, and named."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from fedmkt.core.errors import AuditBroken, AuditCut, SettingInvalid
from fedmkt.identity.hash_chain import Head, Record, Verified, link, verify_chain
from fedmkt.identity.keys import Identity
from fedmkt.wire.canonical import canonical_json, digest

OWNER = Identity(bytes(range(32)))
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATH = "audit.log"


def chain(length: int, *, owner: Identity = OWNER, kind: str = "committed") -> list[Record]:
    records: list[Record] = []
    for number in range(length):
        previous = records[-1].head if records else None
        at = START + timedelta(minutes=number)
        facts = {"run": "run-1", "release": number, "cost": 0.5, "names": ["a", "é"], "none": None}
        records.append(link(previous, identity=owner, at=at, kind=kind, facts=facts))
    return records


def lines(records: list[Record]) -> list[bytes]:
    return [record.line() for record in records]


def check(log: list[bytes], head: Head | None = None, owner: Identity = OWNER) -> Verified:
    return verify_chain(log, owner.public, head, PATH)


def broken_at(log: list[bytes], owner: Identity = OWNER) -> object:
    with pytest.raises(AuditBroken) as broken:
        check(log, owner=owner)
    return broken.value.fields["record"]


def test_an_untouched_log_verifies_up_to_its_head() -> None:
    records = chain(5)
    assert check(lines(records), records[-1].head) == Verified(5, records[-1].head)
    assert check(lines(records), records[2].head) == Verified(5, records[-1].head)


def test_a_record_is_one_canonical_json_line_whose_hash_anybody_can_make() -> None:
    record = chain(2)[1]
    fields = json.loads(record.line())
    body = {name: fields[name] for name in ("sequence", "at", "kind", "facts", "previous")}
    assert record.line() == canonical_json(fields) + b"\n"
    assert fields["hash"] == digest(canonical_json(body))
    assert fields["at"] == "2026-03-01T12:01:00.000000+00:00"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", 3),
        ("sequence", True),
        ("at", "2026-03-01T12:01:00.000001+00:00"),
        ("kind", "refused"),
        ("facts", {"run": "run-2"}),
        ("previous", "0" * 64),
        ("hash", "0" * 64),
        ("signature", "0" * 128),
        ("signature", ""),
        ("signature", None),
    ],
)
def test_a_changed_field_is_found_at_its_record(field: str, value: object) -> None:
    log = lines(chain(4))
    fields = json.loads(log[1]) | {field: value}
    log[1] = canonical_json(fields) + b"\n"
    assert broken_at(log) == 2


@pytest.mark.parametrize("field", ["sequence", "at", "kind", "facts", "previous", "signature"])
def test_a_field_changed_and_hashed_again_is_found_by_its_signature(field: str) -> None:
    log = lines(chain(4))
    fields = json.loads(log[1])
    other = json.loads(lines(chain(4, kind="refused"))[2])
    fields[field] = other[field]
    body = {name: fields[name] for name in ("sequence", "at", "kind", "facts", "previous")}
    log[1] = canonical_json(fields | {"hash": digest(canonical_json(body))}) + b"\n"
    assert broken_at(log) == 2


def test_every_flipped_byte_is_found() -> None:
    log = lines(chain(3))
    for place in range(len(log[1])):
        for flip in (0x01, 0x20, 0x80):  # 0x20 turns hexadecimal letters to capitals
            touched = bytearray(log[1])
            touched[place] ^= flip
            with pytest.raises(AuditBroken):
                check([log[0], bytes(touched), log[2]])


@pytest.mark.parametrize(
    "spelling",
    [
        lambda line: b" " + line,
        lambda line: line[:-1] + b" \n",
        lambda line: line[:-1] + b"\r\n",
        lambda line: line[:-2] + b',"extra":1}\n',
        lambda line: line.replace(b'"kind"', b'"kind":"x","kind"', 1),
        lambda line: line.replace(b"2,", b"2.0,", 1),
        lambda line: b"[" * 100_000 + b"\n",
        lambda line: b"null\n",
        lambda line: b"\xff\xfe\n",
        lambda line: b"\n",
    ],
)
def test_another_spelling_of_a_record_is_refused(spelling) -> None:
    log = lines(chain(3))
    log[1] = spelling(log[1])
    assert broken_at(log) == 2


def test_a_dropped_record_is_found() -> None:
    log = lines(chain(5))
    assert broken_at(log[:2] + log[3:]) == 3
    assert broken_at(log[1:]) == 1


def test_swapped_records_are_found() -> None:
    log = lines(chain(5))
    assert broken_at([log[0], log[2], log[1], *log[3:]]) == 2


def test_a_repeated_record_is_found() -> None:
    log = lines(chain(3))
    assert broken_at([*log, log[2]]) == 4


def test_a_record_from_the_owners_other_log_is_found() -> None:
    log, other = lines(chain(4)), lines(chain(4, kind="refused"))
    assert broken_at([*log[:2], other[2], log[3]]) == 3


@pytest.mark.parametrize("number", [1, 3])
def test_a_number_left_out_or_used_twice_is_found_though_the_owner_signed_it(number: int) -> None:
    first = chain(1)[0]
    before = Head(number - 1, first.hash) if number > 1 else None
    record = link(before, identity=OWNER, at=START, kind="committed", facts={})
    assert record.sequence == number
    assert broken_at([first.line(), record.line()]) == 2


def test_a_log_signed_by_another_key_is_found_at_its_first_record() -> None:
    assert broken_at(lines(chain(3, owner=Identity(bytes(32))))) == 1


def test_a_signature_made_for_something_else_does_not_pass() -> None:
    log = lines(chain(2))
    fields = json.loads(log[1])
    body = canonical_json({name: fields[name] for name in fields.keys() - {"hash", "signature"}})
    log[1] = canonical_json(fields | {"signature": OWNER.sign("message", body).hex()}) + b"\n"
    assert broken_at(log) == 2


def test_a_torn_last_line_is_not_a_record() -> None:
    log = lines(chain(3))
    for kept in (1, 50, len(log[2]) - 1):
        assert broken_at([*log[:2], log[2][:kept]]) == 3


def test_an_empty_log_does_not_verify() -> None:
    assert broken_at([]) == 1


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_a_cut_tail_is_found_against_the_head(kept: int) -> None:
    records = chain(5)
    with pytest.raises(AuditCut):
        check(lines(records)[:kept], records[-1].head)


def test_a_fork_is_found_against_the_head() -> None:
    seen = chain(5)[3].head
    honest_start = chain(3)
    forked = [*honest_start]
    for number in range(3):
        previous = forked[-1].head
        at = START + timedelta(hours=number)
        forked.append(link(previous, identity=OWNER, at=at, kind="refused", facts={}))
    assert check(lines(forked)).records == 6
    with pytest.raises(AuditCut) as cut:
        check(lines(forked), seen)
    assert cut.value.fields["record"] == 4


def test_a_head_reads_back_from_its_text() -> None:
    head = chain(3)[2].head
    assert Head.parse(f"{head}\n") == head


@pytest.mark.parametrize(
    "text", ["", "3", "3:", "0:" + "a" * 64, "3:" + "A" * 64, "-1:" + "a" * 64]
)
def test_a_head_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(SettingInvalid):
        Head.parse(text)


def test_facts_changed_after_linking_do_not_change_the_record() -> None:
    names = ["bank"]
    record = link(None, identity=OWNER, at=START, kind="opened", facts={"names": names})
    names.append("retailer")
    assert check([record.line()]).records == 1
