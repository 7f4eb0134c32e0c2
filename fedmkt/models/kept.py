"""A finished model of any family, as nodes and the coordinator keep it."""

from collections.abc import Mapping

from fedmkt.models.additive import AdditiveModel
from fedmkt.models.network_shape import NetworkWeights
from fedmkt.wire.canonical import canonical_json

AnyModel = AdditiveModel | NetworkWeights


def model_from_json(value: Mapping[str, object]) -> AnyModel:
    """Return the model of plain values. Raises: MessageInvalid, SettingInvalid."""
    if value.get("family") == "network":
        return NetworkWeights.from_json(value)
    return AdditiveModel.from_json(value)


def model_bytes(model: AnyModel) -> bytes:
    """Return the canonical JSON of a model."""
    return canonical_json(model.to_json())
