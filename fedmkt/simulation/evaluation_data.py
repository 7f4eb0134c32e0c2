"""Public evaluation data: rows everybody may look at, so that measuring on them costs nothing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.schema import TableSchema
from fedmkt.core.stages import Examples, FloatArray
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.data.tables import positives
from fedmkt.evaluation.metrics import Interval, RocBand, auc_interval, log_loss, roc_band
from fedmkt.models.kept import AnyModel
from fedmkt.models.network_shape import NetworkInputs, NetworkWeights, network_inputs

if TYPE_CHECKING:
    from fedmkt.models.network import Network

_NAME = "the public table"


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
        codes = encode(self.frame, binning, dataset=_NAME)
        return Examples(codes, self._positives())

    def scores(self, model: AnyModel) -> tuple[NDArray[np.uint8], FloatArray]:
        """Return targets and scores of every row, each of shape (rows,). Raises: ExtraMissing."""
        if isinstance(model, NetworkWeights):
            network = _network(model)
            return self._positives(), network.scores(self._inputs(model))
        examples = self.examples(model.binning)
        return examples.target, model.scores(examples.codes)

    def auc(self, model: AnyModel) -> Interval:
        """Return the AUC with its 95% interval."""
        return auc_interval(*self.scores(model))

    def curve(self, model: AnyModel) -> RocBand:
        """Return the ROC curve with its 95% band."""
        return roc_band(*self.scores(model))

    def loss(self, model: AnyModel) -> float:
        """Return the mean log loss in nats."""
        if isinstance(model, NetworkWeights):
            probabilities = _network(model).probabilities(self._inputs(model))
            return log_loss(self._positives(), probabilities)
        examples = self.examples(model.binning)
        return log_loss(examples.target, model.probabilities(examples.codes))

    def _positives(self) -> NDArray[np.uint8]:
        return positives(self.frame, self.schema, self.target)

    def _inputs(self, model: NetworkWeights) -> NetworkInputs:
        return network_inputs(self.frame, model.shape, dataset=_NAME)


def _network(weights: NetworkWeights) -> "Network":
    # Only who measures a network needs the library that computes one.
    from fedmkt.models.network import Network

    return Network(weights.shape, weights.parameters)
