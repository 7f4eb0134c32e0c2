"""What a job says of a network: its layers, how partners train it, how their updates are joined.

Guarantee: with the job's privacy settings this decides what leaves a node, how often and with how
much noise, before data are touched.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from fedmkt.core.frozen import Frozen

Algorithm = Literal["fedsgd", "fedavg", "fedprox", "scaffold"]
JoiningRule = Literal["sum", "median", "trimmed_mean", "krum"]
ServerRule = Literal["fedavg", "fedavgm", "fedadam", "fedyogi"]


class ServerSettings(Frozen):
    """What the coordinator makes of a round's mean update; the rules of `horizontal.server_steps`.

    rate: what a step is multiplied by; 1 for fedavg takes the mean update as it is. momentum: of
    fedavgm. beta_1, beta_2, tau: of fedadam and fedyogi; tau is in units of an update's entries.
    average: decay of a mean of the parameters over rounds, which is what the job returns;
    0 returns the last ones.
    """

    rule: ServerRule = "fedavg"
    rate: float = Field(default=1.0, ge=1e-6, le=1e3)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.99, ge=0, lt=1)
    tau: float = Field(default=1e-3, ge=1e-12, le=1)
    average: float = Field(default=0.0, ge=0, lt=1)


class JoiningSettings(Frozen):
    """How the updates of a round become one.

    rule: `sum` adds them masked, so that nobody sees one by itself. The others bear `faulty`
    partners that send what they like, and need every update in the open: `median` (any minority),
    `trimmed_mean`, `krum`. The contract has to allow that.
    """

    rule: JoiningRule = "sum"
    faulty: int = Field(default=0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.faulty and self.rule not in ("trimmed_mean", "krum"):
            raise ValueError("faulty belongs to trimmed_mean and krum")
        return self

    @property
    def fewest(self) -> int:
        """Return how many updates the rule needs, whatever `faulty` of them hold."""
        needed = {"trimmed_mean": 2 * self.faulty + 1, "krum": 2 * self.faulty + 3}
        return needed.get(self.rule, 1)


class NetworkSettings(Frozen):
    """A network and its training.

    width: of its hidden layers, 0 for a linear model. blocks: residual layers. start: names the
    parameters it starts from. algorithm: `fedsgd` sums gradients; the others train `local_steps`
    steps at each partner, whose changes are averaged by their customers: `fedavg` plainly,
    `fedprox` drawn back to the round's start by `proximal`, `scaffold` with control variates.
    learning_rate: of local steps. sampling_rate: everybody's chance to be in a step. clip_norm: L2
    norm that a customer's gradient is clipped to; none leaves gradients whole, without noise alone.
    personal_head: the last layer stays at each partner.
    """

    family: Literal["network"] = "network"
    task: Literal["propensity"] = "propensity"
    width: int = Field(default=0, ge=0, le=4096)
    blocks: int = Field(default=0, ge=0, le=16)
    start: int = Field(default=0, ge=0, lt=2**32)
    algorithm: Algorithm = "fedavg"
    rounds: int = Field(default=20, ge=1, le=1000)
    local_steps: int = Field(default=10, ge=1, le=10_000)
    learning_rate: float = Field(default=0.5, ge=1e-6, le=1e3)
    proximal: float = Field(default=0.0, ge=0, le=1e3)
    sampling_rate: float = Field(default=1.0, ge=2.0**-20, le=1)
    clip_norm: float | None = Field(default=None, ge=1e-6, le=1e6)
    personal_head: bool = False
    server: ServerSettings = ServerSettings()
    joining: JoiningSettings = JoiningSettings()

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.blocks and not self.width:
            raise ValueError("blocks need a width")
        if self.sums_gradients and self.personal_head:
            raise ValueError("personal_head needs local steps, which fedsgd has none of")
        if self.sums_gradients and self.updates_seen:
            raise ValueError("a robust joining.rule needs local steps, which fedsgd has none of")
        if bool(self.proximal) != (self.algorithm == "fedprox"):
            raise ValueError("proximal, above 0, belongs to fedprox and to it alone")
        return self

    @property
    def sums_gradients(self) -> bool:
        """Tell whether a round is one sum of gradients, and not of partners' own trainings."""
        return self.algorithm == "fedsgd"

    @property
    def updates_seen(self) -> bool:
        """Tell whether the coordinator sees every partner's update."""
        return self.joining.rule != "sum"

    @property
    def steps_a_round(self) -> int:
        """Return how many steps over sampled customers a round takes at a partner."""
        return 1 if self.sums_gradients else self.local_steps
