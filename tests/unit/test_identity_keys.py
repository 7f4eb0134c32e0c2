"""A member's identity: what it signs, under which label, and that its secret stays inside."""

import copy
import hashlib
import hmac
import pickle

import pytest

from fedmkt.core.errors import SettingInvalid, SignatureInvalid
from fedmkt.identity.keys import Identity, PublicIdentity

# RFC 8032, section 7.1, test 1.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.fixture
def identity():
    return Identity(SECRET)


def test_public_key_is_that_of_rfc_8032(identity):
    assert identity.public.hex == PUBLIC


def test_own_signature_is_accepted(identity):
    identity.public.verify("audit", b"data", identity.sign("audit", b"data"), member="bank")


def test_signature_passes_under_its_own_label_only(identity):
    signature = identity.sign("audit", b"data")
    with pytest.raises(SignatureInvalid) as caught:
        identity.public.verify("message", b"data", signature, member="bank")
    assert caught.value.fields == {"member": "bank", "what": "message"}


def test_label_and_data_cannot_trade_bytes(identity):
    signature = identity.sign("audit", b"-log")
    with pytest.raises(SignatureInvalid):
        identity.public.verify("audit-", b"log", signature, member="bank")
    with pytest.raises(SignatureInvalid):
        identity.public.verify("audit-log", b"", signature, member="bank")


def test_signature_of_another_identity_is_refused(identity):
    signature = Identity.generate().sign("audit", b"data")
    with pytest.raises(SignatureInvalid):
        identity.public.verify("audit", b"data", signature, member="bank")


def test_altered_data_are_refused(identity):
    signature = identity.sign("audit", b"data")
    for altered in (b"", b"date", b"data\0", b"dat"):
        with pytest.raises(SignatureInvalid):
            identity.public.verify("audit", altered, signature, member="bank")


def test_every_flipped_byte_of_a_signature_is_refused(identity):
    signature = identity.sign("audit", b"data")
    assert len(signature) == 64
    for at in range(64):
        altered = bytearray(signature)
        altered[at] ^= 1 << (at % 8)
        with pytest.raises(SignatureInvalid):
            identity.public.verify("audit", b"data", bytes(altered), member="bank")


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_signature_of_another_length_is_refused(identity, signature):
    with pytest.raises(SignatureInvalid):
        identity.public.verify("audit", b"data", signature, member="bank")


@pytest.mark.parametrize("text", ["", "zz" * 32, PUBLIC[:-2], PUBLIC + "00", "ü" * 64])
def test_public_key_that_is_not_64_hexadecimal_digits_is_refused(text):
    with pytest.raises(SettingInvalid):
        PublicIdentity(text)


def test_public_keys_compare_by_value(identity):
    assert PublicIdentity(PUBLIC) == identity.public
    assert hash(PublicIdentity(PUBLIC)) == hash(identity.public)
    assert identity.public != Identity.generate().public
    assert identity.public != PUBLIC


def test_generated_identities_differ():
    assert len({Identity.generate().public.hex for _ in range(20)}) == 20


def test_exported_secret_makes_the_same_identity(identity):
    assert identity.export_secret() == SECRET
    assert Identity(identity.export_secret()).public == identity.public


def test_derived_key_is_hkdf_of_secret_and_label(identity):
    # RFC 5869 by hand: extract with a salt of zeros, then one block of expand.
    extracted = hmac.digest(bytes(32), SECRET, "sha256")
    expected = hmac.digest(extracted, b"fedmkt/v1/derive/store\x01", "sha256")
    assert identity.derive_key("store") == expected


def test_derived_keys_differ_by_label_and_identity(identity):
    keys = {identity.derive_key("store"), identity.derive_key("stor")}
    keys |= {Identity.generate().derive_key("store"), SECRET, hashlib.sha256(SECRET).digest()}
    assert len(keys) == 5


def test_secret_is_in_no_representation(identity):
    shown = f"{identity} {identity!r} {[identity]} {identity.public!r} {dir(identity)}"
    assert SECRET.hex() not in shown
    assert repr(SECRET)[2:-1] not in shown
    assert "secret hidden" in repr(identity)


def test_identity_is_neither_pickled_nor_copied_nor_opened(identity):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(identity, protocol)
    with pytest.raises(TypeError):
        copy.deepcopy(identity)
    with pytest.raises(TypeError):
        vars(identity)


def test_error_about_a_secret_of_the_wrong_length_does_not_show_it():
    with pytest.raises(SettingInvalid, match="32") as caught:
        Identity(SECRET[:-1])
    shown = str(caught.value) + repr(caught.value)
    assert SECRET[:-1].hex() not in shown
    assert repr(SECRET[:-1])[2:-1] not in shown


def _order(y: int) -> int:
    """The order of a point of edwards25519 with this y, by the curve's own addition law."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    x2 = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    x = pow(x2, (p + 3) // 8, p)
    x = x if (x * x - x2) % p == 0 else x * pow(2, (p - 1) // 4, p) % p
    assert (x * x - x2) % p == 0
    point, order = (x, y), 1
    while point != (0, 1) and order < 16:
        (x1, y1), t = point, d * point[0] * x * point[1] * y
        point = (
            (x1 * y + x * y1) * pow(1 + t, -1, p) % p,
            (y1 * y + x1 * x) * pow(1 - t, -1, p) % p,
        )
        order += 1
    return order


def test_points_of_small_order_are_refused_as_keys():
    p = 2**255 - 19
    eighth = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    small = {0: 4, 1: 1, p - 1: 2, eighth: 8, p - eighth: 8}
    for y, order in small.items():
        assert _order(y) == order
        # The second spelling of y (plus p, where it fits) and both signs of x are caught too.
        for spelling in {y, y + p} if y + p < 2**255 else {y}:
            for sign in (0, 1 << 255):
                with pytest.raises(SettingInvalid):
                    PublicIdentity((spelling | sign).to_bytes(32, "little").hex())


def test_a_key_has_one_spelling():
    for spelling in (PUBLIC.upper(), PUBLIC[:2] + " " + PUBLIC[2:], PUBLIC[:-1]):
        with pytest.raises(SettingInvalid):
            PublicIdentity(spelling)
