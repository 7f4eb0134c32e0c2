"""What the vertical report holds beside the models: an attack on columns, students, one customer.

Guarantee: the attack and the students are measured; the explained customer is made, and every part
of its score is worked out at the member whose columns it is about.
"""

import numpy as np
import polars as pl

from fedmkt.core.stages import FloatArray
from fedmkt.data import bundled
from fedmkt.data.binning import encode
from fedmkt.evaluation.metrics import auc_interval
from fedmkt.evaluation.value import recall_at
from fedmkt.evidence.figures import AucInterval
from fedmkt.evidence.shared_parts import ColumnInference, Explained, Student
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.expansion import SEGMENTS
from fedmkt.node.model_parts import read_part, read_table
from fedmkt.simulation.vertical_partition import PARTIES
from fedmkt.simulation.vertical_plan import JOINT, TARGET
from fedmkt.simulation.vertical_rows import Together, totals_seen
from fedmkt.simulation.vertical_study import VerticalStudy
from fedmkt.vertical.columns_guess import column_guess

KNOWN = 1000
"""Customers whose column the attacker knew beforehand."""
_ATTACK_SEED = 20261126
MADE_CUSTOMER: dict[str, str | int | float] = {
    "age": 44,
    "capital_gain": 0,
    "capital_loss": 0,
    "hours_per_week": 50,
    "workclass": "Private",
    "marital_status": "Married-civ-spouse",
    "relationship": "Husband",
    "education": "Bachelors",
    "occupation": "Exec-managerial",
    "native_country": "United-States",
    "favourite_season": "autumn",
    "umbrella_count": 2,
    "sunny_days": 140.0,
}
"""A customer who does not exist, in the words of the members' schemas."""


def column_inference(together: Together) -> tuple[ColumnInference, ...]:
    """Attack every partner's categories with the totals of each training it took part in."""
    rng = np.random.default_rng(_ATTACK_SEED)
    known = rng.permutation(len(together.target))[:KNOWN]
    found = []
    for run, job in together.study.trainings.items():
        totals = totals_seen(together, run)
        for partner in job.partners:
            columns = together.columns[partner]
            for place, feature in enumerate(columns.binning.features):
                if feature.ordered:
                    continue
                guess = column_guess(totals, columns.codes[:, place], known)
                found.append(
                    ColumnInference(
                        run=run,
                        partner=partner,
                        column=feature.name,
                        known=len(known),
                        accuracy=guess.accuracy,
                        majority=guess.majority,
                    )
                )
    return tuple(found)


def students_of(study: VerticalStudy, epsilons: dict[str, float]) -> tuple[Student, ...]:
    """Measure each expansion's student on public rows. epsilons: by run, as its receipt says."""
    frame, schema = bundled.load("adult_test"), bundled.schema("adult")
    target = (frame[TARGET] == schema.target_positive).to_numpy().astype(np.uint8)
    joint = _interval(target, _joint_scores(study, frame))
    students = []
    for run, job in study.expansions.items():
        home = study.home(job.partners[0])
        part = read_part(home, run)
        scores = _scores(part.model, frame)
        recall = {str(percent): recall_at(target, scores, percent / 100) for percent in (5, 10, 20)}
        students.append(
            Student.model_validate(
                {
                    "partner": job.partners[0],
                    "run": run,
                    "seed": part.customers,
                    "epsilon": epsilons[run],
                    "auc": _interval(target, scores),
                    "joint_auc": joint,
                    "recall": recall,
                    "ranked": read_table(home, SEGMENTS, run).height,
                }
            )
        )
    return tuple(students)


def explained(study: VerticalStudy) -> tuple[Explained, ...]:
    """Return why the made customer scores as it does, each member about its own columns."""
    row = pl.DataFrame([MADE_CUSTOMER])
    told = []
    for member in PARTIES:
        model = read_part(study.home(member), JOINT).counted(member)
        codes = encode(row, model.binning, dataset="the made customer")
        reasons = [
            f"{name} is {_said(name)}: {effect:+.2f}" for name, _, effect in model.explain(codes[0])
        ]
        reasons.append(f"for every customer: {model.intercept:+.2f}")
        told.append(
            Explained(member=member, reasons=tuple(reasons), total=float(model.scores(codes)[0]))
        )
    return tuple(told)


def _said(column: str) -> str:
    """Return the made customer's value in words."""
    value = MADE_CUSTOMER[column]
    return value if isinstance(value, str) else f"{value:g}"


def _joint_scores(study: VerticalStudy, frame: pl.DataFrame) -> FloatArray:
    """Return the joint score of public rows, from the parts whose columns those rows have.

    A member without public columns (the weather service) adds the same to every row: nothing.
    """
    total = np.zeros(frame.height)
    for member in PARTIES:
        part = read_part(study.home(member), JOINT)
        if not {feature.name for feature in part.model.binning.features} <= set(frame.columns):
            continue
        total += _scores(part.counted(member), frame)
    return total


def _scores(model: AdditiveModel, frame: pl.DataFrame) -> FloatArray:
    return model.scores(encode(frame, model.binning, dataset="the public table"))


def _interval(target: np.typing.NDArray[np.uint8], scores: FloatArray) -> AucInterval:
    measured = auc_interval(target, scores)
    return AucInterval(value=measured.value, low=measured.low, high=measured.high)
