"""Discrete Gaussian noise on integer sums.

Guarantee: with trust `local` a `PrivateUpdate` made with `OsNoise` costs one customer at most its
`noise_event`; with `distributed` the sum of the shares does, as soon as `shares` honest members
are in it. Noise comes from the operating system's generator through OpenDP's exact sampler; values
and noise stay inside 2^62 but with probability 2^-40 a vector, where they saturate.
Not guaranteed: any of this for `ReproducibleNoise`. Whoever knows its seed takes the noise off
again, and it rounds floating-point normals. It fits simulated runs only, and is a type of its own.

Sources: Canonne, Kamath, Steinke 2020, arXiv:2004.00010 (mechanism, theorem 14; exact sampler,
section 5); Kairouz, Liu, Steinke 2021, arXiv:2102.06387 (noise in shares).
"""

import hashlib
import math
import os
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from opendp.domains import atom_domain, vector_domain
from opendp.measurements import make_gaussian
from opendp.metrics import l2_distance
from opendp.mod import enable_features

from fedmkt.core.errors import EpsilonInvalid, RangeExceeded
from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import IntArray, LocalUpdate, NoiselessUpdate, PrivateUpdate, Trust
from fedmkt.privacy.events import GaussianEvent, check_noise_multiplier
from fedmkt.privacy.filter import check_shares

VALUE_LIMIT = 2**62
TAIL_BITS = 40

# OpenDP asks for this flag before it makes any mechanism, however well its proof was vetted.
enable_features("contrib")


class OsNoise:
    """Exact discrete Gaussian noise from the operating system's generator."""

    name: Final = "operating system"

    def stream(self, label: str) -> "OsNoise":  # noqa: ARG002 - the other source needs the label
        """Return itself: what the operating system draws is never drawn again."""
        return self

    def add_to(self, values: IntArray, *, sigma: float) -> IntArray:
        """Return `values` plus fresh noise of scale `sigma`, shape (length,)."""
        domain = vector_domain(atom_domain(T="i64"), size=len(values))
        measurement = make_gaussian(domain, l2_distance(T="i64"), scale=sigma)
        return np.array(measurement(values.tolist()), dtype=np.int64)

    def key_stream(self, label: str) -> KeyStream:  # noqa: ARG002 - as `stream`
        """Return a stream under a new key that nobody else has."""
        return KeyStream.fresh()

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return so many uniform 64-bit words, shape (count,)."""
        return np.frombuffer(os.urandom(8 * count), dtype=np.uint64)


class ReproducibleNoise:
    """Rounded normal noise that follows from a seed: for simulated runs only.

    Each call goes on in the stream; a stream starts anew where its seed and labels are the same.
    """

    name: Final = "reproducible"

    def __init__(self, seed: int) -> None:
        self._seed = seed
        key = hashlib.sha256(f"fedmkt reproducible noise {seed}".encode()).digest()
        bits = np.random.Philox(key=int.from_bytes(key[:16], "big"))
        self._generator = np.random.Generator(bits)

    def stream(self, label: str) -> "ReproducibleNoise":
        """Return an independent source for `label`, the same after a restart."""
        derived = hashlib.sha256(f"fedmkt noise stream {self._seed} {label}".encode()).digest()
        return ReproducibleNoise(int.from_bytes(derived, "big"))

    def key_stream(self, label: str) -> KeyStream:
        """Return a keyed stream for `label`, the same after a restart."""
        return KeyStream(hashlib.sha256(f"fedmkt key {self._seed} {label}".encode()).digest())

    def add_to(self, values: IntArray, *, sigma: float) -> IntArray:
        """Return `values` plus the stream's next noise of scale `sigma`, shape (length,)."""
        noise = np.rint(self._generator.normal(0.0, sigma, len(values)))
        return values + noise.astype(np.int64)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return so many 64-bit words that follow from the seed, shape (count,)."""
        return self._generator.integers(0, 2**64, size=count, dtype=np.uint64)


NoiseSource = OsNoise | ReproducibleNoise


class AddsNoise(Protocol):
    """What `add_noise` needs of a source."""

    def add_to(self, values: IntArray, *, sigma: float) -> IntArray:
        """Return `values` plus fresh discrete Gaussian noise of scale `sigma`, shape (length,)."""
        ...


def add_noise(
    update: LocalUpdate,
    *,
    noise_multiplier: float,
    shares: int,
    trust: Trust,
    source: AddsNoise,
) -> PrivateUpdate:
    """Add one partner's noise, or its share of the noise, to its exact sums.

    Args: update: values (length,) and the bound `l2_bound` of one customer, both in grid units.
        noise_multiplier: whole noise over that bound. shares: honest shares that add up to the
        whole; 1 with trust `local`.
    Guarantee: costs what `noise_event` says for the same arguments.
    Raises: EpsilonInvalid for parameters no event can hold; RangeExceeded if values and noise could
        leave 62 bits.
    """
    if trust == "none" or (trust == "local" and shares != 1):
        raise EpsilonInvalid(name="shares", value=shares, rule=f"another number with trust {trust}")
    event = noise_event(
        l2_bound=update.l2_bound,
        noise_multiplier=noise_multiplier,
        shares=shares,
        dimensions=len(update.values),
    )
    _check_range(update.values, event)
    noised = source.add_to(update.values, sigma=event.sigma)
    return PrivateUpdate(values=noised, sigma=event.sigma, trust=trust)


def noise_event(
    *, l2_bound: float, noise_multiplier: float, shares: int, dimensions: int
) -> GaussianEvent:
    """Return the event that `add_noise` costs, known before any row is read.

    sigma = noise_multiplier l2_bound / sqrt(shares), rounded up: `shares` shares of it have
    standard deviation noise_multiplier l2_bound or more.
    Raises: EpsilonInvalid for parameters no event can hold.
    """
    if not 0 < l2_bound <= VALUE_LIMIT:
        rule = f"above 0 and at most {VALUE_LIMIT:g}"
        raise EpsilonInvalid(name="l2_bound", value=l2_bound, rule=rule)
    if shares < 1:
        raise EpsilonInvalid(name="shares", value=shares, rule="at least 1")
    event = GaussianEvent(
        noise_multiplier=noise_multiplier,
        sigma=_scale_up(noise_multiplier, l2_bound, shares),
        shares=shares,
        dimensions=dimensions,
    )
    check_shares(event)
    return event


def without_noise(update: LocalUpdate) -> NoiselessUpdate:
    """Pass exact sums on without noise: a deliberately unprotected run, by a type of its own."""
    return NoiselessUpdate(values=update.values)


def _scale_up(noise_multiplier: float, l2_bound: float, shares: int) -> float:
    """Return a float just so large that sigma^2 shares >= (noise_multiplier l2_bound)^2."""
    check_noise_multiplier(noise_multiplier)
    sigma = noise_multiplier * l2_bound / math.sqrt(shares)
    needed = (Fraction(noise_multiplier) * Fraction(l2_bound)) ** 2
    # Privacy: a scale a rounding too small would cost more than its event says.
    while Fraction(sigma) ** 2 * shares < needed:
        sigma = math.nextafter(sigma, math.inf)
    return sigma


def _check_range(values: IntArray, event: GaussianEvent) -> None:
    """Raise RangeExceeded unless values and noise stay inside 2^62 but with probability 2^-40.

    E exp(s X) = exp(s^2 sigma^2 / 2) theta(s sigma^2) / theta(0) <= exp(s^2 sigma^2 / 2), where
    theta(u) = sum over n of exp(-(n - u)^2 / (2 sigma^2)) is largest at 0 (Poisson summation), so
    by Chernoff a coordinate passes t with probability at most 2 exp(-t^2 / (2 sigma^2)), and any of
    d coordinates does with at most 2^-40 for t = sigma sqrt(2 ln(2 d 2^40)).
    Source: arXiv:2004.00010, section 3.
    """
    exponent = math.log(2 * event.dimensions) + TAIL_BITS * math.log(2)
    tail = math.ceil(event.sigma * math.sqrt(2 * exponent))
    largest = max(abs(int(values.max())), abs(int(values.min())))
    if largest + tail > VALUE_LIMIT:
        # Privacy: `largest` is an exact sum over customers; the bound and the noise are public.
        raise RangeExceeded(problem=f"a sum with noise up to {tail} passes 2^62")
