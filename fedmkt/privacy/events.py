"""What a release did to the data, apart from what it costs.

Guarantee: an event holds everything an accountant needs to price its release, is checked when it is
made, and survives JSON unchanged, so that a better accountant can price history again.
Not guaranteed: that the release happened as its event says. The mechanism and the node see to that.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fedmkt.core.errors import EpsilonInvalid, EventUnknown

KNOWN = ("discrete_gaussian", "non_private")
LARGEST_COUNT = 2**31  # of shares or dimensions; keeps every slack term far inside a float
LARGEST_SIGMA = 2.0**62  # grid units; values are 64-bit integers
SMALLEST_MULTIPLIER = 1e-3
LARGEST_MULTIPLIER = 1e9


@dataclass(frozen=True, slots=True)
class GaussianEvent:
    """Discrete Gaussian noise on a vector of integers.

    noise_multiplier: standard deviation of the whole noise over the L2 bound of one customer; the
    guarantee rests on it. sigma: scale of one share, in grid units. shares: honest shares that add
    up to the whole noise (1: the release is private by itself). dimensions: length of the vector.
    Raises: EpsilonInvalid for a value no accountant could price.
    Source: Canonne, Kamath, Steinke 2020, arXiv:2004.00010, definition 1.
    """

    noise_multiplier: float
    sigma: float
    shares: int
    dimensions: int

    def __post_init__(self) -> None:
        check_noise_multiplier(self.noise_multiplier)
        if not 0 < self.sigma <= LARGEST_SIGMA:
            rule = f"above 0 and at most {LARGEST_SIGMA:g}"
            raise EpsilonInvalid(name="sigma", value=self.sigma, rule=rule)
        _check_count("shares", self.shares)
        _check_count("dimensions", self.dimensions)


@dataclass(frozen=True, slots=True)
class NonPrivateEvent:
    """A release of exact values: no epsilon bounds it. dimensions: length of the vector."""

    dimensions: int

    def __post_init__(self) -> None:
        _check_count("dimensions", self.dimensions)


Event = GaussianEvent | NonPrivateEvent


@dataclass(frozen=True, slots=True)
class Release:
    """One thing that leaves a node in a run: its place, its name and its event."""

    index: int
    name: str
    event: Event


def check_noise_multiplier(value: float) -> None:
    """Raise EpsilonInvalid for a noise multiplier outside the range accountants price."""
    if not SMALLEST_MULTIPLIER <= value <= LARGEST_MULTIPLIER:
        rule = f"between {SMALLEST_MULTIPLIER:g} and {LARGEST_MULTIPLIER:g}"
        raise EpsilonInvalid(name="noise_multiplier", value=value, rule=rule)


def event_to_json(event: Event) -> dict[str, object]:
    """Return `event` as a JSON object with its kind; floats keep every bit."""
    match event:
        case GaussianEvent():
            return {
                "kind": "discrete_gaussian",
                "noise_multiplier": event.noise_multiplier,
                "sigma": event.sigma,
                "shares": event.shares,
                "dimensions": event.dimensions,
            }
        case NonPrivateEvent():
            return {"kind": "non_private", "dimensions": event.dimensions}


def event_from_json(value: Mapping[str, object]) -> Event:
    """Return the event that `event_to_json` wrote.

    Raises: EventUnknown for another kind or other fields; EpsilonInvalid for a value out of range.
    """
    kind = value.get("kind")
    fields = {name: field for name, field in value.items() if name != "kind"}
    # Privacy: an event that is not understood whole cannot be priced, so it is refused whole.
    if kind == "discrete_gaussian" and fields.keys() == set(GaussianEvent.__slots__):
        return GaussianEvent(
            noise_multiplier=_real(fields["noise_multiplier"]),
            sigma=_real(fields["sigma"]),
            shares=_whole(fields["shares"]),
            dimensions=_whole(fields["dimensions"]),
        )
    if kind == "non_private" and fields.keys() == set(NonPrivateEvent.__slots__):
        return NonPrivateEvent(dimensions=_whole(fields["dimensions"]))
    raise EventUnknown(kind=kind, known=", ".join(KNOWN))


def _real(value: object) -> float:
    """Return a JSON number as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EventUnknown(kind=f"with a field of type {type(value).__name__}", known="a number")
    return float(value)


def _whole(value: object) -> int:
    """Return a JSON number as an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise EventUnknown(kind=f"with a field of type {type(value).__name__}", known="an integer")
    return value


def _check_count(name: str, value: int) -> None:
    """Raise EpsilonInvalid unless `value` is a count that can be priced."""
    if not 1 <= value <= LARGEST_COUNT:
        raise EpsilonInvalid(name=name, value=value, rule=f"between 1 and {LARGEST_COUNT}")
