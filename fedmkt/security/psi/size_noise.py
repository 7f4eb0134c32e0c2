"""Dummies that hide how many customers a list holds, and how many two members share.

Guarantee: a list's size is the member's count + S + noise, and a counted overlap is the true one
+ 2 S + the noise of either member, with S known to all and noise a discrete Gaussian rounded to
whole customers. Adding or removing one customer of a table moves the member's count by one, with up
to two key columns, and the overlap by `overlap_sensitivity` at most, to which its noise is scaled.
So each costs what `count_event` says, and delta grows by 2^-40 at most (times 1 + e^epsilon) for
the dummies that `dummies` cuts off.

Noise in an overlap comes from *pools*: identifiers that exist in no table, 2 S of them a member,
which both members derive from a secret they share. A member puts S + its noise of its own pool
into its list and the whole pool of the other, so that S + noise of every pool match. What each
member sees:
- the other's list, by its size. A list always has 2 S places for its own pool, filled up with
  dummies that match nothing, so the size carries noise of its own, independent of the overlap's.
- the number of matches, at the member that counts. It knows its own noise and may take it off; the
  other's noise stays, and protects the other's customers. A third person sees both noises.
- not which matches come from a pool: all tags are blinded by both and shuffled.

Not guaranteed: noise against a member that breaks the protocol. Who leaves the other's pool out of
its list takes the other's noise out of the count, and nobody notices; who leaves its own out, or
puts all of it in, spoils the count. Nor does noise hide how many of a list one put together by
guesses match, beyond what it hides of any count.
Sources: Canonne, Kamath, Steinke 2020, arXiv:2004.00010 (mechanism and tail); rounding is
post-processing, Dwork and Roth 2014, proposition 2.1.
"""

import hashlib
import hmac
import math
import secrets
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedmkt.core.stages import LocalUpdate
from fedmkt.privacy.events import GaussianEvent
from fedmkt.privacy.mechanisms import TAIL_BITS, NoiseSource, add_noise, noise_event
from fedmkt.wire.canonical import encode

_GRID_BITS = 24
_GRID = 1 << _GRID_BITS  # grid units a customer
_LABEL = "fedmkt/v1/psi.pool"
# Two tails: 2 exp(-t^2 / 2) = 2^-40.
_TAIL_SIGMAS = math.sqrt(2 * math.log(2) * (TAIL_BITS + 1))


def overlap_sensitivity(*, columns: int, members: int) -> int:
    """Return by how much one customer of a table can move an overlap: 1, or max(2, members - 1).

    Args: columns: key columns, one or two.
    Guarantee: adding or removing all rows of one customer key, at one member, moves the number of
    links by no more.
    Proof: `distinct_customers` keeps each identifier once a column. With one column the overlap is
    an intersection of sets, and one of them moves by one. With two, either
    1. the customer takes the place of one with the same leading identifier, or gives it back. The
       first column stays; of the second one identifier leaves and one enters, and each ends or
       makes one link at most, since no column follows: by 2 at most; or
    2. it comes or goes. A link that it makes in the first column takes one row of each other
       member, which may each have stood in a link of the second: from +1 to 1 - (members - 1). Its
       second identifier makes a link (not if the first did) or blanks another's and ends one. So
       the overlap moves from -(members - 1) to +1.
    Both are reached (`tests/property/test_identifier_laws.py`).
    """
    assert columns in (1, 2)
    assert members >= 2
    return 1 if columns == 1 else max(2, members - 1)


def count_event(noise_multiplier: float, *, sensitivity: int = 1) -> GaussianEvent:
    """Return the event that one noised count costs. Raises: EpsilonInvalid.

    sensitivity: by how much one customer can move the count.
    """
    return noise_event(
        l2_bound=float(sensitivity * _GRID),
        noise_multiplier=noise_multiplier,
        shares=1,
        dimensions=1,
    )


def noise_for(*, noise_multiplier: float, source: NoiseSource, sensitivity: int = 1) -> int:
    """Return fresh whole-number noise for a count of customers.

    Args: noise_multiplier: standard deviation, over what one customer can move the count by.
        sensitivity: that, in customers.
    Guarantee: a count plus this noise costs what `count_event` says. The mechanism adds noise to
    the count in units of 2^-24; rounding that to the nearest whole, halves upwards, gives the count
    plus the rounded noise, since x -> floor(x + 1/2) commutes with adding a whole number.
    Raises: EpsilonInvalid for a noise multiplier no event can hold.
    """
    bound = float(sensitivity * _GRID)
    zero = LocalUpdate(values=np.zeros(1, dtype=np.int64), l2_bound=bound)
    noised = add_noise(
        zero, noise_multiplier=noise_multiplier, shares=1, trust="local", source=source
    )
    return (int(noised.values[0]) + _GRID // 2) >> _GRID_BITS


def shift_for(noise_multiplier: float, *, sensitivity: int = 1) -> int:
    """Return S, in customers, with P(|noise| > S) <= 2^-40.

    Proof: rounded noise passes S only if the noise X on the grid has |X| >= (S + 1/2) 2^24. With
    sigma its scale, P(|X| >= t) <= 2 exp(-t^2 / (2 sigma^2)), which is 2^-40 at
    t = sigma sqrt(2 ln(2^41)); S = ceil(noise_multiplier sensitivity sqrt(2 ln(2^41))) has
    S 2^24 >= t, and the half to spare covers every rounding of floats.
    Source: arXiv:2004.00010, section 3 (the discrete Gaussian is subgaussian).
    Raises: EpsilonInvalid for a noise multiplier no event can hold.
    """
    event = count_event(noise_multiplier, sensitivity=sensitivity)
    return math.ceil(event.noise_multiplier * sensitivity * _TAIL_SIGMAS)


def dummies(*, noise_multiplier: float, source: NoiseSource, sensitivity: int = 1) -> int:
    """Return S + noise, at least 0 and at most 2 S: how many dummies hide a count.

    Guarantee: count + dummies is the noised count plus S but with probability 2^-40.
    Raises: EpsilonInvalid for a noise multiplier no event can hold.
    """
    shift = shift_for(noise_multiplier, sensitivity=sensitivity)
    noise = noise_for(noise_multiplier=noise_multiplier, source=source, sensitivity=sensitivity)
    return min(max(shift + noise, 0), 2 * shift)


def pool_values(secret: bytes, *, owner: str, shift: int) -> list[bytes]:
    """Return the 2 S identifiers of the pool that carries the noise of `owner`.

    Args: secret: 32 bytes that the two members share and use for this run only.
    Guarantee: nobody else can tell them from random strings, so no table holds one.
    Source: RFC 5869 (HKDF), RFC 2104 (HMAC).
    """
    key = HKDF(SHA256(), 32, None, encode([_LABEL, owner])).derive(secret)
    return [
        hmac.new(key, number.to_bytes(8, "big"), hashlib.sha256).digest()
        for number in range(2 * shift)
    ]


def overlap_list(
    keys: Sequence[bytes], *, own_pool: Sequence[bytes], own_kept: int, other_pool: Sequence[bytes]
) -> list[bytes]:
    """Return the identifiers a member puts into a list whose overlap is counted.

    Args: keys: its customers' identifiers, in the one key column of the job. own_pool, other_pool:
    the pools of the two members. own_kept: fresh `dummies`, how many of its own pool it puts in.
    Returns: all three in one; `own_list` shuffles them, under one domain.
    """
    # Privacy: a random choice, so that which of the pool is missing tells no more than how many.
    chosen = secrets.SystemRandom().sample(own_pool, own_kept)
    return [*keys, *chosen, *other_pool]


def overlap_rows(count: int, *, shift: int, padding: int) -> int:
    """Return the rows such a list is padded to: count + 4 S + padding.

    Args: count: the member's customers. padding: fresh `dummies`, apart from those in `own_kept`.
    """
    # Privacy: 2 S places for either pool, whatever is kept, and noise of its own. A size that
    # carried the overlap's noise would give the difference of the two counts away exactly.
    return count + 4 * shift + padding


def noised_overlap(counted: int, *, shift: int) -> int:
    """Return the overlap with both members' noise, from the matches counted; it may be negative."""
    return counted - 2 * shift
