"""The aligned customers of the vertical demonstration in one place, and what is trained on them.

Guarantee: the rows are those the nodes trained on, read by their own rules, in their own order; the
holdout is the last of them, which no model here was trained on.
Not guaranteed: privacy. No deployment could bring these columns together; what is made of them here
stands beside the runs for comparison, and the report says so.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.shared_permissions import terms_of
from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.data.binning import Binning, binning_from_schema
from fedmkt.node.alignments import aligned_rows, read_alignment
from fedmkt.node.model_parts import read_part
from fedmkt.simulation.vertical_plan import ALIGNMENT, JOINT, OWNER, TARGET, dataset_of
from fedmkt.simulation.vertical_study import VerticalStudy
from fedmkt.vertical.party import step_size
from fedmkt.vertical.plan import noise_sigma
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.twin import Columns, Noise, train_twin


@dataclass(frozen=True, slots=True)
class Together:
    """All members' columns of the aligned customers. columns: by member. target: (rows,)."""

    study: VerticalStudy = field(repr=False)
    columns: dict[str, Columns] = field(repr=False)
    target: NDArray[np.uint8] = field(repr=False)

    @property
    def joint(self) -> VerticalJob:
        """Return the job of the joint training; all comparisons share its settings."""
        return self.study.trainings[JOINT]

    @property
    def training(self) -> int:
        """Return the number of customers that are trained on."""
        return training_rows(len(self.target), self.joint.model.holdout)

    @property
    def held_out(self) -> NDArray[np.uint8]:
        """Return the labels of the holdout, shape (held out rows,)."""
        return self.target[self.training :]


def bring_together(study: VerticalStudy) -> Together:
    """Read every member's columns of the aligned customers at its node."""
    job, columns, target = study.trainings[JOINT], {}, None
    for party in job.parties:
        member, home = party.member, study.home(party.member)
        dataset = home.contract.dataset(dataset_of(member))
        assert dataset is not None
        binning = binning_from_schema(dataset.table, party.features, max_bins=job.model.max_bins)
        label = TARGET if member == OWNER else None
        rows = aligned_rows(home, dataset, read_alignment(home, ALIGNMENT), binning, label)
        columns[member] = Columns(member, binning, rows.codes, terms_of(dataset).least_bin)
        target = rows.target if member == OWNER else target
    assert target is not None
    return Together(study, columns, target)


def scores_alone(together: Together, member: str) -> FloatArray:
    """Return the holdout's scores of a model on one member's columns alone, without noise.

    For a partner the owner brings nothing but labels.
    """
    own = together.columns[member]
    parties = [own] if member == OWNER else [_labels_alone(together), own]
    twin = train_twin(parties, together.target, together.joint.model)
    return twin.scores[together.training :]


def scores_without_noise(together: Together) -> FloatArray:
    """Return the holdout's scores of the joint model as it is trained without noise."""
    twin = train_twin(list(together.columns.values()), together.target, together.joint.model)
    return twin.scores[together.training :]


def scores_of_run(together: Together) -> FloatArray:
    """Return the holdout's scores of the joint run, as the owner's node knows them."""
    part = read_part(together.study.home(OWNER), JOINT)
    assert part.total is not None
    own = part.model.scores(together.columns[OWNER].codes)
    size = step_size(limit=part.limit, levels=part.steps)
    return np.asarray(own + part.total * size)[together.training :]


def totals_seen(together: Together, run: str) -> IntArray:
    """Return the totals an owner sees of a training like `run`, shape (rows, rounds), in steps.

    Trained anew in one place, with the run's settings and noise of the run's scale.
    """
    job = together.study.trainings[run]
    source = together.study.home(OWNER).noise.stream(f"{run}/totals for the attack")
    parties = [together.columns[member] for member in job.members]
    noise = Noise(sigma=noise_sigma(job), source=source)
    return train_twin(parties, together.target, job.model, noise=noise).totals


def _labels_alone(together: Together) -> Columns:
    """Return the owner's part without a column."""
    own = together.columns[OWNER]
    return Columns(OWNER, Binning(()), own.codes[:, :0])
