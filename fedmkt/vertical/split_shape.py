"""What the networks of a split training are made of, without the library that computes them.

A block takes x and gives  W [relu(V x + c), x] + b, so a linear part stands beside a hidden layer.
Parameters are one float32 vector: embeddings of each category (size, dim), then V (width, in) row
by row, c (width,), W (out, width + in) and b (out,); V and c are left out for width 0.

Guarantee: shapes follow from the schema and the job alone. First parameters do not: each member
draws its own from bytes of its own.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedmkt.contract.split_job import SplitSettings
from fedmkt.core.errors import MessageInvalid
from fedmkt.data.scaling import NumberArray
from fedmkt.models.network_shape import NetworkShape

LARGEST_DIM = 8


@dataclass(frozen=True, slots=True)
class BlockShape:
    """One hidden layer with a linear part beside it. embedded: (size, dim) of each category.

    taken, given: numbers in and out; taken counts the embeddings' numbers too.
    """

    taken: int
    given: int
    width: int
    embedded: tuple[tuple[int, int], ...] = ()

    @property
    def weights(self) -> tuple[tuple[int, int], ...]:
        """Return the shape of each layer's weight: (out, in)."""
        last = (self.given, self.width + self.taken)
        return ((self.width, self.taken), last) if self.width else (last,)

    @property
    def length(self) -> int:
        """Return the number of parameters."""
        tables = sum(size * dim for size, dim in self.embedded)
        return tables + sum(out * (taken + 1) for out, taken in self.weights)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A block's parameters, and what its steps remember; all (length,) float32. Stays at a member.

    mean, square: running averages of the gradient and its square. steps: taken so far.
    """

    shape: BlockShape
    parameters: NumberArray = field(repr=False)
    mean: NumberArray = field(repr=False)
    square: NumberArray = field(repr=False)
    steps: int = 0

    def __post_init__(self) -> None:
        """Refuse vectors that are not this block's. Raises: MessageInvalid."""
        for values in (self.parameters, self.mean, self.square):
            if values.dtype != np.float32 or values.shape != (self.shape.length,):
                problem = f"it needs {self.shape.length} float32 parameters"
                raise MessageInvalid(kind="part of a split network", problem=problem)

    @property
    def finite(self) -> bool:
        """Tell whether every parameter is a finite number."""
        return bool(np.isfinite(self.parameters).all())

    def to_plain(self) -> list[object]:
        """Return plain values, for a state that is sealed before it is stored."""
        vectors = (self.parameters, self.mean, self.square)
        return [*(one.astype("<f4").tobytes() for one in vectors), self.steps]


@dataclass(frozen=True, slots=True, eq=False)
class OwnerNetworks:
    """The label owner's two networks: below its own columns, and above all activations."""

    bottom: Part
    top: Part


def part_from(shape: BlockShape, plain: Sequence[Any]) -> Part:
    """Return the part that `to_plain` wrote. Raises: MessageInvalid (another shape's)."""
    *vectors, steps = plain
    parameters, mean, square = (
        np.frombuffer(one, dtype="<f4").astype(np.float32) for one in vectors
    )
    return Part(shape, parameters, mean, square, steps)


def first_owner(
    inputs: NetworkShape, settings: SplitSettings, *, parties: int, secret: bytes
) -> OwnerNetworks:
    """Return the owner's networks before their first step."""
    top = top_shape(parties, settings)
    return OwnerNetworks(first_partner(inputs, settings, secret), first_part(top, secret + b"top"))


def first_partner(inputs: NetworkShape, settings: SplitSettings, secret: bytes) -> Part:
    """Return a member's bottom network before its first step."""
    return first_part(bottom_shape(inputs, settings), secret + b"bottom")


def bottom_shape(inputs: NetworkShape, settings: SplitSettings) -> BlockShape:
    """Return the network below a member's activations. inputs: its columns, from the schema."""
    embedded = tuple(
        (one.bins, min(LARGEST_DIM, (one.bins + 1) // 2)) for one in inputs.categories.features
    )
    taken = inputs.numbers + sum(dim for _, dim in embedded)
    return BlockShape(taken, settings.activations, settings.width, embedded)


def top_shape(parties: int, settings: SplitSettings) -> BlockShape:
    """Return the owner's network above the activations of all `parties`, itself included."""
    return BlockShape(parties * settings.activations, 1, settings.top_width)


def first_part(shape: BlockShape, secret: bytes) -> Part:
    """Return a block before its first step; it follows from `secret`, on every machine.

    Weights are uniform in +-sqrt(3 / in), embeddings in +-1, biases 0.
    """
    # Privacy: whoever knows a bottom network reads columns out of its activations by trying all
    # profiles. So the secret is a member's own, and no seed of the job.
    stream = hashlib.shake_256(b"fedmkt split parameters" + secret).digest(4 * shape.length)
    draws = np.frombuffer(stream, dtype="<u4") / 2.0**31 - 1.0  # (length,), in [-1, 1)
    scaled = draws * _scales(shape)
    zeros = np.zeros(shape.length, dtype=np.float32)
    return Part(shape, scaled.astype(np.float32), zeros, zeros)


def _scales(shape: BlockShape) -> Sequence[float]:
    """Return the greatest size of each first parameter, (length,)."""
    scales = [1.0] * sum(size * dim for size, dim in shape.embedded)
    for out, taken in shape.weights:
        scales += [math.sqrt(3 / max(taken, 1))] * (out * taken) + [0.0] * out
    return scales
