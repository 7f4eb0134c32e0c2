"""Label skew: how many rows of each label a partner gets, its own shares drawn by a Dirichlet.

Guarantee: partners get their stated sizes, no label gives more rows than it has. While all labels
last, a partner's counts follow the Dirichlet-multinomial law exactly; towards the end of a table
the last drawn partners get what is left, so they are less skewed than asked.
"""

import numpy as np

from fedmkt.core.stages import FloatArray, IntArray


def draw_label_counts(
    pools: IntArray, sizes: IntArray, *, alpha: float, rng: np.random.Generator
) -> IntArray:
    """Return the rows of each label for each partner, in the order drawn, (partners, labels).

    Args: pools: (labels,), the rows of each label, at least one each. sizes: (partners,), at most
    as many rows together. alpha: concentration, the sum of the Dirichlet's parameters; small is
    skewed, large is even.

    Source: Hsu et al. 2019, arXiv:1909.06335, section 3.1: q ~ Dirichlet(alpha p), p the shares of
    the labels in the table; a label that is used up leaves the others' shares in proportion.
    """
    assert pools.min() > 0
    assert sizes.sum() <= pools.sum()
    left = pools.astype(np.int64)
    own = rng.dirichlet(alpha * pools / pools.sum(), size=sizes.size)
    counts = np.zeros(own.shape, dtype=np.int64)
    for partner, size in enumerate(sizes):
        counts[partner] = _draw(left, int(size), own[partner], rng)
        left -= counts[partner]
    return counts


def _draw(left: IntArray, size: int, shares: FloatArray, rng: np.random.Generator) -> IntArray:
    """Return `size` rows by label, none beyond what is left; each turn uses up a label or ends."""
    given = np.zeros_like(left)
    while size:
        open_shares = np.where(left > given, shares, 0.0)
        if not open_shares.sum() > 0:
            open_shares = (left - given).astype(np.float64)
        drawn = rng.multinomial(size, open_shares / open_shares.sum())
        taken = np.minimum(drawn, left - given)
        given += taken
        size -= int(taken.sum())
    return given
