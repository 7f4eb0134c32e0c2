"""What a vertical training is at a node before its first round: its price, and the rows it reads.

Guarantee: none by itself; `fedmkt.node.vertical` makes both, in that order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.data.aligned import AlignedRows
from fedmkt.data.binning import Binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.alignments import Alignment
from fedmkt.node.answer import Priced
from fedmkt.node.model_parts import ModelPart
from fedmkt.vertical.residuals import training_rows


@dataclass(frozen=True, slots=True)
class PricedTraining(Priced):
    """A vertical training. binnings: the public bins of every member, by name."""

    job: VerticalJob
    binnings: dict[str, Binning]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a training reads at a node. least_bin: smaller bins are merged."""

    alignment: Alignment
    rows: AlignedRows
    least_bin: int

    @property
    def count(self) -> int:
        """Return the number of aligned customers."""
        return len(self.rows.codes)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Return the labels of the aligned customers, (rows,); the owner's node alone has them."""
        assert self.rows.target is not None
        return self.rows.target

    def padded(self, job: VerticalJob) -> int:
        """Return to how many customers what is sent of those trained on is padded."""
        return training_rows(self.alignment.padded, job.model.holdout)

    def training(self, job: VerticalJob) -> int:
        """Return the number of customers that are trained on: all but the holdout at the end."""
        return training_rows(self.count, job.model.holdout)


def part_of(
    run: str,
    job: VerticalJob,
    customers: int,
    model: AdditiveModel,
    total: NDArray[np.int32] | None = None,
) -> ModelPart:
    """Return a member's part of a training's model; total: at the owner, as in `ModelPart`."""
    return ModelPart(
        run=run,
        alignment=job.alignment,
        owner=job.owner,
        members=job.members,
        target=job.target,
        levels=job.model.levels,
        limit=job.model.limit,
        customers=customers,
        model=model,
        total=total,
    )
