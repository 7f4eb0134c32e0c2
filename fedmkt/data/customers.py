"""One customer, one row: the bound that the customer-level privacy guarantee rests on.

Guarantee: of several rows of one customer exactly one is kept, chosen by that customer's own rows
alone and whatever their order. Customers are told apart by 128-bit keyed hashes; among 10 million,
two of them fall together with a chance of about 1e-25, and then count as one.
"""

import secrets
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.core.stages import Examples

Digests = NDArray[np.uint64]  # (rows, 2)


@dataclass(frozen=True, slots=True)
class CustomerHash:
    """Hashes customer keys under a key of its own, drawn afresh for each table."""

    seeds: tuple[int, int]

    @staticmethod
    def fresh() -> "CustomerHash":
        """Return a hash whose key nobody could prepare collisions for."""
        return CustomerHash((secrets.randbits(64), secrets.randbits(64)))

    def digests(self, keys: pl.Series) -> Digests:
        """Return the digests of a column of keys, shape (rows, 2)."""
        return np.stack([keys.hash(seed).to_numpy() for seed in self.seeds], axis=1)


def one_row_a_customer(digests: Digests, examples: Examples) -> tuple[Examples, int]:
    """Keep one row of each customer, in the order of the rows; return how many were dropped.

    Of a customer's rows the one with the lowest codes, then the lowest target, is kept.

    Guarantee: adding or removing one customer adds or removes at most one row.
    """
    repeated = _rows_with_company(digests[:, 0])
    if not repeated.size:
        return examples, 0
    codes, target = examples.codes[repeated], examples.target[repeated]
    first, second = digests[repeated, 0], digests[repeated, 1]
    # Privacy: the choice depends on this customer's rows alone, so it moves nobody else's row.
    order = np.lexsort((target, *codes.T[::-1], second, first))
    first, second = first[order], second[order]
    same = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
    dropped = repeated[order[1:][same]]
    kept = np.ones(examples.rows, dtype=np.bool_)
    kept[dropped] = False
    return Examples(examples.codes[kept], examples.target[kept]), int(dropped.size)


def _rows_with_company(hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the numbers of the rows whose hash occurs more than once."""
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.flatnonzero(np.isin(hashes, twice)) if twice.size else np.empty(0, dtype=np.intp)
