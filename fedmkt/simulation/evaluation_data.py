"""Public evaluation data: rows everybody may look at, so that measuring on them costs nothing."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.schema import TableSchema
from fedmkt.core.stages import Examples, FloatArray
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.data.tables import positives
from fedmkt.evaluation.metrics import Interval, RocBand, auc_interval, log_loss, roc_band
from fedmkt.models.additive import AdditiveModel


@dataclass(frozen=True, slots=True)
class PublicTable:
    """A public table with its declared schema and target."""

    frame: pl.DataFrame
    schema: TableSchema
    target: str

    def binning(self, features: tuple[str, ...], max_bins: int) -> Binning:
        """Return the public bins of `features`."""
        return binning_from_schema(self.schema, features, max_bins=max_bins)

    def examples(self, binning: Binning) -> Examples:
        """Return the rows as bin codes and targets."""
        codes = encode(self.frame, binning, dataset="the public table")
        return Examples(codes, positives(self.frame, self.schema, self.target))

    def scores(self, model: AdditiveModel) -> tuple[NDArray[np.uint8], FloatArray]:
        """Return targets and scores of every row, each of shape (rows,)."""
        examples = self.examples(model.binning)
        return examples.target, model.scores(examples.codes)

    def auc(self, model: AdditiveModel) -> Interval:
        """Return the AUC with its 95% interval."""
        return auc_interval(*self.scores(model))

    def curve(self, model: AdditiveModel) -> RocBand:
        """Return the ROC curve with its 95% band."""
        return roc_band(*self.scores(model))

    def loss(self, model: AdditiveModel) -> float:
        """Return the mean log loss in nats."""
        examples = self.examples(model.binning)
        return log_loss(examples.target, model.probabilities(examples.codes))
