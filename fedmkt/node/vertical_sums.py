"""The sums of a round at the label owner: noise over everybody's, and the owner's own step.

Guarantee: where the job has noise, every sum that leaves this node or moves its own block and
intercept carries it, in one draw, since all of them feed everybody's next residuals.
Not guaranteed: noise on the owner's own sums where residuals are shown to the partners anyway, or
where the job states none.
"""

import numpy as np

from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.core.errors import PositivesTooFew
from fedmkt.core.stages import IntArray, LocalUpdate
from fedmkt.node.home import NodeHome
from fedmkt.node.shared_state import SharedState
from fedmkt.node.vertical_data import Loaded
from fedmkt.privacy.mechanisms import add_noise
from fedmkt.vertical.party import PartyModel, intercept_step, step
from fedmkt.vertical.plan import noise_sigma
from fedmkt.vertical.residuals import GRID, bin_sums, label_bound

_POSITIVES_SIGMAS = 4.0
_NOISED = "LocalUpdate PrivateUpdate MaskedProducts"
_BARE = "LocalUpdate NoiselessUpdate MaskedProducts"


def noised_sums(
    home: NodeHome,
    state: SharedState,
    job: VerticalJob,
    units: IntArray,
    loaded: Loaded,
    lengths: dict[str, int],
    index: int,
) -> tuple[IntArray, dict[str, IntArray], str | None]:
    """Return the owner's own sums, noised, each partner's noise, and the stages of the release.

    Args: units: this round's residuals, (rows,), in grid units. lengths: bins of each member.
    Returns: own sums, (bins + 1,), the total last; noise by partner, (its bins,); no stages where
    nothing is released, since labels were randomised before.
    """
    mine = _own_sums(PartyModel.from_json(state.memory["party"]), units, loaded)
    zeros = [np.zeros(lengths[partner], dtype=np.int64) for partner in job.partners]
    values = np.concatenate([mine, *zeros])
    stage: str | None = None
    if job.labels.noise_multiplier is not None:
        update = LocalUpdate(values, label_bound(job.features))
        # Privacy: one draw over all parties' sums, the owner's own and the total included; one
        # label moves them together by the bound the price was set for.
        values = add_noise(
            update,
            noise_multiplier=job.labels.noise_multiplier,
            shares=1,
            trust="local",
            source=home.noise.stream(f"{state.run}/{index}/{home.member}"),
        ).values
        stage = _NOISED
    elif job.labels.mode == "encrypted_without_noise":
        stage = _BARE
    parts = np.split(values, np.cumsum([len(mine), *(len(one) for one in zeros)])[:-1])
    return parts[0], dict(zip(job.partners, parts[1:], strict=True)), stage


def stepped(
    state: SharedState,
    job: VerticalJob,
    units: IntArray,
    loaded: Loaded,
    *,
    noised: IntArray | None,
    index: int,
) -> SharedState:
    """Step with the owner's own sums.

    Args: noised: what `noised_sums` returned first; None where the job has no such sums.
    Raises: PositivesTooFew, as far as the noise tells.
    """
    own = PartyModel.from_json(state.memory["party"])
    if noised is None:
        noised = _own_sums(own, units, loaded)
    sums, total = noised[:-1], int(noised[-1])
    sigma = noise_sigma(job)
    if index == 0:
        _check_positives(job, total, len(units), sigma, loaded.alignment.dataset)
    own = step(own, sums, noise=sigma, settings=job.model)
    intercept = intercept_step(
        state.memory["intercept"],
        total,
        customers=len(units),
        round_index=index,
        settings=job.model,
    )
    return state.remembering(party=own.to_json(), intercept=intercept)


def _own_sums(own: PartyModel, units: IntArray, loaded: Loaded) -> IntArray:
    """Return the sums of residuals over the owner's bins and, last, over all rows, (bins + 1,)."""
    codes = own.merging.stand_ins(loaded.rows.codes[: len(units)])
    return np.append(bin_sums(units, codes, own.merging.public), units.sum())


def _check_positives(job: VerticalJob, total: int, rows: int, sigma: float, dataset: str) -> None:
    # Privacy: judged by the noised total, which is released anyway.
    share = 0.5 + total / GRID / rows
    unsure = max(_POSITIVES_SIGMAS * sigma / GRID, 1.0) / rows
    if not unsure < share < 1 - unsure:
        raise PositivesTooFew(target=job.target, dataset=dataset)
