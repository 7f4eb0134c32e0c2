"""The measured half of the vertical report: models, their curves and shapes, and what they add.

Guarantee: what a run achieved is read from the owner's own value report or from the parts the nodes
keep; every comparison beside it was trained and measured here, on the same customers.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import auc_interval, roc_band
from fedmkt.evaluation.value import lift_in_top
from fedmkt.evidence.figures import AucInterval, Interval
from fedmkt.evidence.receipts import Receipt
from fedmkt.evidence.report import Curve, ModelResult, Partner, Shape
from fedmkt.evidence.shared_parts import PartnerValue, Value
from fedmkt.evidence.value_report import MeasuredValue
from fedmkt.node.model_parts import read_part, read_value
from fedmkt.simulation.vertical_partition import PARTIES
from fedmkt.simulation.vertical_plan import JOINT, OWNER, dataset_of
from fedmkt.simulation.vertical_rows import (
    Together,
    scores_alone,
    scores_of_run,
    scores_without_noise,
)
from fedmkt.simulation.vertical_study import VerticalStudy

TWIN = "twin without noise"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model trained in one place. scores: (held out rows,)."""

    name: str
    features: tuple[str, ...]
    scores: FloatArray = field(repr=False)
    wall_s: float


def alone_name(member: str) -> str:
    """Return what a model on one member's columns is called."""
    return f"{member} alone"


def compare(together: Together) -> dict[str, Comparison]:
    """Train what the runs are compared with, by name."""
    found = {}
    for member in PARTIES:
        started = time.monotonic()
        scores = scores_alone(together, member)
        name, features = alone_name(member), _features(together, (member,))
        found[name] = Comparison(name, features, scores, time.monotonic() - started)
    started = time.monotonic()
    scores = scores_without_noise(together)
    found[TWIN] = Comparison(TWIN, _features(together), scores, time.monotonic() - started)
    return found


def run_model(study: VerticalStudy, run: str, owner_receipt: Receipt) -> ModelResult:
    """Return what a training made, as the owner's value report and its receipt say."""
    job, outcome = study.trainings[run], study.runs[run].outcome
    labels, measured = job.labels, owner_receipt.epsilon
    noised = labels.epsilon is not None
    return ModelResult(
        name=run,
        family=job.model.family,
        training="vertical",
        trust="local" if noised else "none",
        mode=labels.mode,
        features=tuple(name for party in job.parties for name in party.features),
        epsilon=max(labels.epsilon, measured or 0.0) if labels.epsilon is not None else None,
        delta=labels.delta if noised else None,
        auc=_measured(study, run).joint_auc,
        rounds=job.model.rounds,
        exchanges=outcome.exchanges,
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        wall_s=outcome.wall_s,
        max_bins=job.model.max_bins,
        noise_multiplier=labels.noise_multiplier,
        shares=1 if noised else None,
        measured_epsilon=measured,
    )


def compared_model(together: Together, one: Comparison) -> ModelResult:
    """Return a model that was trained in one place, without noise."""
    return ModelResult(
        name=one.name,
        family=together.joint.model.family,
        training="pooled" if one.name == TWIN else "alone",
        trust="none",
        features=one.features,
        epsilon=None,
        delta=None,
        auc=_auc(together, one.scores),
        rounds=together.joint.model.rounds,
        exchanges=0,
        bytes_up=0,
        bytes_down=0,
        wall_s=one.wall_s,
        max_bins=together.joint.model.max_bins,
    )


def partners_of(together: Together, compared: Mapping[str, Comparison]) -> tuple[Partner, ...]:
    """Return the members with the model that their columns give alone, under the owner's labels."""
    return tuple(
        Partner(
            name=member,
            rows=together.training,
            auc=_auc(together, compared[alone_name(member)].scores),
        )
        for member in PARTIES
    )


def curves_of(together: Together, compared: Mapping[str, Comparison]) -> tuple[Curve, ...]:
    """Return the ROC curves of the joint run and of the owner alone, on the holdout."""
    alone = compared[alone_name(OWNER)]
    drawn = ((JOINT, scores_of_run(together)), (alone.name, alone.scores))
    curves = []
    for name, scores in drawn:
        band = roc_band(together.held_out, scores)
        curves.append(
            Curve(
                model=name,
                fpr=tuple(band.fpr),
                tpr=tuple(band.tpr),
                low=tuple(band.low),
                high=tuple(band.high),
            )
        )
    return tuple(curves)


def shapes_of(study: VerticalStudy) -> tuple[Shape, ...]:
    """Return what each column adds to the joint score, each read at its own member's node."""
    shapes = []
    for member in PARTIES:
        home = study.home(member)
        dataset = home.contract.dataset(dataset_of(member))
        assert dataset is not None
        model = read_part(home, JOINT).model
        for feature in model.binning.features:
            column = dataset.table.column(feature.name)
            labels, effects = model.shape(feature.name)
            shapes.append(
                Shape(
                    model=JOINT,
                    feature=feature.name,
                    unit=column.unit,
                    ordered=feature.ordered,
                    labels=labels,
                    edges=feature.edges,
                    effects=tuple(effects),
                    scale=column.scale,
                )
            )
    return tuple(shapes)


def value_of(together: Together, compared: Mapping[str, Comparison]) -> Value:
    """Return what the partners' columns add, as the owner's node measured it."""
    study, job = together.study, together.joint
    found = _measured(study, JOINT)
    return Value(
        owner=OWNER,
        run=JOINT,
        owner_auc=found.owner_auc.value,
        joint_auc=found.joint_auc.value,
        owner_lift=found.owner_lift,
        joint_lift=found.joint_lift,
        gain=found.gain,
        verdict=found.verdict,
        words=found.words("all together"),
        mode=found.mode,
        label_epsilon=found.epsilon,
        holdout=found.holdout_rows,
        scores_seen=found.scores_seen,
        partners=tuple(
            _partner_value(together, run, other.partners[0], compared)
            for run, other in study.trainings.items()
            if run != JOINT and len(other.partners) < len(job.partners)
        ),
    )


def _partner_value(
    together: Together, run: str, partner: str, compared: Mapping[str, Comparison]
) -> PartnerValue:
    found = _measured(together.study, run)
    alone = compared[alone_name(partner)].scores
    lift = lift_in_top(together.held_out, alone)
    return PartnerValue(
        name=partner,
        auc=_auc(together, alone).value,
        lift=Interval(value=lift.value, low=lift.low, high=lift.high),
        joint_auc=found.joint_auc.value,
        gain=found.gain,
        verdict=found.verdict,
        words=found.words(partner),
        run=run,
    )


def _measured(study: VerticalStudy, run: str) -> MeasuredValue:
    """Return the value report of a run, as it lies at the owner's node."""
    found = read_value(study.home(OWNER), run)
    assert isinstance(found, MeasuredValue)  # both classes are among the demonstration's customers
    return found


def _auc(together: Together, scores: FloatArray) -> AucInterval:
    measured = auc_interval(together.held_out, scores)
    return AucInterval(value=measured.value, low=measured.low, high=measured.high)


def _features(together: Together, members: Sequence[str] = PARTIES) -> tuple[str, ...]:
    return tuple(
        feature.name for member in members for feature in together.columns[member].binning.features
    )
