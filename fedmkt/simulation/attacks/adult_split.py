"""A split training on Adult between bank, retailer and map provider, and the attacks on it.

Guarantee: every step is the protocol's (`fedmkt.vertical.split_twin`); labels are randomised and
numbers noised as at a node. The same customers, settings and seed give the same figures.
Not guaranteed: privacy; noise follows from the seed.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.split_job import SplitSettings
from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data import bundled
from fedmkt.models.network_shape import network_inputs, shape_from_schema
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.privacy.randomised_response import randomise_labels, unbiased
from fedmkt.simulation.attacks.feature_inversion import invert_column
from fedmkt.simulation.attacks.label_inference import infer_labels
from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.partitions.columns import ADULT_COLUMNS
from fedmkt.vertical.split_twin import SplitColumns, SplitTwin, first_networks, train_split

_, *_PARTNERS = ADULT_COLUMNS


@dataclass(frozen=True, slots=True, eq=False)
class SplitCustomers:
    """Customers of whom members know different columns, in one order.

    parties: the label owner's columns first. labels: (rows,), 0 or 1.
    """

    parties: tuple[SplitColumns, ...]
    labels: NDArray[np.uint8] = field(repr=False)

    @property
    def owners(self) -> "SplitCustomers":
        """Return the same customers with the label owner's columns alone."""
        return replace(self, parties=self.parties[:1])


def split_customers(frame: pl.DataFrame) -> SplitCustomers:
    """Return rows of Adult as bank, retailer and map provider hold them, as networks take them."""
    schema, parties = bundled.schema("adult"), []
    for name, features in ADULT_COLUMNS.items():
        shape = shape_from_schema(schema, features, width=1)
        parties.append(SplitColumns(name, shape, network_inputs(frame, shape, dataset=name)))
    labels = (frame["income"] == schema.target_positive).to_numpy().astype(np.uint8)
    return SplitCustomers(tuple(parties), labels)


def train_customers(
    customers: SplitCustomers, settings: SplitSettings, *, seed: int, epsilon: float | None = None
) -> SplitTwin:
    """Train on the first rows. epsilon: of labels that are randomised first; exact without one.

    Raises: TrainingDiverged.
    """
    noise = ReproducibleNoise(seed)
    target: FloatArray | NDArray[np.uint8] = customers.labels
    if epsilon is not None:
        drawn = randomise_labels(customers.labels, epsilon=epsilon, source=noise.stream("labels"))
        target = unbiased(drawn, epsilon)
    secrets = [f"{seed} {one.name}".encode() for one in customers.parties]
    networks = first_networks(customers.parties, settings, secrets)
    return train_split(
        customers.parties, target, settings, networks=networks, noise=noise.stream("shown")
    )


def attack_labels(
    twin: SplitTwin, customers: SplitCustomers, known: IntArray, *, partner: str, defence: str
) -> tuple[AttackResult, ...]:
    """Return what a partner reads of labels from its gradients: by norm, direction, learning.

    known: rows trained on whose labels the attacker knows.
    """
    place = _PARTNERS.index(partner)
    sent = [one[place] for one in twin.gradients]
    labels = customers.labels[: len(sent[0])]
    return infer_labels(sent, labels, known=known, defence=defence)


def attack_column(
    twin: SplitTwin, customers: SplitCustomers, known: IntArray, *, column: str, defence: str
) -> AttackResult:
    """Return what the owner reads of a partner's column, a category, from its activations.

    known: rows trained on for which the attacker knows the column.
    """
    place, codes = _column(customers, column)
    rows = len(twin.seen[0][place])
    seen = [one[place][:rows] for one in twin.seen]
    found = invert_column(seen, codes[:rows], known, defence=defence)
    return replace(found, name=f"{found.name}, {column}")


def _column(customers: SplitCustomers, column: str) -> tuple[int, CodeArray]:
    """Return which partner has a category, and its values, (rows,)."""
    for place, one in enumerate(customers.parties[1:]):
        names = [feature.name for feature in one.shape.categories.features]
        if column in names:
            return place, one.inputs.codes[:, names.index(column)]
    raise KeyError(column)
