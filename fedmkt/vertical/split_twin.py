"""A split training in one place: every step of the protocol, and none of its transport.

Used for the twin a run is compared with and for attacks, which it shows what each side would see.
With one local step, no noise and no gradient over its bound it is the same network trained
centrally, one full step of all parameters a round.
Not guaranteed: privacy. Whoever runs this holds everybody's columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.split_job import SplitSettings
from fedmkt.core.stages import FloatArray
from fedmkt.data.scaling import NumberArray
from fedmkt.models.network_shape import NetworkInputs, NetworkShape
from fedmkt.privacy.mechanisms import NoiseSource
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.split_network import (
    OwnerRows,
    activations,
    owner_round,
    owner_scores,
    partner_round,
)
from fedmkt.vertical.split_noise import noised
from fedmkt.vertical.split_shape import OwnerNetworks, Part, first_owner, first_partner


@dataclass(frozen=True, slots=True, eq=False)
class SplitColumns:
    """One party's columns as a network takes them, rows in the order of all parties."""

    name: str
    shape: NetworkShape
    inputs: NetworkInputs = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SplitTwin:
    """A training as all sides together saw it.

    owner, partners: the networks. scores: (rows,), of all customers at the end. seen: for each
    round, and last at the end, each partner's activations as the owner saw them: of the training
    rows in a round, of all rows at the end. gradients: for each round, what each partner saw.
    """

    owner: OwnerNetworks
    partners: tuple[Part, ...]
    scores: FloatArray = field(repr=False)
    seen: tuple[tuple[NumberArray, ...], ...] = field(repr=False)
    gradients: tuple[tuple[NumberArray, ...], ...] = field(repr=False)


def first_networks(
    parties: Sequence[SplitColumns], settings: SplitSettings, secrets: Sequence[bytes]
) -> tuple[OwnerNetworks, tuple[Part, ...]]:
    """Return every network before its first step, the owner's first. secrets: one a party."""
    owner, *partners = zip(parties, secrets, strict=True)
    return (
        first_owner(owner[0].shape, settings, parties=len(parties), secret=owner[1]),
        tuple(first_partner(one.shape, settings, secret) for one, secret in partners),
    )


def train_split(
    parties: Sequence[SplitColumns],
    target: NDArray[np.uint8] | FloatArray,
    settings: SplitSettings,
    *,
    networks: tuple[OwnerNetworks, tuple[Part, ...]],
    noise: NoiseSource,
) -> SplitTwin:
    """Train over the columns of all `parties`, the label owner's first.

    Args: target: (rows,), 0 or 1; or soft labels, as floats. The last `settings.holdout` of the
        rows are scored, never trained on. networks: before the first step. noise: for
        settings that ask for some.
    Raises: TrainingDiverged.
    """
    rows = training_rows(len(target), settings.holdout)
    owner, partners = networks
    trained = [_first_rows(one.inputs, rows) for one in parties]
    own = OwnerRows(trained[0], target[:rows].astype(np.float64))
    seen, gradients = [], []
    for number in range(1, settings.rounds + 1):
        seen.append(_shown(partners, trained[1:], settings, noise))
        owner, slopes = owner_round(owner, own, seen[-1], settings, number=number)
        gradients.append(
            tuple(noised(one, sigma=settings.gradient_noise, source=noise) for one in slopes)
        )
        partners = tuple(
            partner_round(part, inputs, gradient, settings, number=number)
            for part, inputs, gradient in zip(partners, trained[1:], gradients[-1], strict=True)
        )
    seen.append(_shown(partners, [one.inputs for one in parties[1:]], settings, noise))
    scores = owner_scores(owner, parties[0].inputs, seen[-1], settings)
    return SplitTwin(owner, partners, scores, tuple(seen), tuple(gradients))


def _shown(
    partners: Sequence[Part],
    inputs: Sequence[NetworkInputs],
    settings: SplitSettings,
    noise: NoiseSource,
) -> tuple[NumberArray, ...]:
    """Return each partner's activations as the owner sees them, (rows, activations) each."""
    return tuple(
        noised(activations(part, one, settings), sigma=settings.activation_noise, source=noise)
        for part, one in zip(partners, inputs, strict=True)
    )


def _first_rows(inputs: NetworkInputs, rows: int) -> NetworkInputs:
    return NetworkInputs(inputs.numbers[:rows], inputs.codes[:rows])
