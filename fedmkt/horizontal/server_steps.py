"""What the coordinator makes of the mean update of a round: FedAvg, FedAvgM, FedAdam, FedYogi.

With d the mean update of a round (after training minus before), each rule moves parameters x so:

    fedavg    x += rate d
    fedavgm   m = momentum m + d;               x += rate m
    fedadam   m = beta_1 m + (1 - beta_1) d;    x += rate m / (sqrt(v) + tau)
              v = beta_2 v + (1 - beta_2) d^2
    fedyogi   as fedadam, with v = v - (1 - beta_2) d^2 sign(v - d^2)

m starts at 0 and v at tau^2, and nothing is corrected for that start: the algorithm as printed in
the paper. Flower's FedAdam and FedYogi start v at 0, and its FedAdam multiplies the rate of round t
by sqrt(1 - beta_2^(t + 1)) / (1 - beta_1^(t + 1)); a rate that suits one need not suit the other.

Guarantee: a state follows from the settings, the first parameters and the mean updates alone, and
is never changed in place. Equal inputs give equal bits on one machine.
Not guaranteed: privacy. A state tells what its updates told and no more; noise comes before.

Sources: Reddi et al. 2021, arXiv:2003.00295, algorithm 2; momentum, Hsu et al. 2019,
arXiv:1909.06335, section 4.3.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.network_settings import ServerSettings
from fedmkt.core.errors import TrainingDiverged
from fedmkt.core.stages import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ServerState:
    """Where a training stands after so many rounds.

    exact: (length,), the parameters in double precision, so that small steps add up. momentum: m,
    spread: v of the module; both (length,). A rule leaves what it does not need as it was.
    """

    settings: ServerSettings
    rounds: int
    exact: FloatArray = field(repr=False)
    momentum: FloatArray = field(repr=False)
    spread: FloatArray = field(repr=False)

    @property
    def parameters(self) -> NDArray[np.float32]:
        """Return the parameters that the next round starts from, shape (length,)."""
        return self.exact.astype(np.float32)


def initial(settings: ServerSettings, parameters: NDArray[np.float32]) -> ServerState:
    """Return the state before the first round. Args: parameters: (length,)."""
    exact = parameters.astype(np.float64)
    return ServerState(
        settings, 0, exact, np.zeros_like(exact), np.full_like(exact, settings.tau**2)
    )


def advance(state: ServerState, mean_update: FloatArray) -> ServerState:
    """Return the state after one more round. Args: mean_update: (length,).

    Raises: TrainingDiverged where the update, m, v or the float32 parameters are not finite.
    """
    assert mean_update.shape == state.exact.shape, "an update has one entry a parameter"
    update = mean_update.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        momentum, spread = _moments(state, update)
        step = momentum if state.settings.rule != "fedavg" else update
        if state.settings.rule in ("fedadam", "fedyogi"):
            step = momentum / (np.sqrt(spread) + state.settings.tau)
        after = replace(
            state,
            rounds=state.rounds + 1,
            exact=state.exact + state.settings.rate * step,
            momentum=momentum,
            spread=spread,
        )
        sent = after.parameters
    if not all(np.isfinite(one).all() for one in (update, momentum, spread, sent)):
        raise TrainingDiverged(round=after.rounds)
    return after


def _moments(state: ServerState, update: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return m and v after this update."""
    settings, momentum, spread = state.settings, state.momentum, state.spread
    if settings.rule == "fedavg":
        return momentum, spread
    if settings.rule == "fedavgm":
        return settings.momentum * momentum + update, spread
    momentum = settings.beta_1 * momentum + (1 - settings.beta_1) * update
    square = np.square(update)
    if settings.rule == "fedadam":
        return momentum, settings.beta_2 * spread + (1 - settings.beta_2) * square
    return momentum, spread - (1 - settings.beta_2) * square * np.sign(spread - square)
