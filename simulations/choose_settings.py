"""Choose the additive model's settings for Adult at several epsilons, and measure the choice.

Settings are compared on splits of the official *training* rows alone; the official test split
measures the settings chosen. Earlier versions of this study printed test figures too while its
grids were drawn up, so those are not figures of a split nobody had looked at. Three partners by
occupation, each adding its own noise (trust local), every release counted. Noise is reproducible:
this is a study, not a deployment.

    python simulations/choose_settings.py            # all epsilons, some minutes
    python simulations/choose_settings.py 1 8        # these; 0 means without noise
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.core.stages import Examples
from fedmkt.data import bundled
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.evaluation.metrics import auc
from fedmkt.horizontal.local_update import local_sums
from fedmkt.horizontal.newton import apply_sum, initial_state
from fedmkt.horizontal.plan import noise_in_sum, planned_sums
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.privacy.mechanisms import ReproducibleNoise, add_noise
from fedmkt.simulation.partition import by_occupation

FEATURES = (
    "age", "workclass", "education", "marital_status", "occupation", "relationship",
    "capital_gain", "capital_loss", "hours_per_week", "native_country",
)  # fmt: skip
DELTA = 1e-5
LEARN_SHARE = 0.8
SPLITS = 4
VALIDATION_DRAWS = 12
TEST_DRAWS = 5
FALLING = (0.7, 0.6, 0.5, 0.4)
WHOLE = (1.0,)

# max_bins, rounds, ridge, smoothness, step, count_weight
GRIDS: dict[float, tuple[tuple[object, ...], ...]] = {
    1.0: ((16, 24, 32, 48), (2, 3, 4), (0.3, 1.0, 3.0), (0.1, 0.5), (FALLING, WHOLE), (0.2,)),
    3.0: ((64, 128, 192), (4, 5), (0.1, 0.3), (0.03, 0.1), (FALLING, WHOLE), (0.1, 0.2)),
    8.0: ((192, 256, 384), (3, 4), (0.1, 0.3), (0.01, 0.03), (FALLING, WHOLE), (0.1, 0.2)),
    0.0: ((256, 512, 1024), (10,), (0.1, 0.3), (0.003, 0.01, 0.1), (WHOLE,), (0.2,)),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One candidate: a model's settings and the weight of the counts."""

    model: AdditiveSettings
    count_weight: float

    def __str__(self) -> str:
        one = self.model
        return (
            f"max_bins={one.max_bins} rounds={one.rounds} ridge={one.ridge:g} "
            f"smoothness={one.smoothness:g} step={one.step} count_weight={self.count_weight:g}"
        )


@dataclass(frozen=True, slots=True)
class Tables:
    """Three partners' rows to learn from and rows to measure on; share of the full table learnt."""

    parts: tuple[Examples, ...]
    measured: Examples
    share: float


def candidates(epsilon: float) -> Iterator[Setting]:
    """Yield the grid of one epsilon."""
    for bins, rounds, ridge, smoothness, step, weight in itertools.product(*GRIDS[epsilon]):
        model = AdditiveSettings.model_validate(
            {
                "max_bins": bins,
                "rounds": rounds,
                "ridge": ridge,
                "smoothness": smoothness,
                "step": step,
            }
        )
        yield Setting(model, float(str(weight)))


@cache
def binning(max_bins: int) -> Binning:
    """Return the public bins of the ten columns."""
    return binning_from_schema(bundled.schema("adult"), FEATURES, max_bins=max_bins)


def examples(table: pl.DataFrame, max_bins: int) -> Examples:
    """Return a table's codes and target."""
    target = (table["income"] == ">50K").to_numpy().astype(np.uint8)
    return Examples(encode(table, binning(max_bins), dataset="adult"), target)


@cache
def tables(max_bins: int, split: int | None) -> Tables:
    """Return the tables of one validation split, or of the official test split (None)."""
    learn = bundled.load("adult_train")
    measured, share = bundled.load("adult_test"), 1.0
    if split is not None:
        shuffled = learn.sample(fraction=1.0, shuffle=True, seed=split)
        height = int(LEARN_SHARE * learn.height)
        learn, measured, share = shuffled[:height], shuffled[height:], LEARN_SHARE
    parts = tuple(examples(part, max_bins) for part in by_occupation(learn).values())
    return Tables(parts, examples(measured, max_bins), share)


@cache
def multiplier(epsilon: float, rounds: int) -> float:
    """Return the noise multiplier of a job of so many rounds."""
    return noise_multiplier_for(epsilon=epsilon, delta=DELTA, releases=rounds)


def job(setting: Setting, epsilon: float, share: float) -> Job:
    """Return the job that a requester would state.

    With fewer rows the noise is scaled down likewise, so that a setting chosen on a part of the
    rows suits the whole table.
    """
    privacy = PrivacySettings(trust="none", count_weight=setting.count_weight)
    if epsilon:
        privacy = PrivacySettings(
            epsilon=epsilon,
            delta=DELTA,
            noise_multiplier=multiplier(epsilon, setting.model.rounds) * share,
            count_weight=setting.count_weight,
        )
    return Job(
        name="study",
        requester="bank",
        purpose="lookalike",
        dataset="adult",
        members=("bank", "map_provider", "retailer"),
        target="income",
        features=FEATURES,
        model=setting.model,
        privacy=privacy,
    )


def train(stated: Job, parts: Sequence[Examples], seed: int) -> AdditiveModel:
    """Run the job's sums and steps in this process, with reproducible noise at each partner."""
    bins = binning(stated.model.max_bins)
    state = initial_state(bins, stated.model)
    sources = [ReproducibleNoise(seed).stream(member) for member in stated.members]
    weight, noise = stated.privacy.count_weight, stated.privacy.noise_multiplier
    for plan in planned_sums(stated, bins):
        updates = [
            local_sums(part, state.model, count_weight=weight if plan.with_counts else None)
            for part in parts
        ]
        values = [update.values for update in updates]
        if noise is not None:
            values = [
                add_noise(
                    update, noise_multiplier=noise, shares=1, trust="local", source=source
                ).values
                for update, source in zip(updates, sources, strict=True)
            ]
        state = apply_sum(
            state,
            np.sum(values, axis=0),
            noise_sigma=noise_in_sum(plan, stated, survivors=len(parts)),
            count_weight=weight,
        )
    return state.model


def measure(setting: Setting, epsilon: float, split: int | None, seed: int) -> float:
    """Return the AUC of one training."""
    data = tables(setting.model.max_bins, split)
    model = train(job(setting, epsilon, data.share), data.parts, seed)
    return auc(data.measured.target, model.scores(data.measured.codes))


def choose(epsilon: float) -> tuple[Setting, float]:
    """Return the candidate with the best mean validation AUC, and that AUC."""
    draws = VALIDATION_DRAWS if epsilon else SPLITS
    scored = [
        (np.mean([measure(one, epsilon, draw % SPLITS, draw) for draw in range(draws)]), one)
        for one in candidates(epsilon)
    ]
    value, best = max(scored, key=lambda pair: pair[0])
    return best, float(value)


def main() -> None:
    """Print one line an epsilon: the choice, its validation AUC and its AUC on the test split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("epsilons", nargs="*", type=float, default=sorted(GRIDS))
    for epsilon in parser.parse_args().epsilons:
        best, validation = choose(epsilon)
        draws = [
            measure(best, epsilon, None, 100 + draw) for draw in range(TEST_DRAWS if epsilon else 1)
        ]
        sys.stdout.write(
            f"epsilon {epsilon:g}: {best}\n  validation {validation:.4f}, test median "
            f"{np.median(draws):.4f} of {len(draws)} ({min(draws):.4f} to {max(draws):.4f})\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
