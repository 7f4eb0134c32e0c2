"""Settings of attacks on networks: membership, canaries, gradient inversion.

Guarantee: that of `attack_schema`.
"""

from typing import Literal

from pydantic import Field

from fedmkt.core.frozen import Frozen

_CUSTOMERS = "Customers of Adult that take part; with more of them each is hidden better."


class NoisedPart(Frozen):
    """A training with DP-SGD, in one place: what is known is what it releases."""

    width: int = Field(default=16, ge=1, le=256, description="Units of the hidden layer.")
    steps: int = Field(default=30, ge=1, le=2_000, description="Steps of the training.")
    clip_norm: float = Field(
        default=1.0, gt=0, le=1e3, description="L2 norm that a customer's gradient is clipped to."
    )
    noise_multiplier: float = Field(
        default=8.0,
        ge=0.01,
        le=1e4,
        description="Noise of a step over the clip norm. The page says what epsilon it comes to.",
    )
    sampling_rate: float = Field(
        default=0.5, gt=0, le=1, description="Every customer's chance to be in a step."
    )
    learning_rate: float = Field(default=0.5, gt=0, le=10, description="Step size.")
    delta: float = Field(default=1e-5, gt=0, lt=0.01, description="The delta of epsilon.")


class MembershipPart(NoisedPart):
    """Who was in a training, told from the finished model's scores by shadow models (LiRA)."""

    kind: Literal["membership"]
    customers: int = Field(default=200, ge=20, le=20_000, description=_CUSTOMERS)
    models: int = Field(
        default=24,
        ge=8,
        le=1_000,
        description="Shadow models of each defence. More of them make a better attack.",
    )


class CanariesPart(NoisedPart):
    """A lower bound on epsilon from canaries that are in a training by the toss of a coin."""

    kind: Literal["canaries"]
    customers: int = Field(default=300, ge=1, le=20_000, description=_CUSTOMERS)
    canaries: int = Field(
        default=300,
        ge=10,
        le=20_000,
        description="Canaries, one parameter of the network each. More of them can show more.",
    )


class InversionPart(Frozen):
    """Rows read back from one update of a network."""

    kind: Literal["gradient_inversion"]
    partners: int = Field(
        default=3, ge=3, le=50, description="Partners whose updates are summed where masks are on."
    )
    rows: int = Field(
        default=2, ge=1, le=100, description="Rows of each partner that the update is made of."
    )
    batches: int = Field(
        default=20, ge=2, le=1_000, description="Updates that are attacked, each of other rows."
    )
    width: int = Field(default=64, ge=1, le=1_024, description="Units of the hidden layer.")
    trained_steps: int = Field(
        default=20,
        ge=0,
        le=1_000,
        description="Steps that the model was trained for, on other rows, before the update that "
        "is attacked. A first update, at 0, moves the output layer alone and gives no row away.",
    )
    clip_norm: float = Field(
        default=1.0, gt=0, le=1e3, description="L2 norm that a row's gradient is clipped to."
    )
    noise_multiplier: float = Field(
        default=1.0, ge=0.01, le=1e4, description="Noise of an update over the clip norm."
    )
