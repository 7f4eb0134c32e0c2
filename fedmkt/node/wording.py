"""Privacy events in words, for audit records and sentences an officer reads."""

from fedmkt.privacy.events import Event, ExactEvent, GaussianEvent, RandomisedResponseEvent
from fedmkt.privacy.randomised_response import guess_accuracy

_EXACT = {
    "scores": "it shows the label owner one exact total a customer; counted, since no epsilon "
    "bounds it",
    "alignment": "it shows members which of their own customers they share; counted, since no "
    "epsilon bounds it",
    "sizes": "it is stated exactly, as the contract allows",
}


def noise_words(event: Event) -> str:
    """Say in words how a release was protected."""
    match event:
        case ExactEvent():
            return _EXACT[event.what]
        case RandomisedResponseEvent():
            flipped = 1 - guess_accuracy(event.epsilon)
            return f"each label was flipped once with a chance of {flipped:.1%}"
        case GaussianEvent():
            shares = f", added by {event.shares} partners together" if event.shares > 1 else ""
            return (
                f"{_sums(event.dimensions)} carried Gaussian noise {event.noise_multiplier:.3g} "
                f"times what one customer can move {'them' if event.dimensions > 1 else 'it'} by"
                f"{shares}"
            )
    return f"{_sums(event.dimensions)} carried no noise"


def _sums(dimensions: int) -> str:
    return f"its {dimensions} sums" if dimensions > 1 else "its number"
