"""Privacy events in words, for audit records and sentences an officer reads."""

from fedmkt.privacy.events import (
    Event,
    ExactEvent,
    GaussianEvent,
    PoissonGaussianEvent,
    RandomisedResponseEvent,
)
from fedmkt.privacy.randomised_response import guess_accuracy

LABEL = "customer's label"
_COUNTED = "; counted, since no epsilon bounds it"


def unit_words(release: str, event: Event) -> str:
    """Return what of a customer the epsilon of a release is about. release: its name.

    Sums of residuals are noised for one label, those of a joint score for one joint score; all
    other releases for whatever a customer has in the table.
    """
    if release.endswith("sums of residuals") or isinstance(event, RandomisedResponseEvent):
        return LABEL
    return "customer's joint score" if release.endswith("joint score") else "customer"


def noise_words(event: Event, unit: str = "customer") -> str:
    """Say in words how a release was protected. unit: what noise was sized for, one of it."""
    match event:
        case ExactEvent():
            return _exact_words(event)
        case RandomisedResponseEvent():
            return (
                f"{'its labels were' if event.labels == 1 else f'its {event.labels} labels were'} "
                f"randomised once: each was flipped with probability {_flipped(event.epsilon)}"
            )
        case PoissonGaussianEvent():
            return (
                f"{noise_words(event.noise, unit)}, in each of {event.steps} steps over customers "
                f"drawn anew with probability {event.sampling_rate:.3g}"
            )
        case GaussianEvent():
            shares = f", added by {event.shares} partners together" if event.shares > 1 else ""
            return (
                f"{_sums(event.dimensions)} carried Gaussian noise {event.noise_multiplier:.3g} "
                f"times what one {unit} can move {'them' if event.dimensions > 1 else 'it'} by"
                f"{shares}"
            )
    return f"{_sums(event.dimensions)} carried no noise"


def _exact_words(event: ExactEvent) -> str:
    match event.what:
        case "scores":
            totals = "one exact total" if event.count == 1 else f"{event.count} exact totals"
            return f"it shows the label owner {totals} a customer{_COUNTED}"
        case "activations":
            return f"it shows the label owner {event.count} activations a customer{_COUNTED}"
        case "alignment":
            return f"it shows members which of their own customers they share{_COUNTED}"
    return "it is stated exactly, as the contract allows"


def _flipped(epsilon: float) -> str:
    chance = 1 - guess_accuracy(epsilon)
    return f"{chance:.1%}" if chance >= 0.001 else "below 0.1%"


def _sums(dimensions: int) -> str:
    return f"its {dimensions} sums" if dimensions > 1 else "its number"
