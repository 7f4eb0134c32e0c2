"""The keyed stream: AES-256-CTR, one key a stream, nothing given out twice."""

import copy
import pickle

import numpy as np
import pytest

from fedmkt.core.keystream import KeyStream

# McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", test case 13: H, which is AES-256
# with the key of zeros of the block of zeros.
ZERO_KEY_FIRST_BLOCK = "dc95c078a2408989ad48a21492842087"


def test_a_stream_is_aes_in_counter_mode_from_zero_on():
    words = KeyStream(bytes(32)).words(2, np.uint64)
    assert words.astype("<u8").tobytes().hex() == ZERO_KEY_FIRST_BLOCK


def test_words_of_any_kind_go_on_in_the_stream():
    whole = KeyStream(bytes(32)).words(8, np.uint64).astype("<u8").tobytes()
    stream = KeyStream(bytes(32))
    parts = [stream.words(4, np.uint16).astype("<u2"), stream.words(7, np.uint64).astype("<u8")]
    assert b"".join(part.tobytes() for part in parts) == whole


def test_fresh_streams_differ():
    assert (KeyStream.fresh().words(4, np.uint64) != KeyStream.fresh().words(4, np.uint64)).all()


def test_a_stream_does_not_show_its_key_and_is_not_copied():
    stream = KeyStream(b"k" * 32)
    assert "kkk" not in repr(stream)
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(stream)
