"""A split training: every member a network over its own columns, joined at the label owner.

Guarantee: as for every job, what decides what leaves a node stands in it. Its two modes are none
that a contract has by default: each member's vertical terms must name them.
Not guaranteed: privacy of columns. Activations are numbers of each customer by itself; they are
counted, whatever noise stands in them, because no epsilon bounds them.
"""

from typing import Literal, get_args

from pydantic import Field, model_validator

from fedmkt.contract.collaboration import SplitMode
from fedmkt.contract.vertical_jobs import SMALLEST, Delta, Epsilon, LabelledJob
from fedmkt.core.frozen import Frozen

SPLIT_MODES: tuple[SplitMode, ...] = get_args(SplitMode)


class SplitSettings(Frozen):
    """The networks of a split training, and how they are trained.

    activations: numbers a partner's network shows of a customer; the owner's has as many. width,
    top_width: hidden units below and above them, 0 for none. activation_bound: L2 norm that a
    customer's activations never pass. activation_noise: standard deviation of the noise on each.
    gradient_bound: L2 norm to which the gradient of a customer's loss by a partner's activations is
    clipped. gradient_noise: as above. rounds: exchanges of activations for gradients. local_steps:
    steps of every member in each. weight_decay: share of each parameter, times the learning rate,
    that a step takes away. proximal: how strongly a partner stays with the activations that
    the owner saw. holdout: as in the additive training.
    """

    activations: int = Field(default=8, ge=1, le=16)
    width: int = Field(default=32, ge=0, le=256)
    top_width: int = Field(default=16, ge=0, le=256)
    rounds: int = Field(default=10, ge=1, le=1000)
    local_steps: int = Field(default=20, ge=1, le=200)
    learning_rate: float = Field(default=0.02, ge=1e-6, le=1)
    weight_decay: float = Field(default=0.3, ge=0, le=100)
    proximal: float = Field(default=1.0, ge=0, le=1e3)
    activation_bound: float = Field(default=4.0, ge=SMALLEST, le=1e3)
    activation_noise: float = Field(default=0.0, ge=0, le=1e3)
    gradient_bound: float = Field(default=4.0, ge=SMALLEST, le=1e3)
    gradient_noise: float = Field(default=0.0, ge=0, le=1e3)
    holdout: float = Field(default=0.25, ge=0, le=0.5)


class SplitPrivacy(Frozen):
    """How labels are protected. epsilon: of labels that are randomised once, before all else."""

    mode: SplitMode = "split_label_private"
    epsilon: Epsilon | None = None
    delta: Delta = 1e-5

    @model_validator(mode="after")
    def _stated(self) -> "SplitPrivacy":
        if (self.epsilon is not None) != (self.mode == "split_label_private"):
            raise ValueError("mode split_label_private states epsilon, the other mode none")
        return self


class SplitJob(LabelledJob):
    """One split training over the columns of several members."""

    kind: Literal["split"] = "split"
    model: SplitSettings = SplitSettings()
    labels: SplitPrivacy
