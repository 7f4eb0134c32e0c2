"""One vertical training of a trial: the owner with some partners, as deployed or in one place.

Guarantee: in mode `encrypted` both ways give the same models to the last bit, with noise and
without: sums are integers, the order of customers moves none of them, and noise follows from the
seed. In mode `label_private` the order of customers says whose label is flipped, and an alignment's
order is drawn anew each time; such trainings are made in one place only.
Not guaranteed: privacy, in one place. Whoever runs this holds everybody's columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.collaboration import VerticalTerms
from fedmkt.contract.job import AdditiveSettings
from fedmkt.contract.vertical_jobs import (
    LabelPrivacy,
    Party,
    VerticalJob,
    VerticalSettings,
)
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.core.errors import PartitionImpossible
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.data.binning import Binning, encode
from fedmkt.data.tables import positives
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.privacy.randomised_response import randomise_labels, unbiased
from fedmkt.simulation.partitions.columns import KEYS
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.vertical_customers import SharedCustomers
from fedmkt.simulation.scenario.vertical_world import (
    ALIGNMENT,
    dataset_of,
    train_deployed,
)
from fedmkt.simulation.vertical_partition import PURPOSE
from fedmkt.vertical.party import as_shown, begin
from fedmkt.vertical.plan import calibrated_multiplier, label_releases, noise_sigma
from fedmkt.vertical.twin import Columns, Noise, train_alone, train_twin

Models = Mapping[str, AdditiveModel]
_LEAST_BIN = VerticalTerms(keys=KEYS).least_bin


@dataclass(frozen=True, slots=True)
class Joint:
    """What a training gave. models: each party's part as it counts in a score, the owner's with the
    intercept. outcome: what was sent, None in one place."""

    models: Models
    outcome: SharedOutcome | None = None


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains the owner's model with any of the partners. seed: the trial's."""

    setting: Setting
    customers: SharedCustomers
    seed: int

    def job(self, partners: tuple[str, ...], *, noised: bool = True) -> VerticalJob:
        """Return the job of a training, its noise calibrated. Raises: EpsilonInvalid."""
        owner, columns = self.customers.owner, self.customers.columns
        return VerticalJob(
            name="trial",
            requester=owner,
            purpose=PURPOSE,
            parties=tuple(
                Party(member=name, dataset=dataset_of(name), features=columns[name])
                for name in (owner, *partners)
            ),
            alignment=ALIGNMENT,
            owner=owner,
            target=self.customers.target,
            model=vertical_settings(self.setting),
            labels=self._labels((owner, *partners), noised=noised),
        )

    def alone(self) -> AdditiveModel:
        """Return the owner's own model of all its customers. Raises: as `train_twin`."""
        rows = np.arange(self.customers.training.height)
        own = self._columns(self.customers.owner, rows)
        return train_alone(own, self._target(rows), vertical_settings(self.setting))

    def in_one_place(self, job: VerticalJob, run: str) -> Joint:
        """Train by the protocol's steps alone. Raises: as `train_twin`, PartitionImpossible."""
        rows = shared_rows(self.customers, job.partners)
        parties = [self._columns(name, rows) for name in job.members]
        target: NDArray[np.uint8] | FloatArray = self._target(rows)
        # As `build_world` seeds the nodes: the owner's is the first.
        seed, noise = self.seed * len(parties), None
        if job.labels.mode == "encrypted":
            own = parties[0].binning.total
            noise = Noise(noise_sigma(job), _Replayed(seed, job, run, own=own))
        if job.labels.mode == "label_private":
            assert job.labels.epsilon is not None
            stream = ReproducibleNoise(seed).stream(f"{run}/labels/{job.owner}")
            drawn = randomise_labels(self._target(rows), epsilon=job.labels.epsilon, source=stream)
            target = unbiased(drawn, job.labels.epsilon)
        twin = train_twin(parties, target, job.model, noise=noise)
        limit, levels = job.model.limit, job.model.levels
        shown = (as_shown(model, limit=limit, levels=levels) for model in twin.models[1:])
        return Joint(dict(zip(job.members, (twin.models[0], *shown), strict=True)))

    def as_deployed(self, job: VerticalJob, run: str, folder: Path) -> Joint:
        """Align and train over the members' own homes, in an empty folder.

        Raises: what the runs raise, PartitionImpossible, ColumnConstant.
        """
        rows = shared_rows(self.customers, job.partners)
        for name in job.members:
            # A failed node keeps the reason in its own log; here there is nobody who reads it.
            own = self._columns(name, rows)
            begin(own.codes, own.binning, least=own.least, dataset=dataset_of(name))
        held = {name: self.customers.parties[name] for name in job.members}
        models, outcome = train_deployed(job, held, seed=self.seed, run=run, folder=folder)
        return Joint(models, outcome)

    def spent(self, job: VerticalJob) -> float | None:
        """Return what a training costs the label of a customer, None without noise."""
        if job.labels.epsilon is None:
            return None
        bins = sum(self.binning(name).total for name in job.members)
        events = [release.event for release in label_releases(job, bins=bins)]
        return epsilon_of(events, job.labels.delta)

    def binning(self, party: str) -> Binning:
        """Return the public bins of a party's columns."""
        settings = vertical_settings(self.setting)
        return self.customers.public.binning(self.customers.columns[party], settings.max_bins)

    def _labels(self, members: tuple[str, ...], *, noised: bool) -> LabelPrivacy:
        asked, mode = self.setting.privacy, self.setting.vertical.mode
        epsilon = asked.budget if noised else None
        if epsilon is None:
            return LabelPrivacy(mode="encrypted_without_noise")
        if mode == "label_private":
            return LabelPrivacy(mode=mode, epsilon=epsilon, delta=asked.delta)
        multiplier = calibrated_multiplier(
            epsilon=epsilon,
            delta=asked.delta,
            rounds=vertical_settings(self.setting).rounds,
            features=sum(len(self.customers.columns[name]) for name in members),
            bins=sum(self.binning(name).total for name in members),
        )
        return LabelPrivacy(
            mode=mode, epsilon=epsilon, delta=asked.delta, noise_multiplier=multiplier
        )

    def _columns(self, party: str, rows: IntArray) -> Columns:
        binning = self.binning(party)
        codes = encode(self.customers.training[rows], binning, dataset=dataset_of(party))
        return Columns(party, binning, codes, _LEAST_BIN)

    def _target(self, rows: IntArray) -> NDArray[np.uint8]:
        frame = self.customers.training[rows]
        return positives(frame, self.customers.schema, self.customers.target)


def shared_rows(customers: SharedCustomers, partners: Sequence[str]) -> IntArray:
    """Return the training rows whom the owner and all of `partners` know, ascending.

    Raises: PartitionImpossible where there are none.
    """
    known = set[int].intersection(
        *(set(customers.parties[name].people.tolist()) for name in (customers.owner, *partners))
    )
    if not known:
        raise PartitionImpossible(
            problem=f"nobody is a customer of all of {', '.join(partners)}",
            advice="Use a larger overlap or a larger table.",
        )
    return np.array(sorted(known), dtype=np.int64)


def vertical_settings(setting: Setting) -> VerticalSettings:
    """Return the model's settings; test customers stand apart, so that none are held out."""
    model, part = setting.model, setting.vertical
    assert isinstance(model, AdditiveSettings), "the family's own check"
    return VerticalSettings(
        max_bins=model.max_bins,
        rounds=model.rounds,
        ridge=model.ridge,
        smoothness=model.smoothness,
        step=model.step,
        levels=part.score_levels,
        limit=part.score_limit,
        holdout=0.0,
    )


class _Replayed(ReproducibleNoise):
    """The noise that an owner's node draws in a run, in the order in which the twin adds it.

    The node draws for its own sums, the total, then each partner's; the twin has the total last.
    """

    def __init__(self, seed: int, job: VerticalJob, run: str, *, own: int) -> None:
        super().__init__(seed)
        self._label, self._own, self._round = (run, job.owner), own, 0

    def add_to(self, values: IntArray, *, sigma: float) -> IntArray:
        """Return a round's sums, each party's and last the total, with the round's noise."""
        run, owner = self._label
        stream = self.stream(f"{run}/{self._round}/{owner}")
        drawn = stream.add_to(np.zeros(len(values), dtype=np.int64), sigma=sigma)
        self._round += 1
        moved: IntArray = values + np.append(np.delete(drawn, self._own), drawn[self._own])
        return moved
