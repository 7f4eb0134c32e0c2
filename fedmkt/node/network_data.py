"""What a network's training is at a node before its first step: its price, and the rows it reads.

Guarantee: none by itself; `fedmkt.node.network_training` makes both, in that order. Pricing needs
no library for networks.
"""

from dataclasses import dataclass

from fedmkt.contract.job import NetworkJob
from fedmkt.contract.permissions import allow
from fedmkt.horizontal.network_plan import NetworkSum, job_shape, network_releases, planned_network
from fedmkt.models.network_shape import NetworkShape
from fedmkt.node.answer import Priced
from fedmkt.node.home import NodeHome
from fedmkt.node.training_data import BYTES_A_VALUE, checked_epsilon
from fedmkt.node.wording import noise_words
from fedmkt.privacy.events import Release


@dataclass(frozen=True, slots=True)
class PricedNetwork(Priced):
    """A network's training with its sums. shape: public, from the schema and the job."""

    job: NetworkJob
    shape: NetworkShape
    sums: tuple[NetworkSum, ...]


def price_network(home: NodeHome, job: NetworkJob) -> PricedNetwork:
    """Check a job against the contract and price its releases; no data are touched.

    Raises: a Refusal: the contract says no, or the stated epsilon is not what it costs;
        SettingInvalid, EpsilonInvalid, RangeExceeded for what cannot be trained or priced.
    """
    dataset = allow(home.contract, job, member=home.member, now=home.clock.now())
    shape = job_shape(job, dataset.table)
    releases = network_releases(job, shape)
    epsilon = checked_epsilon(job, releases)
    sums = planned_network(job, shape)
    return PricedNetwork(
        job=job,
        dataset=dataset,
        releases=releases,
        epsilon=epsilon,
        delta=job.privacy.delta,
        leaves=tuple(
            _leaves(*one, seen=job.updates_seen) for one in zip(sums, releases, strict=True)
        ),
        shape=shape,
        sums=sums,
    )


def _leaves(one: NetworkSum, release: Release, *, seen: bool) -> str:
    size = f"{one.length} numbers ({one.length * BYTES_A_VALUE:,} bytes)"
    masked = "seen by the coordinator as it is" if seen else "masked"
    return f"{release.name}: {size}, {masked}; {noise_words(release.event)}"
