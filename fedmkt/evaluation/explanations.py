"""What an additive model says about features.

Guarantee: post-processing of a model and of released counts; no row is read.
Not guaranteed: that an effect is a cause, or that one of two dependent features gets all of it.
"""

from dataclasses import dataclass

import numpy as np

from fedmkt.core.stages import FloatArray
from fedmkt.models.additive import AdditiveModel


@dataclass(frozen=True, slots=True)
class FeatureShape:
    """One feature: its bins' labels and effects (bins,), in log-odds, and its importance."""

    feature: str
    labels: tuple[str, ...]
    effects: FloatArray
    importance: float


def feature_shapes(model: AdditiveModel, counts: FloatArray) -> tuple[FeatureShape, ...]:
    """Return every feature's shape, the most important first.

    Effects are centred so that their mean over customers (by `counts`) is 0; importance is the
    mean size of the effect over customers, in log-odds. counts: (total,), at least 0.
    Source: Nori et al. 2019, arXiv:1909.09223 (importance as mean absolute contribution).
    """
    shapes = []
    for start, feature in zip(model.binning.offsets, model.binning.features, strict=True):
        weights = counts[start : start + feature.bins]
        labels, effects = model.shape(feature.name)
        centred = effects - np.average(effects, weights=weights)
        importance = float(np.average(np.abs(centred), weights=weights))
        shapes.append(FeatureShape(feature.name, labels, centred, importance))
    return tuple(sorted(shapes, key=lambda shape: -shape.importance))


def importance(model: AdditiveModel, counts: FloatArray) -> dict[str, float]:
    """Return the importance of each feature, the greatest first, in log-odds."""
    return {shape.feature: shape.importance for shape in feature_shapes(model, counts)}
