"""Settings of attacks on split trainings: label inference, feature inversion.

Guarantee: that of `attack_schema`. What is not said here is as a job has it by default.
"""

from typing import Literal

from pydantic import Field, model_validator

from fedmkt.contract.split_job import SplitSettings
from fedmkt.core.frozen import Frozen

_USUAL = SplitSettings()
Partner = Literal["retailer", "map_provider"]
Column = Literal["occupation", "relationship", "education", "marital_status", "native_country"]


class SplitPart(Frozen):
    """A split training on Adult's columns at bank, retailer and map provider."""

    customers: int = Field(
        default=3_000,
        ge=400,
        le=32_561,
        description="Customers of Adult that take part; a quarter of them is held out, and not "
        "attacked.",
    )
    known: int = Field(
        default=300,
        ge=50,
        le=10_000,
        description="Customers whose label or column the attacker knows and learns from; at most "
        "half of the customers.",
    )
    rounds: int = Field(
        default=_USUAL.rounds,
        ge=1,
        le=100,
        description="Rounds of the training: each shows activations and gradients once more.",
    )
    local_steps: int = Field(
        default=_USUAL.local_steps, ge=1, le=200, description="A member's steps in a round."
    )
    activations: int = Field(
        default=_USUAL.activations,
        ge=1,
        le=16,
        description="Numbers that a partner's network shows of a customer.",
    )

    @model_validator(mode="after")
    def _others_left(self) -> "SplitPart":
        if 2 * self.known > self.customers:
            raise ValueError("known customers must be at most half of all")
        return self

    @property
    def settings(self) -> SplitSettings:
        """Return the job's settings, before any defence."""
        return _USUAL.model_copy(
            update={name: getattr(self, name) for name in ("rounds", "local_steps", "activations")}
        )


class LabelInferencePart(SplitPart):
    """Labels that a partner reads from gradients."""

    kind: Literal["label_inference"]
    partner: Partner = Field(default="retailer", description="The partner that attacks.")
    epsilon: float = Field(
        default=3.0,
        ge=0.01,
        le=100,
        description="Of labels that are randomised once; 3 is the vertical demonstration's.",
    )
    gradient_bound: float = Field(
        default=_USUAL.gradient_bound,
        ge=1e-3,
        le=1e3,
        description="L2 norm that a customer's gradient is clipped to.",
    )
    gradient_noise: float = Field(
        default=1.0,
        ge=0.001,
        le=1e3,
        description="Standard deviation of the noise on each number of a gradient. A job has none "
        "unless it asks for it; the level noise off is the usual job.",
    )


class FeatureInversionPart(SplitPart):
    """Columns that the label owner reads from partners' activations."""

    kind: Literal["feature_inversion"]
    activation_bound: float = Field(
        default=_USUAL.activation_bound,
        ge=1e-3,
        le=1e3,
        description="L2 norm that a customer's activations never pass, with the noise off as well.",
    )
    columns: tuple[Column, ...] = Field(
        default=("occupation", "relationship"),
        min_length=1,
        description="The partners' columns that are read; the first is the main figure.",
    )
    activation_noise: float = Field(
        default=2.0,
        ge=0.001,
        le=1e3,
        description="Standard deviation of the noise on each number shown; the page says what it "
        "costs the model. A job has none unless it asks for it.",
    )

    @model_validator(mode="after")
    def _once(self) -> "FeatureInversionPart":
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("columns must differ")
        return self
