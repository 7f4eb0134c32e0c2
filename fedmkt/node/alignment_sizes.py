"""How an alignment's sizes are stated: with noise from dummies, or exactly, and what that costs.

Guarantee: as in `fedmkt.security.psi.size_noise`, whose functions these apply to a job's settings.
"""

from fedmkt.contract.vertical_jobs import AlignmentJob
from fedmkt.node.closing import EXACT
from fedmkt.node.home import NodeHome
from fedmkt.privacy.events import Event, ExactEvent
from fedmkt.security.psi import size_noise

_NOISED = "PrivateUpdate BlindedList"
COUNTED = f"{EXACT} BlindedList"


def size_stage(job: AlignmentJob) -> str:
    """Return the stages that a list of this job's size went through."""
    return COUNTED if job.exact_sizes else _NOISED


def overlap_moves(job: AlignmentJob) -> int:
    """Return by how much one customer can move the overlap. For noised sizes alone."""
    if job.privacy is None:
        return 1
    return size_noise.overlap_sensitivity(columns=len(job.keys), members=len(job.members))


def size_event(job: AlignmentJob, sensitivity: int) -> Event:
    """Return what a stated size costs that one customer moves by `sensitivity`."""
    if job.privacy is None:
        return ExactEvent("sizes", 1)
    return size_noise.count_event(job.privacy.noise_multiplier, sensitivity=sensitivity)


def shift_for_size(job: AlignmentJob, sensitivity: int) -> int:
    """Return how many dummies stand for no noise in a size; 0 where sizes are exact."""
    if job.privacy is None:
        return 0
    return size_noise.shift_for(job.privacy.noise_multiplier, sensitivity=sensitivity)


def dummies_for(home: NodeHome, run: str, what: str, job: AlignmentJob, sensitivity: int) -> int:
    """Return by how much a size is padded, so that it carries noise; 0 where sizes are exact."""
    if job.privacy is None:
        return 0
    return size_noise.dummies(
        noise_multiplier=job.privacy.noise_multiplier,
        source=home.noise.stream(f"{run}/{what}/{home.member}"),
        sensitivity=sensitivity,
    )
