"""Privacy events in words, for audit records and sentences an officer reads."""

from fedmkt.privacy.events import Event, GaussianEvent


def noise_words(event: Event) -> str:
    """Say in words how a release was noised."""
    if not isinstance(event, GaussianEvent):
        return f"its {event.dimensions} sums carried no noise"
    shares = f", added by {event.shares} partners together" if event.shares > 1 else ""
    return (
        f"its {event.dimensions} sums carried Gaussian noise {event.noise_multiplier:.3g} times "
        f"what one customer can move them by{shares}"
    )
