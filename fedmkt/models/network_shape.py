"""What a network is made of, without the library that computes it: shape, inputs, parameters, file.

Guarantee: all of it follows from the schema, the job and one vector of numbers. The coordinator
and whoever prices a job need no more.

Parameters are one float32 vector in this order: the table of each category (size, 1 + dim) in
the order of the features, its first column being the direct effect; then the linear layers from the
input to the output, each with its weight (out, in) row by row and then its bias (out,).

Source of the starting weights: He et al. 2015, arXiv:1502.01852, section 2.2.
"""

import base64
import binascii
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np
import polars as pl
from pydantic import ValidationError

from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import MessageInvalid, SettingInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.core.stages import CodeArray, IntArray
from fedmkt.data.binning import Binning, FeatureBins, binning_from_schema, encode
from fedmkt.data.scaling import NumberArray, NumberScale, scale_numbers, scales_from_schema
from fedmkt.models.tasks import task_named
from fedmkt.wire.canonical import canonical_json, digest

LARGEST_DIM = 16
LARGEST_WIDTH = 4096
LARGEST_BLOCKS = 16
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class NetworkShape:
    """The inputs and the layers of a network; public, made from the schema alone.

    What follows from them is asked for in every step, so it is made once and kept.

    scales: the numbers. categories: the bins of the categories. width: of the hidden layers, 0 for
    the linear model. blocks: residual layers after the first. task: names the link and the loss.
    Raises: SettingInvalid.
    """

    scales: tuple[NumberScale, ...]
    categories: Binning
    width: int = 0
    blocks: int = 0
    task: str = "propensity"

    def __post_init__(self) -> None:
        """Refuse what is no network. Raises: SettingInvalid."""
        for name, value, most in (
            ("width", self.width, LARGEST_WIDTH),
            ("blocks", self.blocks, LARGEST_BLOCKS if self.width else 0),
        ):
            if not 0 <= value <= most:
                problem = f"it must be between 0 and {most}"
                raise SettingInvalid(setting=f"the network's {name} {value}", problem=problem)
        task_named(self.task)

    @cached_property
    def numbers(self) -> int:
        """Return how many inputs the numbers become."""
        return sum(scale.columns for scale in self.scales)

    @cached_property
    def tables(self) -> tuple[tuple[int, int], ...]:
        """Return the shape of each category's table: (size, 1 + dim)."""
        return tuple((one.bins, 1 + self._dim(one)) for one in self.categories.features)

    @cached_property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """Return the shape of each linear layer's weight: (out, in)."""
        if not self.width:
            return ((1, self.numbers),)
        first = (self.width, sum(columns - 1 for _, columns in self.tables) + self.numbers)
        return (first, *[(self.width, self.width)] * self.blocks, (1, self.width))

    @cached_property
    def length(self) -> int:
        """Return the number of parameters."""
        tables = sum(size * columns for size, columns in self.tables)
        return tables + sum(rows * (columns + 1) for rows, columns in self.layers)

    @cached_property
    def head_length(self) -> int:
        """Return the number of parameters of the last layer, which stand last."""
        rows, columns = self.layers[-1]
        return rows * (columns + 1)

    @cached_property
    def pieces(self) -> tuple[tuple[slice, tuple[int, ...]], ...]:
        """Return the place of each piece of the parameters, and its shape, in their order."""
        layers = (piece for rows, columns in self.layers for piece in ((rows, columns), (rows,)))
        shapes = (*self.tables, *layers)
        ends = tuple(accumulate(map(math.prod, shapes), initial=0))
        return tuple(zip(map(slice, ends, ends[1:]), shapes, strict=False))

    @cached_property
    def looked_up(self) -> tuple[IntArray, IntArray]:
        """Return which columns of all looked-up vectors are direct effects, and which the rest."""
        starts = list(accumulate((columns for _, columns in self.tables), initial=0))
        direct = np.array(starts[:-1], dtype=np.int64)
        return direct, np.setdiff1d(np.arange(starts[-1]), direct)

    def _dim(self, feature: FeatureBins) -> int:
        """Return half the number of bins, rounded up and at most 16: the embedding's size."""
        return min(LARGEST_DIM, (feature.bins + 1) // 2) if self.width else 0


@dataclass(frozen=True, slots=True)
class NetworkCoder:
    """Writes a row's inputs as codes: those of its categories, then each number's two halves.

    So a table is read, judged and cut to one row a customer like any other.
    """

    shape: NetworkShape

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns that are read."""
        return (*self.shape.categories.names, *(scale.name for scale in self.shape.scales))

    def coded(self, frame: pl.DataFrame, *, dataset: str) -> CodeArray:
        """Return a table's rows, shape (rows, categories + 2 numbers).

        Raises: ColumnMissing, SchemaViolated.
        """
        inputs = network_inputs(frame, self.shape, dataset=dataset)
        halves = np.ascontiguousarray(inputs.numbers, dtype="<f4").view("<u2")
        return np.concatenate([inputs.codes, halves], axis=1).astype(np.uint16, copy=False)

    def inputs(self, codes: CodeArray) -> "NetworkInputs":
        """Return the inputs of what `coded` returned."""
        categories = len(self.shape.categories.features)
        halves = np.ascontiguousarray(codes[:, categories:], dtype="<u2")
        # A copy: without numbers the view has strides that torch refuses.
        numbers = halves.view("<f4").astype(np.float32)
        return NetworkInputs(numbers, np.ascontiguousarray(codes[:, :categories]))


@dataclass(frozen=True, slots=True, eq=False)
class NetworkInputs:
    """Rows as a network takes them. numbers: (rows, shape.numbers); codes: (rows, categories)."""

    numbers: NumberArray = field(repr=False)
    codes: CodeArray = field(repr=False)


def shape_from_schema(
    schema: TableSchema, features: Sequence[str], *, width: int = 0, blocks: int = 0
) -> NetworkShape:
    """Return the network of these declared features; no row is looked at.

    Raises: SettingInvalid, also for an undeclared feature.
    """
    binning = binning_from_schema(schema, features, max_bins=2)
    categories = Binning(tuple(one for one in binning.features if not one.ordered))
    return NetworkShape(scales_from_schema(schema, features), categories, width, blocks)


def network_inputs(frame: pl.DataFrame, shape: NetworkShape, *, dataset: str) -> NetworkInputs:
    """Return the inputs of a table's rows. Raises: ColumnMissing, SchemaViolated."""
    codes = encode(frame, shape.categories, dataset=dataset)
    return NetworkInputs(scale_numbers(frame, shape.scales), codes)


def first_parameters(shape: NetworkShape, seed: int) -> NumberArray:
    """Return the parameters a training starts from; they follow from `seed`, on every machine.

    Weights before a relu are uniform in +-sqrt(6 / in), embeddings in +-0.1; direct effects, biases
    and the output are 0, so every score is 0. Nothing private: whoever knows the seed knows them.
    """
    parts: list[NumberArray] = []
    stream = hashlib.shake_256(f"fedmkt first parameters {seed}".encode()).digest(4 * shape.length)
    draws = np.frombuffer(stream, dtype="<u4") / 2.0**31 - 1.0  # (length,), in [-1, 1)
    for size, columns in shape.tables:
        table = draws[: size * columns].reshape(size, columns) * 0.1
        table[:, 0] = 0.0
        parts.append(table.ravel().astype(np.float32))
        draws = draws[size * columns :]
    for rows, columns in shape.layers[:-1]:
        weight = draws[: rows * columns] * math.sqrt(6 / max(columns, 1))
        parts += [weight.astype(np.float32), np.zeros(rows, dtype=np.float32)]
        draws = draws[rows * (columns + 1) :]
    parts.append(np.zeros(shape.layers[-1][1] + 1, dtype=np.float32))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkWeights:
    """A network as it is sent and kept: its public shape and parameters (shape.length,) float32.

    Raises: MessageInvalid for parameters of another length or type.
    """

    shape: NetworkShape
    parameters: NumberArray = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a vector that is not this network's. Raises: MessageInvalid."""
        if self.parameters.dtype != np.float32 or self.parameters.shape != (self.shape.length,):
            problem = f"it needs {self.shape.length} float32 parameters"
            raise MessageInvalid(kind="network", problem=problem)

    @property
    def finite(self) -> bool:
        """Tell whether every parameter is a finite number."""
        return bool(np.isfinite(self.parameters).all())

    def to_json(self) -> dict[str, object]:
        """Return the network as plain values of schema version 1."""
        shape = self.shape
        return {
            "schema_version": SCHEMA_VERSION,
            "family": "network",
            "task": shape.task,
            "scales": [asdict(scale) for scale in shape.scales],
            "categories": shape.categories.to_json(),
            "width": shape.width,
            "blocks": shape.blocks,
            "parameters": base64.b64encode(parameter_bytes(self.parameters)).decode("ascii"),
        }

    @staticmethod
    def from_json(value: Mapping[str, object]) -> "NetworkWeights":
        """Return the network of plain values. Raises: MessageInvalid, SettingInvalid."""
        try:
            file = _NetworkFile.model_validate(dict(value))
            data = base64.b64decode(file.parameters, validate=True)
        except ValidationError as error:
            raise MessageInvalid(kind="network", problem=first_problem(error)) from None
        except binascii.Error:
            raise MessageInvalid(kind="network", problem="parameters are not base64") from None
        if (file.schema_version, file.family) != (SCHEMA_VERSION, "network"):
            raise MessageInvalid(kind="network", problem="another family or schema version")
        shape = NetworkShape(
            tuple(NumberScale(**one.model_dump()) for one in file.scales),
            Binning.from_json(file.categories),
            file.width,
            file.blocks,
            file.task,
        )
        return NetworkWeights(shape, parameters_of(data))

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the network's canonical bytes."""
        return digest(canonical_json(self.to_json()))


def parameter_bytes(parameters: NumberArray) -> bytes:
    """Return parameters as little-endian float32 bytes."""
    return parameters.astype("<f4", copy=False).tobytes()


def parameters_of(data: bytes) -> NumberArray:
    """Return parameters of little-endian float32 bytes. Raises: MessageInvalid."""
    if len(data) % 4:
        raise MessageInvalid(kind="network", problem="parameters are not float32")
    parameters = np.frombuffer(data, dtype="<f4").astype(np.float32)
    if not np.isfinite(parameters).all():
        raise MessageInvalid(kind="network", problem="parameters are not finite")
    return parameters


class _ScaleFile(Frozen):
    name: str
    low: float
    high: float
    log: bool
    nullable: bool


class _NetworkFile(Frozen):
    schema_version: int
    family: str
    task: str
    scales: tuple[_ScaleFile, ...]
    categories: dict[str, object]
    width: int
    blocks: int
    parameters: str
