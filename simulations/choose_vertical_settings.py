"""How the vertical demonstration's settings were chosen, on training rows alone.

    python simulations/choose_vertical_settings.py [--draws 3] [--customers 17800]

Adult's columns are split over bank, retailer and map provider. Each setting is trained on three
quarters of so many of Adult's training rows, with fresh noise a draw, and measured on the rest;
Adult's test rows are not touched. Everything runs in one place by the same steps as the protocol
(`fedmkt.vertical.twin`). The figures are the median draw's AUC of all together, and what is left of
the gain over the bank alone that the model without noise has.
"""

import argparse
from dataclasses import dataclass
from statistics import median

import numpy as np

from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema, encode
from fedmkt.evaluation.metrics import auc
from fedmkt.privacy.mechanisms import OsNoise
from fedmkt.vertical.plan import calibrated_multiplier
from fedmkt.vertical.residuals import label_bound, training_rows
from fedmkt.vertical.twin import Columns, Noise, train_alone, train_twin

PARTIES = {
    "bank": ("age", "capital_gain", "capital_loss", "hours_per_week", "workclass"),
    "retailer": ("marital_status", "relationship"),
    "map_provider": ("education", "occupation", "native_country"),
}
FEATURES = sum(len(columns) for columns in PARTIES.values())
DELTA, LEAST_BIN, SHUFFLE_SEED = 1e-5, 20, 20261125
EPSILONS = (1.0, 3.0, 8.0)
TRIED = (
    VerticalSettings(rounds=4, step=(0.9, 0.7, 0.6, 0.5)),
    VerticalSettings(rounds=5),
    VerticalSettings(rounds=5, step=(0.9, 0.7, 0.6, 0.5)),
    VerticalSettings(rounds=6, step=(0.8, 0.7, 0.6, 0.5)),
    VerticalSettings(rounds=8),
    VerticalSettings(rounds=8, smoothness=0.3),
    VerticalSettings(rounds=5, max_bins=32),
    VerticalSettings(rounds=5, ridge=3.0),
)


@dataclass(frozen=True)
class Split:
    """The customers of the study: each party's columns under a setting, and their labels."""

    columns: tuple[Columns, ...]
    target: np.ndarray
    rows: int


def split_for(settings: VerticalSettings, customers: int) -> Split:
    """Return the same shuffled customers for every setting, encoded by its bins."""
    schema = bundled.schema("adult")
    order = np.random.default_rng(SHUFFLE_SEED).permutation(32_561)[:customers]
    frame = bundled.load("adult_train")[order.tolist()]
    columns = []
    for name, features in PARTIES.items():
        binning = binning_from_schema(schema, features, max_bins=settings.max_bins)
        codes = encode(frame, binning, dataset=name)
        columns.append(Columns(name, binning, codes, LEAST_BIN))
    target = (frame["income"] == schema.target_positive).to_numpy().astype(np.uint8)
    return Split(tuple(columns), target, training_rows(customers, settings.holdout))


def noise_for(settings: VerticalSettings, split: Split, epsilon: float) -> Noise:
    """Return the owner's noise at an epsilon, drawn from the operating system."""
    multiplier = calibrated_multiplier(
        epsilon=epsilon,
        delta=DELTA,
        rounds=settings.rounds,
        features=FEATURES,
        bins=sum(one.binning.total for one in split.columns),
    )
    return Noise(multiplier * label_bound(FEATURES), OsNoise())


def measured(settings: VerticalSettings, customers: int, draws: int) -> list[str]:
    """Return a setting's row of figures."""
    split = split_for(settings, customers)
    held = split.target[split.rows :]

    def together(noise: Noise | None) -> float:
        twin = train_twin(split.columns, split.target, settings, noise=noise)
        return auc(held, twin.scores[split.rows :])

    alone_model = train_alone(split.columns[0], split.target, settings)
    alone = auc(held, alone_model.scores(split.columns[0].codes[split.rows :]))
    bare = together(None)
    figures = [f"{alone:.4f}", f"{bare:.4f}"]
    for epsilon in EPSILONS:
        found = median(together(noise_for(settings, split, epsilon)) for _ in range(draws))
        figures.append(f"{found:.4f} ({(found - alone) / (bare - alone):.0%})")
    return figures


def main() -> None:
    """Print a table of all settings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--customers", type=int, default=17_800)
    options = parser.parse_args()
    heads = ["setting", "bank alone", "no noise", *(f"epsilon {one:g}" for one in EPSILONS)]
    print("| " + " | ".join(heads) + " |")  # noqa: T201
    print("| --- |" + " ---: |" * (len(heads) - 1))  # noqa: T201
    for settings in TRIED:
        stated = settings.model_dump(exclude_defaults=True)
        name = ", ".join(f"{key} {value}" for key, value in stated.items())
        row = measured(settings, options.customers, options.draws)
        print("| " + " | ".join([name, *row]) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
