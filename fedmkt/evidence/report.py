"""The report of a study as data: everything report.json may say, and nothing else.

Guarantee: a `Report` is consistent in itself: names are distinct and refer to one another, a model
has an epsilon exactly when it has noise, what is left is the cap minus what was spent, and the
headline of several noise draws is their median. It holds aggregates only, never a customer's row.
It does not check that its figures are true; receipts and audit logs are the evidence for that.
Every key and its unit is documented in docs/report_schema.md.
"""

from collections.abc import Iterable
from datetime import datetime
from statistics import median
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedmkt.core.frozen import Frozen
from fedmkt.core.stages import NoiseSourceName, Trust
from fedmkt.evidence.figures import Amount, AucInterval, Count, Share, Text
from fedmkt.evidence.shared_parts import (
    Alignment,
    ColumnInference,
    Explained,
    OverlapShown,
    RunCost,
    Student,
    Value,
)

_ROUNDING = 1e-5  # figures may be rounded before they are reported


class Partner(Frozen):
    """A partner: rows it trains on, and the AUC of the model it gets from them alone."""

    name: Text
    rows: Count
    auc: AucInterval


class ModelResult(Frozen):
    """One trained model: what it is, what it cost and how good it is.

    epsilon: as the job states it. measured_epsilon: what the releases of the signed receipts cost
    a customer of the partner they cost most; never above epsilon.
    draws: AUC of each repetition with fresh noise; the headline `auc` is the median draw.
    mode: how a training over several members' columns protected labels.
    """

    name: Text
    family: Text
    training: Literal["federated", "vertical", "pooled", "alone"]
    trust: Trust
    mode: Text | None = None
    features: tuple[str, ...]
    epsilon: Annotated[float, Field(gt=0)] | None
    delta: Annotated[float, Field(gt=0, lt=1)] | None
    auc: AucInterval
    rounds: Count
    exchanges: Count
    bytes_up: Count
    bytes_down: Count
    wall_s: Amount
    draws: tuple[Share, ...] = ()
    max_bins: Count | None = None
    noise_multiplier: Amount | None = None
    shares: Count | None = None
    measured_epsilon: Amount | None = None

    @model_validator(mode="after")
    def _noise_is_stated(self) -> "ModelResult":
        noised = self.trust != "none"
        if noised != (self.epsilon is not None) or noised != (self.delta is not None):
            raise ValueError("epsilon and delta stand exactly where trust is not none")
        if self.measured_epsilon is not None and self.measured_epsilon > (self.epsilon or 0.0):
            raise ValueError("a model's epsilon is at least what was measured")
        if self.draws and abs(median(self.draws) - self.auc.value) > _ROUNDING:
            raise ValueError("the headline AUC of several draws is their median")
        return self


class CapUse(Frozen):
    """A cap and its use, in epsilon. No cap: cap and left are null. No bound: spent is null."""

    cap: Amount | None
    spent: Amount | None
    left: Amount | None

    @model_validator(mode="after")
    def _adds_up(self) -> "CapUse":
        if self.cap is None or self.spent is None:
            if self.left is not None:
                raise ValueError("nothing is left of no cap")
        elif self.left is None or abs(self.cap - self.spent - self.left) > _ROUNDING:
            raise ValueError("left is cap minus spent")
        return self


class UsesShown(Frozen):
    """A count for life of what no epsilon bounds, and how much of it is used."""

    allowed: Count
    used: Count


class Budget(Frozen):
    """One scope of a partner's ledger after the study.

    reported_epsilon: the tighter epsilon that privacy-loss accounting gives for the releases of
    this scope, over its whole life; what was really lost stands beside what the cap's filter
    charged. Null where a release carried no noise: no epsilon bounds it. exact_scores, alignments:
    what was shown exactly, counted against its cap for life.
    """

    partner: Text
    dataset: Text
    purpose: Text
    period: CapUse
    lifetime: CapUse
    exact_scores: UsesShown | None = None
    alignments: UsesShown | None = None
    period_days: Count | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    reported_epsilon: Amount | None = None


class RefusalShown(Frozen):
    """A job that a partner's own node refused; the message is the node's, read at the node."""

    partner: Text
    job: Text
    code: Text
    message: Text


class Audit(Frozen):
    """A partner's audit log: how many records, and whether chain and signatures hold.

    head: the latest head that another member countersigned and holds. countersigned_by: the
    members that hold that very head. after_head: records that follow it; nobody else has signed
    for those yet.
    """

    partner: Text
    records: Count
    verified: bool
    head: str = ""
    countersigned_by: tuple[str, ...] = ()
    after_head: Count = 0

    @model_validator(mode="after")
    def _held_by_somebody(self) -> "Audit":
        if bool(self.head) != bool(self.countersigned_by):
            raise ValueError("a head is one that somebody countersigned")
        if self.after_head > self.records:
            raise ValueError("no more records follow the head than there are")
        return self


class Protection(Frozen):
    """What protected a run, as its signed receipts say.

    masked: everything that was released. noised: everything that was not counted as exact.
    receipts: members whose receipt verified. model: the model the run trained, if in `models`.
    epsilon: what the run cost the customers of each member that released anything with noise.
    exact: how many exact releases each member counted against a cap for life.
    """

    run: Text
    masked: bool
    noised: bool
    model: str = ""
    receipts: tuple[str, ...] = ()
    epsilon: dict[Text, Amount] = Field(default_factory=dict)
    exact: dict[Text, Count] = Field(default_factory=dict)


class Curve(Frozen):
    """A model's ROC curve with a pointwise 95% band, all of equal length."""

    model: Text
    fpr: tuple[Share, ...] = Field(min_length=2)
    tpr: tuple[Share, ...]
    low: tuple[Share, ...]
    high: tuple[Share, ...]

    @model_validator(mode="after")
    def _one_length(self) -> "Curve":
        if not len(self.fpr) == len(self.tpr) == len(self.low) == len(self.high):
            raise ValueError("fpr, tpr, low and high need one length")
        return self


class Shape(Frozen):
    """What one feature adds to a model's score, bin by bin, in log-odds.

    Bin i of an ordered feature holds edges[i-1] <= x < edges[i]; one more bin at the end stands
    for missing values. Unordered features have no edges.
    """

    model: Text
    feature: Text
    unit: str
    ordered: bool
    labels: tuple[str, ...] = Field(min_length=1)
    edges: tuple[float, ...]
    effects: tuple[float, ...]
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _one_effect_a_bin(self) -> "Shape":
        if len(self.labels) != len(self.effects):
            raise ValueError("a shape needs one label an effect")
        if self.edges and len(self.effects) - len(self.edges) not in (1, 2):
            raise ValueError("an ordered shape has one bin more than edges, and perhaps `missing`")
        if any(a >= b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges rise")
        return self


class Round(Frozen):
    """A model after one round, measured on the public evaluation data."""

    model: Text
    round: Count
    loss: Amount
    auc: Share


class Data(Frozen):
    """Where the study's rows come from."""

    name: Text
    rows_training: Count
    rows_evaluation: Count
    citation: str
    licence: str


class KnownToSeveral(Frozen):
    """Epsilon of one model for a customer whom so many partners know."""

    model: Text
    partners: Annotated[int, Field(ge=2)]
    epsilon: Amount


class Report(Frozen):
    """All of report.json."""

    schema_version: Literal[1]
    seed: int | None
    partners: tuple[Partner, ...] = Field(min_length=1)
    models: tuple[ModelResult, ...] = Field(min_length=1)
    budget: tuple[Budget, ...]
    refusals: tuple[RefusalShown, ...]
    audit: tuple[Audit, ...]
    protection: tuple[Protection, ...]
    noise_source: NoiseSourceName | None = None
    curves: tuple[Curve, ...] = ()
    shapes: tuple[Shape, ...] = ()
    rounds: tuple[Round, ...] = ()
    data: Data | None = None
    known_to_several: tuple[KnownToSeveral, ...] = ()
    story: Literal["horizontal", "vertical"] = "horizontal"
    overlaps: tuple[OverlapShown, ...] = ()
    alignment: tuple[Alignment, ...] = ()
    value: Value | None = None
    column_inference: tuple[ColumnInference, ...] = ()
    students: tuple[Student, ...] = ()
    explained: tuple[Explained, ...] = ()
    runs: tuple[RunCost, ...] = ()
    notes: tuple[Text, ...] = ()
    created: datetime | None = None
    version: str = ""

    @model_validator(mode="after")
    def _names_refer(self) -> "Report":
        partners = _distinct("partner", (partner.name for partner in self.partners))
        models = _distinct("model", (model.name for model in self.models))
        by_name = (*self.budget, *self.refusals, *self.audit, *self.students)
        _refer("partner", (*by_name, *self.column_inference), partners)
        named = (*self.curves, *self.shapes, *self.rounds, *self.known_to_several)
        _refer("model", (*named, *(run for run in self.protection if run.model)), models)
        return self

    def document(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return self.model_dump(mode="json")


def _distinct(kind: str, names: Iterable[str]) -> set[str]:
    listed = list(names)
    if len(set(listed)) != len(listed):
        raise ValueError(f"each {kind} needs a name of its own")
    return set(listed)


def _refer(kind: str, entries: Iterable[Frozen], names: set[str]) -> None:
    if unknown := {getattr(entry, kind) for entry in entries} - names:
        raise ValueError(f"no {kind} is called {', '.join(sorted(unknown))}")


def to_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of report.json; its stored copy is report.schema.json."""
    schema = Report.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
