"""Sealed values open unaltered, in their own context, with their own key, or not at all."""

import pytest

from fedmkt.core.errors import SealBroken
from fedmkt.identity.sealed import open_sealed, seal

KEY = bytes(range(32))
PLAIN = b"the state of a node"


@pytest.fixture
def sealed():
    return seal(KEY, PLAIN, context=b"run 1")


def test_sealed_value_opens_in_its_context(sealed):
    assert open_sealed(KEY, sealed, context=b"run 1", what="state") == PLAIN


def test_every_flipped_bit_is_noticed(sealed):
    for at in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[at // 8] ^= 1 << (at % 8)
        with pytest.raises(SealBroken):
            open_sealed(KEY, bytes(altered), context=b"run 1", what="state")


def test_every_cut_and_any_addition_is_noticed(sealed):
    for altered in [*(sealed[:length] for length in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(SealBroken):
            open_sealed(KEY, altered, context=b"run 1", what="state")


@pytest.mark.parametrize("context", [b"", b"run", b"run 2", b"run 1\0"])
def test_another_context_does_not_open(sealed, context):
    with pytest.raises(SealBroken):
        open_sealed(KEY, sealed, context=context, what="state")


def test_another_key_does_not_open(sealed):
    with pytest.raises(SealBroken):
        open_sealed(bytes(32), sealed, context=b"run 1", what="state")


def test_error_names_what_and_shows_neither_key_nor_plaintext(sealed):
    with pytest.raises(SealBroken) as caught:
        open_sealed(KEY, sealed[:-1], context=b"run 1", what="share of bank")
    assert caught.value.fields == {"what": "share of bank"}
    assert caught.value.__cause__ is None
    for secret in (KEY, PLAIN):
        assert secret.hex() not in str(caught.value)
        assert repr(secret)[2:-1] not in str(caught.value)


def test_sealing_twice_never_gives_the_same_bytes():
    assert len({seal(KEY, PLAIN, context=b"") for _ in range(200)}) == 200


def test_sealed_value_says_its_length_and_nothing_else(sealed):
    # Nonce 12 bytes, tag 16 bytes.
    assert len(sealed) == 12 + len(PLAIN) + 16
    assert PLAIN not in sealed
