"""The additive model: score = intercept + the sum over features of the effect of the feature's bin.

Guarantee: a model is plain numbers over public bins; it scores any code without looking at data,
and the effects of one feature (`shape`) are all that this feature ever does to a score.
Not guaranteed: that a model is private. That depends on the sums it was made from.

Source: generalised additive models as step functions over bins, Lou et al. 2012,
doi:10.1145/2339530.2339556; with noise, Nori et al. 2021, arXiv:2106.09680.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from fedmkt.core.errors import MessageInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.core.stages import CodeArray, FloatArray
from fedmkt.data.binning import Binning
from fedmkt.models.tasks import Task, task_named
from fedmkt.wire.canonical import canonical_json, digest

SCHEMA_VERSION = 1


class _ModelFile(Frozen):
    """The edge: a model as it stands in a file or a message."""

    schema_version: int
    family: str
    task: str
    binning: dict[str, object]
    intercept: float
    effects: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AdditiveModel:
    """An additive model over `binning`.

    intercept: score before any feature, in log-odds. effects: (binning.total,), one block a
    feature in the order of `binning.features`, in log-odds. task: names the link and the loss.
    """

    binning: Binning
    intercept: float
    effects: FloatArray
    task: str = "propensity"

    def __post_init__(self) -> None:
        assert self.effects.shape == (self.binning.total,)

    @property
    def link(self) -> Task:
        """Return the task that turns this model's scores into probabilities."""
        return task_named(self.task)

    @property
    def finite(self) -> bool:
        """Tell whether every parameter is a finite number."""
        return math.isfinite(self.intercept) and bool(np.isfinite(self.effects).all())

    @property
    def is_zero(self) -> bool:
        """Tell whether every row's score is exactly 0."""
        return self.intercept == 0 and not self.effects.any()

    def scores(self, codes: CodeArray) -> FloatArray:
        """Return the score of each row of `codes` (rows, features), shape (rows,), in log-odds."""
        total = np.full(codes.shape[0], self.intercept)
        for place, (start, feature) in enumerate(
            zip(self.binning.offsets, self.binning.features, strict=True)
        ):
            total += self.effects[start : start + feature.bins][codes[:, place]]
        return total

    def probabilities(self, codes: CodeArray) -> FloatArray:
        """Return the probability of a yes of each row of `codes`, shape (rows,)."""
        return self.link.mean(self.scores(codes))

    def shape(self, feature: str) -> tuple[tuple[str, ...], FloatArray]:
        """Return the bin labels of `feature` and their effects (bins,). Raises: KeyError."""
        for start, bins in zip(self.binning.offsets, self.binning.features, strict=True):
            if bins.name == feature:
                return bins.labels, self.effects[start : start + bins.bins].copy()
        raise KeyError(feature)

    def explain(self, codes: CodeArray) -> tuple[tuple[str, str, float], ...]:
        """Return what each feature adds to one row's score, the largest in absolute value first.

        Args: codes: (features,), the row's bins.
        Returns: feature, label of the row's bin, effect in log-odds. Together with the intercept
            the effects add up to the row's score; features of equal size keep their order.
        """
        parts = [
            (feature.name, feature.labels[code], float(self.effects[start + code]))
            for start, feature, code in zip(
                self.binning.offsets, self.binning.features, codes.tolist(), strict=True
            )
        ]
        return tuple(sorted(parts, key=lambda part: -abs(part[2])))

    def to_json(self) -> dict[str, object]:
        """Return the model as plain values of schema version 1."""
        return {
            "schema_version": SCHEMA_VERSION,
            "family": "additive",
            "task": self.task,
            "binning": self.binning.to_json(),
            "intercept": float(self.intercept),
            "effects": [float(effect) for effect in self.effects],
        }

    @staticmethod
    def from_json(value: Mapping[str, object]) -> "AdditiveModel":
        """Return the model of plain values. Raises: MessageInvalid, SettingInvalid (task, bins)."""
        try:
            file = _ModelFile.model_validate(dict(value))
        except ValidationError as error:
            raise MessageInvalid(kind="model", problem=first_problem(error)) from None
        if (file.schema_version, file.family) != (SCHEMA_VERSION, "additive"):
            raise MessageInvalid(kind="model", problem="another family or schema version")
        binning = Binning.from_json(file.binning)
        if len(file.effects) != binning.total:
            raise MessageInvalid(kind="model", problem="not one effect a bin")
        task_named(file.task)
        return AdditiveModel(binning, file.intercept, np.array(file.effects), file.task)

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the model's canonical bytes."""
        return digest(canonical_json(self.to_json()))


def zero_model(binning: Binning, *, task: str = "propensity") -> AdditiveModel:
    """Return the model every training starts from: each score is 0, each probability 1/2."""
    return AdditiveModel(binning, 0.0, np.zeros(binning.total), task)
