"""Multiples made ahead are used once, for the key they were made for."""

import time

import numpy as np
import pytest

from fedmkt.node import ahead
from fedmkt.node.ahead import forget, make_ahead, take
from fedmkt.security.inner_product.elgamal import OwnerKey, encrypt, prepare, read_encrypted


def test_what_was_made_ahead_encrypts_like_what_is_made_now() -> None:
    key = OwnerKey.generate()
    make_ahead("run", key, 5)
    made = take("run", key, 5)
    assert np.array_equal(made.public, key.public)
    data = encrypt(key, np.arange(5), made)
    _, ciphertexts = read_encrypted(data, rows=5, member="bank")
    assert len(ciphertexts.first) == 5


def test_what_was_made_ahead_is_what_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    key = OwnerKey.generate()
    make_ahead("run", key, 3)
    while not ahead._waiting["run", key.to_bytes()].done():
        time.sleep(0.001)
    made = ahead._waiting["run", key.to_bytes()].result()
    monkeypatch.setattr(ahead, "prepare", None)  # nothing is made now
    assert take("run", key, 3) is made


def test_what_was_made_for_a_run_that_is_over_is_let_go() -> None:
    key, other = OwnerKey.generate(), OwnerKey.generate()
    make_ahead("over", key, 2)
    make_ahead("going on", other, 2)
    forget("over")
    assert ("over", key.to_bytes()) not in ahead._waiting
    assert ("going on", other.to_bytes()) in ahead._waiting


def test_what_is_taken_is_never_given_again() -> None:
    key = OwnerKey.generate()
    make_ahead("run", key, 4)
    first, second = take("run", key, 4), take("run", key, 4)
    assert not np.array_equal(first.first, second.first)


def test_another_runs_or_rounds_multiples_are_not_taken() -> None:
    key, other = OwnerKey.generate(), OwnerKey.generate()
    make_ahead("run", key, 4)
    assert np.array_equal(take("run", other, 4).public, other.public)
    kept = take("run", key, 4)
    assert np.array_equal(kept.public, key.public)


def test_another_number_than_was_made_is_made_now() -> None:
    key = OwnerKey.generate()
    make_ahead("run", key, 3)
    assert len(take("run", key, 6).first) == 6


def test_nothing_rests_on_what_was_dropped() -> None:
    keys = [OwnerKey.generate() for _ in range(7)]
    for number, key in enumerate(keys):
        make_ahead(f"run-{number}", key, 2)
    assert all(len(take(f"run-{n}", key, 2).first) == 2 for n, key in enumerate(keys))


def test_two_preparations_share_no_point() -> None:
    key = OwnerKey.generate()
    points = np.vstack([prepare(key, 20).first, prepare(key, 20).first])
    assert len(np.unique(points, axis=0)) == 40
