"""What a split training reaches on Adult, and what each side reads out of what it is shown.

    python simulations/split_training.py choose      settings, on training rows alone
    python simulations/split_training.py accuracy    against central training and the additive model
    python simulations/split_training.py attacks     label inference and feature inversion

Adult's columns are split over bank, retailer and map provider. Everything runs in one place by the
same steps as the protocol (`fedmkt.vertical.split_twin`). `accuracy` trains on Adult's training
rows and measures on its test rows; `attacks` trains on three quarters of 10,000 training rows and
measures the model on the rest.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import polars as pl

from fedmkt.contract.split_job import SplitSettings
from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.core.stages import FloatArray
from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema, encode
from fedmkt.evaluation.metrics import auc, auc_interval
from fedmkt.models.network_shape import NetworkInputs
from fedmkt.simulation.attacks.adult_split import (
    SplitCustomers,
    attack_column,
    attack_labels,
    split_customers,
    train_customers,
)
from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.partitions.columns import ADULT_COLUMNS
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.split_network import OwnerRows, activations, owner_round, owner_scores
from fedmkt.vertical.split_twin import SplitTwin, first_networks
from fedmkt.vertical.twin import Columns, train_alone, train_twin

TRAINING, TEST, SHUFFLE_SEED, LEAST_BIN, KNOWN = 32_561, 16_281, 20261126, 20, 1_000
ATTACKED, SEED = 10_000, 1
SETTINGS = SplitSettings()
TRIED: tuple[dict[str, float], ...] = (
    {},
    {"proximal": 0.0},
    {"proximal": 0.3},
    {"weight_decay": 0.0},
    {"weight_decay": 1.0},
    {"learning_rate": 0.01},
    {"rounds": 20, "local_steps": 10},
    {"rounds": 20},
    {"activations": 4, "width": 16},
)
DEFENCES: tuple[tuple[str, dict[str, float], float | None], ...] = (
    ("plain", {}, None),
    ("gradients clipped to 0.05", {"gradient_bound": 0.05}, None),
    ("gradient noise 0.1", {"gradient_noise": 0.1}, None),
    ("gradient noise 1", {"gradient_noise": 1.0}, None),
    ("gradient noise 4", {"gradient_noise": 4.0}, None),
    ("labels randomised at epsilon 3", {}, 3.0),
    ("labels randomised at epsilon 1", {}, 1.0),
    ("activations bounded by 0.5", {"activation_bound": 0.5}, None),
    ("activation noise 0.3", {"activation_noise": 0.3}, None),
    ("activation noise 1", {"activation_noise": 1.0}, None),
    ("activation noise 4", {"activation_noise": 4.0}, None),
)


def shuffled(rows: int) -> pl.DataFrame:
    """Return so many training rows in a fixed random order."""
    order = np.random.default_rng(SHUFFLE_SEED).permutation(TRAINING)[:rows]
    return bundled.load("adult_train")[order.tolist()]


def trained(
    frame: pl.DataFrame, settings: SplitSettings, *, epsilon: float | None = None
) -> SplitTwin:
    """Train on a table's first rows. epsilon: of labels that are randomised first."""
    return train_customers(split_customers(frame), settings, seed=SEED, epsilon=epsilon)


def untrained(frame: pl.DataFrame, settings: SplitSettings) -> FloatArray:
    """Return the scores where partners' networks stay as drawn, so that no gradient is sent."""
    customers = split_customers(frame)
    parties, labels = customers.parties, customers.labels
    secrets = [f"{SEED} {one.name}".encode() for one in parties]
    owner, partners = first_networks(parties, settings, secrets)
    shown = [
        activations(part, one.inputs, settings)
        for part, one in zip(partners, parties[1:], strict=True)
    ]
    count = training_rows(len(labels), settings.holdout)
    own = parties[0].inputs
    first = NetworkInputs(own.numbers[:count], own.codes[:count])
    rows = OwnerRows(first, labels[:count].astype(np.float64))
    for number in range(1, settings.rounds + 1):
        seen = [one[:count] for one in shown]
        owner, _ = owner_round(owner, rows, seen, settings, number=number)
    return owner_scores(owner, own, shown, settings)


def alone(frame: pl.DataFrame) -> FloatArray:
    """Return the scores of the owner's networks over its own columns."""
    return train_customers(split_customers(frame).owners, SETTINGS, seed=SEED).scores


def choose() -> None:
    """Measure settings on a quarter of the training rows."""
    frame = shuffled(TRAINING)
    labels, rows = split_customers(frame).labels, training_rows(TRAINING, SETTINGS.holdout)
    for change in TRIED:
        settings = SETTINGS.model_copy(update=change)
        scores = trained(frame, settings).scores
        inside, held = auc(labels[:rows], scores[:rows]), auc(labels[rows:], scores[rows:])
        say(f"{change or 'as they are'}: trained on {inside:.4f}, held out {held:.4f}")


def accuracy() -> None:
    """Measure the chosen settings on the test rows, beside what they are compared with."""
    frame = pl.concat([bundled.load("adult_train"), bundled.load("adult_test")])
    labels, share = split_customers(frame).labels, (TEST + 0.5) / (TRAINING + TEST)
    for name, scores in _compared(frame, labels, share):
        found = auc_interval(labels[TRAINING:], scores[TRAINING:])
        say(f"{name}: {found.value:.4f} ({found.low:.4f} to {found.high:.4f})")


def _compared(
    frame: pl.DataFrame, labels: np.ndarray, share: float
) -> Iterator[tuple[str, FloatArray]]:
    settings = SETTINGS.model_copy(update={"holdout": share})
    exchanges = 2 * settings.rounds + 4
    yield f"split, {settings.rounds} rounds, {exchanges} exchanges", trained(frame, settings).scores
    for epsilon in (3.0, 1.0):
        scores = trained(frame, settings, epsilon=epsilon).scores
        yield f"split, labels randomised at epsilon {epsilon:g}", scores
    yield "split, partners' networks as drawn, no gradient", untrained(frame, settings)
    steps = settings.rounds * settings.local_steps
    for rounds in (steps, steps // 2):
        central = settings.model_copy(update={"rounds": rounds, "local_steps": 1})
        yield f"central, {rounds} steps of all parameters", trained(frame, central).scores
    one_step = settings.model_copy(update={"local_steps": 1})
    yield (
        f"split, one local step a round, {settings.rounds} rounds",
        trained(frame, one_step).scores,
    )
    additive = VerticalSettings(max_bins=128, holdout=share, limit=8.0, levels=1025)
    schema, parties = bundled.schema("adult"), []
    for name, features in ADULT_COLUMNS.items():
        binning = binning_from_schema(schema, features, max_bins=additive.max_bins)
        codes = encode(frame, binning, dataset=name)
        parties.append(Columns(name, binning, codes, LEAST_BIN))
    yield "additive vertical, 8 rounds, no noise", train_twin(parties, labels, additive).scores
    alone = train_alone(parties[0], labels, additive)
    yield "bank alone, additive", alone.scores(parties[0].codes)


def attacks() -> None:
    """Play the attacks under each defence."""
    frame = shuffled(ATTACKED)
    labels, rows = split_customers(frame).labels, training_rows(ATTACKED, SETTINGS.holdout)
    held_out = auc(labels[rows:], untrained(frame, SETTINGS)[rows:])
    say(f"partners' networks as drawn, no gradient is sent: model {held_out:.3f}")
    say(f"bank alone, its own network: model {auc(labels[rows:], alone(frame)[rows:]):.3f}")
    for defence, change, epsilon in DEFENCES:
        twin = trained(frame, SETTINGS.model_copy(update=change), epsilon=epsilon)
        say(f"{defence}: model {auc(labels[rows:], twin.scores[rows:]):.3f}")
        for found in _attacked(split_customers(frame), twin, defence):
            say(f"    {_words(found)}")


def _attacked(customers: SplitCustomers, twin: SplitTwin, defence: str) -> Iterator[AttackResult]:
    """Attack what the retailer was sent, and what both partners showed."""
    rows = training_rows(ATTACKED, SETTINGS.holdout)
    held = np.sort(np.random.default_rng(SHUFFLE_SEED).choice(rows, KNOWN, replace=False))
    yield from attack_labels(twin, customers, held, partner="retailer", defence=defence)
    for column in ("relationship", "occupation"):
        yield attack_column(twin, customers, held, column=column, defence=defence)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


def _words(found: AttackResult) -> str:
    first = f"{found.series[0].y[0]:.3f} after one round"
    interval = f"({found.low:.3f} to {found.high:.3f})"
    return f"{found.name}: {first}, {found.value:.3f} {interval}, chance {found.chance:.3f}"


def main() -> None:
    """Print what was asked for."""
    known = {"choose": choose, "accuracy": accuracy, "attacks": attacks}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=known)
    known[parser.parse_args().what]()


if __name__ == "__main__":
    main()
