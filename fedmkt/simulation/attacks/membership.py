"""Membership inference by the likelihood ratio of shadow models (LiRA, online).

Of a pool of customers, each model is trained on a random half. For one customer, the models that
had it and those that had not give two Gaussians of its logit confidence, ln(p / (1 - p)) with p the
probability that a model gives to the customer's own target. The score of a customer under a model
that is attacked is the log of the ratio of the two densities there; the attacked model is left out
of the Gaussians. Each of the models is attacked once.

Guarantee: the attack knows no more than a model gives away by its scores, the pool and how models
are trained. Not guaranteed: that no attack does better; few shadow models make poor Gaussians.
Source: Carlini et al. 2022, arXiv:2112.03570, algorithm 1, with variances shared by all customers
as in its section VI, for few shadow models.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import norm

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import auc_interval
from fedmkt.simulation.attacks.result import AttackResult, BoolArray, clopper_pearson, series

FALSE_POSITIVES = 0.01
FEWEST_MODELS = 8
Trainer = Callable[[BoolArray], FloatArray]
"""Trains on the customers of a pool that are marked; gives everybody's logit confidence."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What the attack found. at_low: the true positive rate at 1% false positives; auc: the AUC."""

    at_low: AttackResult
    auc: AttackResult


@dataclass(frozen=True, slots=True)
class _Models:
    """All models. inside: (models, customers), who was in. confidences: the same shape."""

    inside: BoolArray = field(repr=False)
    confidences: FloatArray = field(repr=False)


def attack_membership(
    train: Trainer, *, customers: int, models: int, draw: np.random.Generator, defence: str
) -> Membership:
    """Train `models` models on random halves of a pool and attack each with all others.

    Returns: the true positive rate at the threshold that 1% of those who were not in pass, with
        Clopper and Pearson's 95% interval, and the AUC with DeLong's. The threshold is taken as
        given and customers of one model as independent, so the intervals are a little short.
    Raises: SettingInvalid for fewer than eight models.
    """
    if models < FEWEST_MODELS or customers < 2:
        problem = f"it needs {FEWEST_MODELS} models and two customers"
        raise SettingInvalid(setting="a membership attack", problem=problem)
    inside = _halves(customers, models, draw)
    found = _Models(inside, np.array([train(one) for one in inside]))
    scores = np.array([_ratios(found, attacked) for attacked in range(models)])
    return _summary(scores[inside], scores[~inside], defence)


def _halves(customers: int, models: int, draw: np.random.Generator) -> BoolArray:
    """Return who is in each model: every customer in half of all models, at random."""
    ranks = draw.random((models, customers)).argsort(axis=0)
    inside: BoolArray = ranks < models // 2
    return inside


def _ratios(found: _Models, attacked: int) -> FloatArray:
    """Return each customer's log likelihood ratio under one model, all others being shadows."""
    others = np.arange(len(found.inside)) != attacked
    inside, confidences = found.inside[others], found.confidences[others]
    seen = found.confidences[attacked]
    means, spreads = [], []
    for chosen in (inside, ~inside):
        counts = chosen.sum(axis=0)
        mean = np.where(chosen, confidences, 0.0).sum(axis=0) / counts
        square = np.where(chosen, (confidences - mean) ** 2, 0.0).sum() / (counts - 1).sum()
        means.append(mean)
        spreads.append(max(float(np.sqrt(square)), 1e-9))
    ratio = norm.logpdf(seen, means[0], spreads[0]) - norm.logpdf(seen, means[1], spreads[1])
    return np.asarray(ratio, dtype=np.float64)


def _summary(members: FloatArray, others: FloatArray, defence: str) -> Membership:
    """Return both figures of the scores of who was in, and of who was not."""
    allowed = int(np.floor(FALSE_POSITIVES * len(others)))
    threshold = np.sort(others)[::-1][allowed]
    hits = int((members > threshold).sum())
    target = np.repeat(np.array([1, 0], dtype=np.uint8), [len(members), len(others)])
    area = auc_interval(target, np.concatenate([members, others]))
    rates = np.unique(np.r_[np.geomspace(1e-3, 1, 40), FALSE_POSITIVES])
    passed = [float((members > np.quantile(others, 1 - rate)).mean()) for rate in rates]
    curve = (series("curve", rates, passed),)
    name, low_high = "membership inference (LiRA)", clopper_pearson(hits, len(members))
    at_low = AttackResult(
        name=name,
        defence=defence,
        figure="true positive rate at 1% false positives",
        unit="share of members",
        value=hits / len(members),
        low=low_high[0],
        high=low_high[1],
        chance=FALSE_POSITIVES,
        series=curve,
        least=0.0,
        most=1.0,
    )
    auc = replace(
        at_low,
        figure="AUC",
        unit="",
        value=area.value,
        low=area.low,
        high=area.high,
        chance=0.5,
    )
    return Membership(at_low, auc)
