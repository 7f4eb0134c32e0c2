"""A receipt is believed only whole, unaltered and from the member whose key signed it."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from fedmkt.core.errors import MessageInvalid, SignatureInvalid
from fedmkt.evidence.receipts import Receipt, ReleaseStated, sign_receipt, verify_receipt
from fedmkt.identity.keys import Identity
from fedmkt.privacy.events import GaussianEvent, NonPrivateEvent, Release
from fedmkt.wire.canonical import canonical_json

BANK, RETAILER = Identity(bytes(range(32))), Identity(bytes(range(1, 33)))
RELEASES = (
    Release(0, "counts", GaussianEvent(noise_multiplier=4.0, sigma=2.5e8, shares=1, dimensions=86)),
    Release(1, "round 1", GaussianEvent(noise_multiplier=7.5, sigma=1e8, shares=1, dimensions=86)),
)
FIELDS: dict[str, Any] = {
    "run": "run-1",
    "job_hash": "a" * 64,
    "contract_hash": "b" * 64,
    "member": "bank",
    "dataset": "customers",
    "purpose": "lookalike",
    "masked": True,
    "noised": True,
    "mode": "local",
    "trust": "local",
    "noise_source": "operating system",
    "releases": tuple(ReleaseStated.of(release) for release in RELEASES),
    "epsilon": 1.0,
    "delta": 1e-5,
    "audit_head": "12:" + "c" * 64,
    "model_hash": "d" * 64,
    "heads": {"retailer": "9:" + "e" * 64},
}
TAMPERED: dict[str, Any] = {
    "schema_version": 2,
    "run": "run-2",
    "job_hash": "f" * 64,
    "contract_hash": "f" * 64,
    "member": "retailer",
    "dataset": "cards",
    "purpose": "measurement",
    "masked": False,
    "noised": False,
    "kind": "vertical",
    "mode": "none",
    "trust": "distributed",
    "noise_source": "reproducible",
    "releases": [],
    "epsilon": 0.5,
    "delta": 1e-6,
    "audit_head": "11:" + "c" * 64,
    "model_hash": "f" * 64,
    "heads": {"retailer": "8:" + "e" * 64},
}


def signed(**changes: Any) -> bytes:
    return sign_receipt(Receipt(**{**FIELDS, **changes}), BANK)


def signed_as_is(document: dict[str, Any]) -> bytes:
    """Sign a document with the bank's real key, whatever it says."""
    signature = BANK.sign("receipt", canonical_json(document)).hex()
    return canonical_json({"receipt": document, "signature": signature})


def test_a_signed_receipt_is_returned_whole() -> None:
    receipt = verify_receipt(signed(), BANK.public, "bank")
    assert receipt == Receipt(**FIELDS)
    assert tuple(stated.release() for stated in receipt.releases) == RELEASES


def test_a_run_without_noise_states_its_exact_releases() -> None:
    release = Release(0, "round 1", NonPrivateEvent(dimensions=86))
    open_run = {"noised": False, "trust": "none", "noise_source": None, "epsilon": None}
    data = signed(**open_run, delta=None, releases=(ReleaseStated.of(release),))
    receipt = verify_receipt(data, BANK.public, "bank")
    assert receipt.epsilon is None
    assert receipt.releases[0].release() == release


def test_every_field_has_a_tampered_case() -> None:
    assert set(TAMPERED) == set(Receipt.model_fields)


@pytest.mark.parametrize("field", TAMPERED)
def test_a_tampered_field_is_noticed(field: str) -> None:
    envelope = json.loads(signed())
    assert envelope["receipt"][field] != TAMPERED[field]
    envelope["receipt"][field] = TAMPERED[field]
    with pytest.raises(SignatureInvalid):
        verify_receipt(canonical_json(envelope), BANK.public, "bank")


@pytest.mark.parametrize(
    ("field", "value"), [("index", 1), ("name", "other"), ("event", {"kind": "non_private"})]
)
def test_a_tampered_release_is_noticed(field: str, value: object) -> None:
    envelope = json.loads(signed())
    envelope["receipt"]["releases"][0][field] = value
    with pytest.raises(SignatureInvalid):
        verify_receipt(canonical_json(envelope), BANK.public, "bank")


def test_a_dropped_field_is_noticed() -> None:
    for field in Receipt.model_fields:
        envelope = json.loads(signed())
        del envelope["receipt"][field]
        with pytest.raises(SignatureInvalid):
            verify_receipt(canonical_json(envelope), BANK.public, "bank")


def test_a_flipped_signature_bit_is_noticed() -> None:
    envelope = json.loads(signed())
    flipped = bytearray.fromhex(envelope["signature"])
    flipped[0] ^= 1
    envelope["signature"] = flipped.hex()
    with pytest.raises(SignatureInvalid):
        verify_receipt(canonical_json(envelope), BANK.public, "bank")


def test_another_members_key_does_not_fit() -> None:
    with pytest.raises(SignatureInvalid):
        verify_receipt(signed(), RETAILER.public, "bank")


def test_a_member_cannot_sign_for_another() -> None:
    receipt = Receipt(**{**FIELDS, "member": "retailer"})
    with pytest.raises(SignatureInvalid):
        verify_receipt(sign_receipt(receipt, BANK), BANK.public, "bank")


def test_a_signature_made_for_something_else_is_no_receipt() -> None:
    document = json.loads(signed())["receipt"]
    signature = BANK.sign("message", canonical_json(document)).hex()
    with pytest.raises(SignatureInvalid):
        verify_receipt(
            canonical_json({"receipt": document, "signature": signature}), BANK.public, "bank"
        )


def test_a_second_encoding_is_refused() -> None:
    envelope = json.loads(signed())
    spaced = json.dumps(envelope).encode()
    upper = canonical_json({**envelope, "signature": envelope["signature"].upper()})
    added = canonical_json({**envelope, "comment": "unsigned"})
    for data in (spaced, upper, added, signed() + b"\n"):
        with pytest.raises(MessageInvalid, match="canonical"):
            verify_receipt(data, BANK.public, "bank")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        b'{"receipt":{}}',
        b'{"receipt":{},"signature":1}',
        b'{"receipt":{},"signature":"zz"}',
        b'{"receipt":{"a":NaN},"signature":""}',
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_receipt_are_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        verify_receipt(data, BANK.public, "bank")


def test_a_receipt_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        verify_receipt(canonical_json({"receipt": "yes", "signature": ""}), BANK.public, "bank")


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"extra": 1},
        {"masked": "perhaps"},
        {"epsilon": -1},
        {"job_hash": "x"},
    ],
)
def test_a_signed_document_of_the_wrong_form_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(signed())["receipt"] | change
    with pytest.raises(MessageInvalid):
        verify_receipt(signed_as_is(document), BANK.public, "bank")


def test_a_release_of_unknown_kind_is_refused() -> None:
    document = json.loads(signed())["receipt"]
    document["releases"][0]["event"] = {"kind": "laplace", "scale": 1}
    with pytest.raises(MessageInvalid, match="unknown kind"):
        verify_receipt(signed_as_is(document), BANK.public, "bank")


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": None},
        {"delta": None},
        {"noise_source": None},
        {"trust": "none"},
        {"noised": False},
    ],
)
def test_noise_and_its_figures_stand_together(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Receipt(**{**FIELDS, **change})


def test_a_job_that_promised_noise_and_had_none_can_be_stated() -> None:
    without = {"noised": False, "noise_source": None, "epsilon": None, "delta": None}
    receipt = verify_receipt(signed(**without), BANK.public, "bank")
    assert (receipt.trust, receipt.noised) == ("local", False)


def test_a_noised_run_that_released_nothing_cost_nothing() -> None:
    receipt = verify_receipt(signed(releases=(), epsilon=0.0), BANK.public, "bank")
    assert receipt.epsilon == 0.0
