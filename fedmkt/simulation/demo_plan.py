"""What the horizontal demonstration runs: its contract, its jobs, and their settings.

The settings were chosen on a split of the training rows (`simulations/choose_settings.py`), never
on the evaluation rows.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fedmkt.contract.collaboration import Cap, Dataset
from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.data import bundled
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.partition import PARTNERS
from fedmkt.simulation.world import Terms

DELTA = 1e-5
PURPOSE = "prospecting"
REQUESTER = "bank"
DRAWS = 5
_VALID_DAYS = 365


@dataclass(frozen=True, slots=True)
class Arm:
    """One model of the study, on a copy of the accounts of its own. epsilon: None is no noise."""

    epsilon: float | None
    model: AdditiveSettings
    count_weight: float = 0.2

    @property
    def name(self) -> str:
        """Return the job's name, and its runs' first part."""
        return "no-noise" if self.epsilon is None else f"epsilon-{self.epsilon:g}"

    @property
    def dataset(self) -> str:
        """Return the name of the dataset whose accounts this model is charged to."""
        return f"prospects-{self.name}"


_AVERAGING = (0.7, 0.6, 0.5, 0.4)
ARMS = (
    Arm(None, AdditiveSettings(max_bins=1024, rounds=10, ridge=0.1, smoothness=0.003, step=(1.0,))),
    Arm(8.0, AdditiveSettings(max_bins=384, rounds=4, ridge=0.1, smoothness=0.01, step=_AVERAGING)),
    Arm(3.0, AdditiveSettings(max_bins=192, rounds=4, ridge=0.1, smoothness=0.03, step=_AVERAGING)),
    Arm(1.0, AdditiveSettings(max_bins=24, rounds=2, ridge=1.0, smoothness=0.1, step=_AVERAGING)),
)


def features() -> tuple[str, ...]:
    """Return the ten feature columns: all of Adult's but `race` and `sex`, kept for audits."""
    return tuple(
        column.name for column in bundled.schema("adult").columns if column.use == "feature"
    )


def terms() -> Terms:
    """Return the contract's datasets and caps: one copy of the accounts for each model."""
    datasets = tuple(
        Dataset(
            name=arm.dataset,
            population=arm.dataset,
            holders=PARTNERS,
            uses={PURPOSE: (REQUESTER,)},
            modes=("none",) if arm.epsilon is None else ("local", "distributed"),
            minimum_audience=1000,
            table=bundled.schema("adult"),
        )
        for arm in ARMS
    )
    caps = tuple(cap for arm in ARMS for cap in _caps(arm))
    return Terms("demo", datasets, caps, datetime.now(UTC) + timedelta(days=_VALID_DAYS))


def _caps(arm: Arm) -> tuple[Cap, ...]:
    if arm.epsilon is None:
        return (Cap(dataset=arm.dataset, uses_per_day=5),)
    return (
        Cap(dataset=arm.dataset, delta=DELTA, period_epsilon=10, lifetime_epsilon=12),
        Cap(
            dataset=arm.dataset,
            purpose=PURPOSE,
            delta=DELTA,
            period_epsilon=9,
            lifetime_epsilon=10,
            uses_per_day=5,
        ),
    )


def job_for(arm: Arm, *, name: str | None = None) -> Job:
    """Return the job of an arm, its noise calibrated to its epsilon."""
    privacy = PrivacySettings(trust="none", count_weight=1.0)
    if arm.epsilon is not None:
        privacy = PrivacySettings(
            trust="local",
            epsilon=arm.epsilon,
            delta=DELTA,
            noise_multiplier=noise_multiplier_for(
                epsilon=arm.epsilon, delta=DELTA, releases=arm.model.releases
            ),
            count_weight=arm.count_weight,
        )
    return Job(
        name=name or arm.name,
        requester=REQUESTER,
        purpose=PURPOSE,
        dataset=arm.dataset,
        members=PARTNERS,
        target="income",
        features=features(),
        model=arm.model,
        privacy=privacy,
    )
