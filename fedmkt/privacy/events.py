"""What a release did to the data, apart from what it costs.

Guarantee: an event holds everything an accountant needs to price its release, is checked when it is
made, and survives JSON unchanged, so that a better accountant can price history again.
Not guaranteed: that the release happened as its event says. The mechanism and the node see to that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from fedmkt.core.errors import EpsilonInvalid, EventUnknown

KNOWN = ("discrete_gaussian", "poisson_gaussian", "randomised_response", "exact", "non_private")
LARGEST_COUNT = 2**31  # of shares or dimensions; keeps every slack term far inside a float
LARGEST_SIGMA = 2.0**62  # grid units; values are 64-bit integers
SMALLEST_MULTIPLIER = 1e-3
LARGEST_MULTIPLIER = 1e9
SMALLEST_RESPONSE = 1e-3  # epsilon of one randomised label
LARGEST_RESPONSE = 100.0
SMALLEST_RATE = 2.0**-20  # of sampling


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
class PoissonGaussianEvent:
    """Noised sums over customers who are drawn anew for each, everybody with the same chance.

    noise: that of each sum. sampling_rate: the most anybody's chance is, whoever else was drawn.
    steps: how many sums; nothing but their noise stands between a sum and those who see it.
    Raises: EpsilonInvalid for a value no accountant could price.
    Source: Abadi et al. 2016, arXiv:1607.00133, section 3.
    """

    noise: GaussianEvent
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        if not SMALLEST_RATE <= self.sampling_rate <= 1:
            rule = "between 2^-20 and 1"
            raise EpsilonInvalid(name="sampling_rate", value=self.sampling_rate, rule=rule)
        _check_count("steps", self.steps)


@dataclass(frozen=True, slots=True)
class NonPrivateEvent:
    """A release of exact values: no epsilon bounds it. dimensions: length of the vector."""

    dimensions: int

    def __post_init__(self) -> None:
        _check_count("dimensions", self.dimensions)


@dataclass(frozen=True, slots=True)
class RandomisedResponseEvent:
    """Binary labels, each flipped once with probability 1 / (1 + e^epsilon). Unit: one label.

    labels: how many of one unit's labels were so randomised, each for itself.
    Source: Warner 1965, doi:10.1080/01621459.1965.10480775.
    """

    epsilon: float
    labels: int = 1

    def __post_init__(self) -> None:
        if not SMALLEST_RESPONSE <= self.epsilon <= LARGEST_RESPONSE:
            rule = f"between {SMALLEST_RESPONSE:g} and {LARGEST_RESPONSE:g}"
            raise EpsilonInvalid(name="epsilon", value=self.epsilon, rule=rule)
        _check_count("labels", self.labels)


Exact = Literal["scores", "alignment", "sizes", "activations"]


@dataclass(frozen=True, slots=True)
class ExactEvent:
    """Something exact left that no epsilon bounds, and that the contract counts instead.

    what: `scores`, a total of scores for each customer; `alignment`, which own customers a member
    shares; `sizes`, sizes without noise; `activations`, numbers of a network below a customer's
    score, with noise or without, since none bounds them over a training. count: how often a
    customer is shown so, for activations how many numbers of it.
    """

    what: Exact
    count: int = 1

    def __post_init__(self) -> None:
        if self.what not in get_args(Exact):
            raise EventUnknown(kind=f"exact {self.what}", known=", ".join(get_args(Exact)))
        _check_count("count", self.count)


Event = (
    GaussianEvent | PoissonGaussianEvent | RandomisedResponseEvent | ExactEvent | NonPrivateEvent
)


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
            return {"kind": "discrete_gaussian"} | _gaussian_to_json(event)
        case PoissonGaussianEvent():
            sampling = {"sampling_rate": event.sampling_rate, "steps": event.steps}
            return {"kind": "poisson_gaussian"} | _gaussian_to_json(event.noise) | sampling
        case RandomisedResponseEvent():
            return {"kind": "randomised_response", "epsilon": event.epsilon, "labels": event.labels}
        case ExactEvent():
            return {"kind": "exact", "what": event.what, "count": event.count}
        case NonPrivateEvent():
            return {"kind": "non_private", "dimensions": event.dimensions}


def event_from_json(value: Mapping[str, object]) -> Event:
    """Return the event that `event_to_json` wrote.

    Raises: EventUnknown for another kind or other fields; EpsilonInvalid for a value out of range.
    """
    kind = value.get("kind")
    fields = {name: field for name, field in value.items() if name != "kind"}
    # Privacy: an event that is not understood whole cannot be priced, so it is refused whole.
    gaussian = set(GaussianEvent.__slots__)
    if kind == "discrete_gaussian" and fields.keys() == gaussian:
        return _gaussian_from_json(fields)
    if kind == "poisson_gaussian" and fields.keys() == gaussian | {"sampling_rate", "steps"}:
        rate, steps = _real(fields["sampling_rate"]), _whole(fields["steps"])
        return PoissonGaussianEvent(_gaussian_from_json(fields), rate, steps)
    if kind == "randomised_response" and fields.keys() == set(RandomisedResponseEvent.__slots__):
        return RandomisedResponseEvent(_real(fields["epsilon"]), _whole(fields["labels"]))
    if kind == "exact" and fields.keys() == set(ExactEvent.__slots__):
        return ExactEvent(cast("Exact", fields["what"]), _whole(fields["count"]))
    if kind == "non_private" and fields.keys() == set(NonPrivateEvent.__slots__):
        return NonPrivateEvent(dimensions=_whole(fields["dimensions"]))
    raise EventUnknown(kind=kind, known=", ".join(KNOWN))


def _gaussian_to_json(event: GaussianEvent) -> dict[str, object]:
    return {name: getattr(event, name) for name in GaussianEvent.__slots__}


def _gaussian_from_json(fields: Mapping[str, object]) -> GaussianEvent:
    return GaussianEvent(
        noise_multiplier=_real(fields["noise_multiplier"]),
        sigma=_real(fields["sigma"]),
        shares=_whole(fields["shares"]),
        dimensions=_whole(fields["dimensions"]),
    )


def _real(value: object) -> float:
    """Return a JSON number as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EventUnknown(kind=f"with a field of type {type(value).__name__}", known="a number")
    try:
        return float(value)
    except OverflowError:  # JSON bounds no integer
        raise EventUnknown(kind="with an integer past every float", known="a number") from None


def _whole(value: object) -> int:
    """Return a JSON number as an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise EventUnknown(kind=f"with a field of type {type(value).__name__}", known="an integer")
    return value


def _check_count(name: str, value: int) -> None:
    """Raise EpsilonInvalid unless `value` is a count that can be priced."""
    if not 1 <= value <= LARGEST_COUNT:
        raise EpsilonInvalid(name=name, value=value, rule=f"between 1 and {LARGEST_COUNT}")
