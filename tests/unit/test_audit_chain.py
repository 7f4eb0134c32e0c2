"""The audit log's chain: whatever is altered, moved or missing is found, and named."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from fedmkt.core.errors import AuditBroken, AuditCut, SettingInvalid
from fedmkt.identity.hash_chain import (
    Head,
    Record,
    Verified,
    bound_records,
    link,
    link_rotation,
    read_last,
    verify_chain,
)
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


# --- records that one head stands for ----------------------------------------------------------


def bound(log: list[bytes], head: Head) -> list[dict[str, object]]:
    return bound_records(log, head, PATH)


def test_a_head_gives_all_records_before_it_of_whichever_key() -> None:
    for records in (chain(5), chain(1), rotated()):
        found = [{"kind": r.kind, "facts": r.facts, "hash": r.hash} for r in records]
        assert bound(lines(records), records[-1].head) == found


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("field", ["sequence", "at", "kind", "facts", "previous", "hash"])
def test_no_altered_record_is_given_under_a_head(number: int, field: str) -> None:
    records = chain(4)
    log, other = lines(records), json.loads(lines(chain(5, kind="refused"))[4])
    changed = json.loads(log[number]) | {field: other[field]}
    body = {name: changed[name] for name in ("sequence", "at", "kind", "facts", "previous")}
    fitting = {"hash": digest(canonical_json(body))}
    for again in ({}, fitting) if field != "hash" else ({},):
        log[number] = canonical_json(changed | again) + b"\n"
        with pytest.raises(AuditBroken) as broken:
            bound(log, records[-1].head)
        assert broken.value.fields["record"] in (number + 1, number + 2, 4)


@pytest.mark.parametrize(
    "spelling",
    [
        lambda line: line.replace(b'"kind":"committed"', b'"kind":"x","kind":"committed"'),
        lambda line: line.replace(b'"facts":{', b'"facts":{"release":9,'),
        lambda line: line[:-2] + b',"kind":"x"}\n',
        lambda line: line[:-2] + b',"facts":{}}\n',
        lambda line: b" " + line,
        lambda line: line[:-1],
        lambda line: b"\n",
    ],
)
def test_no_other_spelling_of_a_record_is_given_under_a_head(spelling) -> None:
    records = chain(3)
    log = lines(records)
    log[1] = spelling(log[1])
    with pytest.raises(AuditBroken):
        bound(log, records[-1].head)


def test_records_are_given_under_the_last_head_alone() -> None:
    log, heads = lines(chain(5)), [record.head for record in chain(5)]
    for other in (log[:4], log[1:], [log[0], log[2], *log[3:]], [*log, log[4]], []):
        with pytest.raises(AuditBroken):
            bound(other, heads[-1])
    with pytest.raises(AuditBroken):
        bound(log, heads[3])


# --- another key takes the log over -----------------------------------------------------------

NEXT, THIEF = Identity(bytes(range(1, 33))), Identity(bytes(range(2, 34)))


def begun(owner: Identity = OWNER) -> list[Record]:
    """Return a log's first two records, as a node begins it."""
    opened = link(None, identity=owner, at=START, kind="opened", facts={"key": owner.public.hex})
    return [opened, go_on(opened, owner)]


def go_on(last: Record, owner: Identity, kind: str = "closed") -> Record:
    return link(last.head, identity=owner, at=START, kind=kind, facts={"run": "run-1"})


def hand_over(last: Record, old: Identity, new: Identity) -> Record:
    return link_rotation(last.head, old=old, new=new, at=START)


def rotated() -> list[Record]:
    """Return a log of five records that NEXT took over at the third."""
    records = begun()
    records.append(hand_over(records[-1], OWNER, NEXT))
    records.append(go_on(records[-1], NEXT))
    return [*records, go_on(records[-1], NEXT)]


def refused(records: list[Record], key: Identity, said: str) -> int:
    """Return the record at which a log is refused."""
    with pytest.raises(AuditBroken, match=said) as broken:
        check(lines(records), owner=key)
    return int(str(broken.value.fields["record"]))


def test_a_log_that_was_handed_over_verifies_with_the_present_key_alone() -> None:
    records = rotated()
    head = records[-1].head
    assert check(lines(records), head, NEXT) == Verified(5, head, (3,))
    assert check(lines(records), records[1].head, NEXT).records == 5, "a head of the old key's time"
    assert refused(records, OWNER, "not the one that record 3 hands the log to") == 5


def test_a_log_may_be_handed_over_again_and_again() -> None:
    records, owners = begun(), [OWNER, *(Identity(bytes([n] * 32)) for n in range(1, 5))]
    for old, new in pairwise(owners):
        records.append(hand_over(records[-1], old, new))
    records.append(go_on(records[-1], owners[-1]))
    assert check(lines(records), None, owners[-1]).rotations == (3, 4, 5, 6)
    for earlier in owners[:-1]:
        refused(records, earlier, "hands the log to")


def test_a_log_cut_before_it_was_handed_over_is_not_the_new_keys() -> None:
    assert refused(rotated()[:2], NEXT, "does not fit this key") == 1
    assert check(lines(rotated()[:3]), None, NEXT).rotations == (3,)


def test_the_old_key_signs_nothing_more() -> None:
    records = rotated()[:3]
    assert refused([*records, go_on(records[-1], OWNER)], NEXT, "does not fit this key") == 4


def test_the_new_key_signs_nothing_before_it_was_named() -> None:
    records = begun()
    assert refused([*records, go_on(records[-1], NEXT)], NEXT, "does not fit this key") == 3


def test_a_key_takes_no_log_that_it_did_not_accept() -> None:
    """Whoever stole the old key names one that its owner never used."""
    records = begun()
    honest = hand_over(records[-1], OWNER, THIEF)
    for accepted in ("0" * 128, "", "no number", OWNER.sign("audit-rotation", b"").hex()):
        facts = {**honest.facts, "new": NEXT.public.hex, "accepted": accepted}
        forged = link(records[-1].head, identity=OWNER, at=START, kind="rotated", facts=facts)
        assert refused([*records, forged], NEXT, "did not take the log over") == 3


@pytest.mark.parametrize(
    "change",
    [
        {"at": START - timedelta(days=900)},
        {"facts": {"reason": "budget given back"}},
        {"sequence": 2},
    ],
)
def test_the_old_key_says_nothing_else_in_the_record_that_was_accepted(change) -> None:
    records = begun()
    honest = hand_over(records[-1], OWNER, NEXT)
    before = Head(change.get("sequence", 3) - 1, records[-1].hash)
    at, facts = change.get("at", START), {**honest.facts, **change.get("facts", {})}
    forged = link(before, identity=OWNER, at=at, kind="rotated", facts=facts)
    with pytest.raises(AuditBroken, match="did not take the log over"):
        read_last(forged.line(), key=NEXT.public, path=PATH)
    assert read_last(honest.line(), key=NEXT.public, path=PATH) == honest


@pytest.mark.parametrize("missing", ["old", "new", "accepted"])
def test_a_handover_that_does_not_say_all_is_refused(missing: str) -> None:
    records = begun()
    facts = {**hand_over(records[-1], OWNER, NEXT).facts}
    del facts[missing]
    forged = link(records[-1].head, identity=OWNER, at=START, kind="rotated", facts=facts)
    assert refused([*records, forged], NEXT, "did not take the log over") == 3


def test_a_handover_signed_by_another_key_is_refused() -> None:
    records = begun()
    by_thief = hand_over(records[-1], THIEF, NEXT)
    assert refused([*records, by_thief], NEXT, "does not fit this key") == 3
    # The owner signs what hands over somebody else's log.
    facts = dict(by_thief.facts)
    forged = link(records[-1].head, identity=OWNER, at=START, kind="rotated", facts=facts)
    assert refused([*records, forged], NEXT, "hands over a log of another key") == 3


def test_what_came_before_cannot_be_written_anew_with_the_stolen_old_key() -> None:
    honest = rotated()
    records = [begun()[0]]
    records.append(go_on(records[0], OWNER, kind="refused"))
    facts = dict(honest[2].facts)
    # The thief re-signs the handover over its own history; the new key accepted another one.
    records.append(link(records[-1].head, identity=OWNER, at=START, kind="rotated", facts=facts))
    assert refused(records, NEXT, "did not take the log over") == 3


def test_a_history_of_a_made_up_first_key_ends_under_no_key_but_its_makers() -> None:
    records = begun(THIEF)
    assert refused(records, OWNER, "does not fit this key") == 1
    records.append(hand_over(records[-1], THIEF, Identity(bytes(32))))
    assert refused(records, OWNER, "hands the log to") == 3


def test_every_flipped_byte_of_a_handover_is_found() -> None:
    log = lines(rotated())
    for place in range(len(log[2])):
        touched = bytearray(log[2])
        touched[place] ^= 0x01
        with pytest.raises(AuditBroken):
            check([*log[:2], bytes(touched), *log[3:]], owner=NEXT)


def test_the_last_line_is_taken_by_whom_it_names_and_by_nobody_else() -> None:
    *_, before, line = lines(rotated()[:3])
    assert read_last(line, key=NEXT.public, path=PATH).kind == "rotated"
    assert read_last(before, key=OWNER.public, path=PATH).kind == "closed"
    for key, last in ((OWNER, line), (THIEF, line), (NEXT, before)):
        with pytest.raises(AuditBroken):
            read_last(last, key=key.public, path=PATH)
    by_thief = hand_over(begun()[-1], THIEF, NEXT)
    taken = link(
        begun()[-1].head, identity=THIEF, at=START, kind="rotated",
        facts={**by_thief.facts, "accepted": "0" * 128},
    )  # fmt: skip
    with pytest.raises(AuditBroken):
        read_last(taken.line(), key=NEXT.public, path=PATH)
