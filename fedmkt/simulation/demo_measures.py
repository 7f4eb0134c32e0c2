"""The measured half of a demonstration's report: models, curves, shapes and rounds.

Guarantee: every figure is taken on public evaluation rows, from the finished run itself, or from
receipts that verified.
"""

import statistics
from collections.abc import Mapping, Sequence

from fedmkt.contract.job import Job
from fedmkt.evidence.figures import AucInterval
from fedmkt.evidence.receipts import Receipt
from fedmkt.evidence.report import (
    Curve,
    Data,
    ModelResult,
    Partner,
    Round,
    Shape,
)
from fedmkt.horizontal.plan import honest_shares
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.kept import AnyModel
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.simulation.demo_study import Study, Trained, Twin

CITATION = (
    "Becker, B. and Kohavi, R. (1996). Adult. UCI Machine Learning Repository. doi:10.24432/C5XW20"
)


def median_draw(study: Study, runs: list[Trained]) -> Trained:
    """Return the run whose AUC is the median of its arm's draws (their number is odd)."""
    ordered = sorted(runs, key=lambda one: study.public.auc(one.outcome.model).value)
    return ordered[len(ordered) // 2]


def data_of(study: Study) -> Data:
    """Return where the study's rows come from."""
    return Data(
        name="Adult (UCI), official split",
        rows_training=sum(study.rows.values()),
        rows_evaluation=study.public.frame.height,
        citation=CITATION,
        licence="CC BY 4.0",
    )


def partners_of(study: Study) -> tuple[Partner, ...]:
    """Return the partners, each with the model it gets from its own rows."""
    alone = {twin.partner: twin for twin in study.twins}
    return tuple(
        Partner(name=name, rows=rows, auc=_interval(study, alone[name].model))
        for name, rows in study.rows.items()
    )


def twin_result(study: Study, twin: Twin) -> ModelResult:
    """Return a model trained without any exchange."""
    return ModelResult(
        name=f"{twin.partner} alone" if twin.partner else "pooled twin",
        family="additive",
        training="alone" if twin.partner else "pooled",
        trust="none",
        features=tuple(feature.name for feature in twin.model.binning.features),
        epsilon=None,
        delta=None,
        auc=_interval(study, twin.model),
        rounds=twin.rounds,
        exchanges=0,
        bytes_up=0,
        bytes_down=0,
        wall_s=twin.wall_s,
    )


def model_result(
    study: Study, runs: Sequence[Trained], shown: Trained, receipts: Mapping[str, Receipt]
) -> ModelResult:
    """Return an arm's model. runs: all its draws. shown: the median one. receipts: of that one."""
    job, outcome = shown.job, shown.outcome
    asked, measured = job.privacy.epsilon, _measured_epsilon(shown, receipts)
    draws = tuple(study.public.auc(one.outcome.model).value for one in runs)
    return ModelResult(
        name=shown.name,
        family=job.model.family,
        training="federated",
        trust=job.privacy.trust,
        features=job.features,
        epsilon=None if asked is None else max(asked, measured or 0.0),
        delta=None if asked is None else job.privacy.delta,
        auc=_interval(study, outcome.model),
        rounds=outcome.rounds,
        exchanges=outcome.exchanges,
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        wall_s=statistics.median(one.wall_s for one in runs),
        draws=draws if len(draws) > 1 else (),
        max_bins=job.model.max_bins if isinstance(job, Job) else None,
        noise_multiplier=job.privacy.noise_multiplier,
        shares=None if asked is None else honest_shares(job),
        measured_epsilon=measured,
    )


def curve_of(study: Study, one: Trained) -> Curve:
    """Return a model's ROC curve on the public rows."""
    band = study.public.curve(one.outcome.model)
    return Curve(
        model=one.name,
        fpr=tuple(band.fpr),
        tpr=tuple(band.tpr),
        low=tuple(band.low),
        high=tuple(band.high),
    )


def shapes_of(study: Study, one: Trained) -> list[Shape]:
    """Return what each feature adds to a model's score; nothing of a network, which is no sum."""
    model, schema = one.outcome.model, study.public.schema
    if not isinstance(model, AdditiveModel):
        return []
    shapes = []
    for feature in model.binning.features:
        column = schema.column(feature.name)
        labels, effects = model.shape(feature.name)
        shapes.append(
            Shape(
                model=one.name,
                feature=feature.name,
                unit=column.unit,
                ordered=feature.ordered,
                labels=labels,
                edges=feature.edges,
                effects=tuple(effects),
                scale=column.scale,
            )
        )
    return shapes


def rounds_of(one: Trained) -> tuple[Round, ...]:
    """Return the model after each round."""
    return tuple(
        Round(model=one.name, round=number, loss=loss, auc=auc) for number, loss, auc in one.rounds
    )


def _interval(study: Study, model: AnyModel) -> AucInterval:
    measured = study.public.auc(model)
    return AucInterval(value=measured.value, low=measured.low, high=measured.high)


def _measured_epsilon(trained: Trained, receipts: Mapping[str, Receipt]) -> float | None:
    """Return what the run cost a customer of the partner it cost most, by all their receipts."""
    everybody = set(receipts) == set(trained.job.members)
    if trained.job.privacy.epsilon is None or not everybody:
        return None
    return max(
        epsilon_of([stated.release().event for stated in one.releases], trained.job.privacy.delta)
        for one in receipts.values()
    )
