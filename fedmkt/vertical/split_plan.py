"""What leaves a node in a split training, known before any row is read.

Guarantee: `split_label_releases` states what a training costs the label of an aligned customer:
labels that are randomised once stand for all gradients, which are made of them; exact ones have no
epsilon, with noise on gradients or without. `activation_releases` states how many numbers of each
customer a partner shows, all of which are counted.
Not guaranteed: anything about columns. No epsilon bounds what activations tell of a partner's, nor
what gradients tell of the joint score, in which the owner's are.
"""

from fedmkt.contract.split_job import SplitJob
from fedmkt.privacy.events import ExactEvent, NonPrivateEvent, RandomisedResponseEvent, Release


def split_label_releases(job: SplitJob) -> tuple[Release, ...]:
    """Return what leaves the label owner, as privacy events of one customer's label.

    Names say what gradients tell beside the label: no event is charged for the joint score.
    """
    if job.labels.mode == "split_label_private":
        assert job.labels.epsilon is not None
        response = RandomisedResponseEvent(epsilon=job.labels.epsilon)
        name = "labels, randomised once for all rounds; gradients show joint scores"
        return (Release(0, name, response),)
    # Privacy: noise on a customer's own gradient leaves its label in the top network, which makes
    # everybody's later gradients; so no epsilon is claimed for it.
    shown = NonPrivateEvent(job.model.activations * len(job.partners))
    return tuple(
        Release(index, f"round {index + 1}: gradients, which show labels and joint scores", shown)
        for index in range(job.model.rounds)
    )


def activation_releases(job: SplitJob) -> tuple[Release, ...]:
    """Return what leaves a partner: activations once a round, and once more for the scores."""
    shown = ExactEvent("activations", job.model.activations)
    rounds = [f"round {index + 1}: activations" for index in range(job.model.rounds)]
    names = (*rounds, "activations for the scores")
    return tuple(Release(index, name, shown) for index, name in enumerate(names))
