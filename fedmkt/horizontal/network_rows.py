"""A partner's customers as a network trains on them, without the library that computes networks.

Guarantee: views and choices keep every row beside its target.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.stages import IntArray
from fedmkt.models.network_shape import NetworkInputs


@dataclass(frozen=True, slots=True, eq=False)
class NetworkRows:
    """One partner's customers, one row each, as a network takes them. target: (rows,), 0 or 1."""

    inputs: NetworkInputs
    target: NDArray[np.uint8] = field(repr=False)

    @property
    def rows(self) -> int:
        """Return the number of customers."""
        return len(self.target)

    def between(self, start: int, end: int) -> "NetworkRows":
        """Return the rows from `start` to before `end`, as a view."""
        inputs = NetworkInputs(self.inputs.numbers[start:end], self.inputs.codes[start:end])
        return NetworkRows(inputs, self.target[start:end])

    def taken(self, places: IntArray | NDArray[np.bool_]) -> "NetworkRows":
        """Return the rows at these places, or those marked."""
        inputs = NetworkInputs(self.inputs.numbers[places], self.inputs.codes[places])
        return NetworkRows(inputs, self.target[places])
