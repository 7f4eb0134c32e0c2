"""Federated additive training beside the same model trained on the pooled rows.

    python benchmarks/federated_training.py [--copies 1 10 100] [--repeats 5]

Three partners in this process, every protection on (ledger, audit log, secure sum, noise from the
operating system), and the same without noise; against one process that holds all rows. Both go
from Parquet file to model: read, validate, encode, train, with equal settings. The model without
noise must be the pooled one to the last bit, or the benchmark stops. The second ratio leaves
reading out on both sides. Larger tables are Adult's training rows several times over, each copy
with customer keys of its own. Nodes run already, as they do in a deployment; a run's own folder,
journal, keys, prices, ledger entries, audit records and receipts are inside its time.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
from machine import median, print_header, print_table, verdict, wall

from fedmkt.contract.collaboration import Cap, Dataset
from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.core.stages import Examples
from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema
from fedmkt.data.quality import Scorecard
from fedmkt.data.sources import SourceSettings, open_source
from fedmkt.data.tables import load_examples
from fedmkt.horizontal.pooled import train_pooled
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.partition import PARTNERS, by_occupation
from fedmkt.simulation.world import Terms, World, build_world

TARGET = 3.0
EPSILON, DELTA = 3.0, 1e-5
CAP = 40.0  # room for every repetition of the noised run in one account
SCHEMA = bundled.schema("adult")
FEATURES = tuple(column.name for column in SCHEMA.columns if column.use == "feature")
SETTINGS = AdditiveSettings(max_bins=64, rounds=6, ridge=0.3, smoothness=1.0)
BINNING = binning_from_schema(SCHEMA, FEATURES, max_bins=SETTINGS.max_bins)
NOISED, BARE = "noised", "bare"


class Silent:
    """A watcher that shows nothing."""

    def finished_round(self, number: int, rounds: int, model: AdditiveModel) -> None:
        pass


@dataclass
class Times:
    """Seconds of each repetition, by what was timed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, spent: float) -> None:
        self.seconds.setdefault(name, []).append(spent)

    def forget_first(self) -> None:
        """Drop the repetition that warmed imports, caches and connections."""
        for taken in self.seconds.values():
            taken.pop(0)

    def ratio(self, name: str, pooled: str) -> float:
        """Return the median over repetitions of one time over another."""
        pairs = zip(self.seconds[name], self.seconds[pooled], strict=True)
        return median([one / other for one, other in pairs])


@dataclass(frozen=True)
class Bench:
    """The partners' world and the pooled table on disk."""

    world: World
    pooled: Path

    def read_pooled(self) -> Examples:
        return read(self.pooled)

    def job(self, arm: str, repetition: int) -> Job:
        privacy = PrivacySettings(trust="none")
        if arm == NOISED:
            # Another multiplier each time, so that no price is remembered from the last.
            multiplier = noise_multiplier_for(
                epsilon=EPSILON, delta=DELTA, releases=SETTINGS.rounds
            )
            privacy = PrivacySettings(
                trust="local",
                epsilon=EPSILON,
                delta=DELTA,
                noise_multiplier=multiplier * (1.001 + repetition / 1e6),
                count_weight=0.3,
            )
        return Job(
            name=arm,
            requester=PARTNERS[0],
            purpose="benchmark",
            dataset=arm,
            members=PARTNERS,
            target="income",
            features=FEATURES,
            model=SETTINGS,
            privacy=privacy,
        )


def read(table: Path) -> Examples:
    source = open_source(SourceSettings(kind="parquet", path=table))
    examples, _ = load_examples(source, SCHEMA, dataset="adult", target="income", coder=BINNING)
    return examples


def build(folder: Path, copies: int) -> Bench:
    adult = bundled.load("adult_train")
    rows = pl.concat(
        adult.with_columns(pl.col(SCHEMA.customer_key) + f"-{copy}") for copy in range(copies)
    )
    datasets = tuple(
        Dataset(
            name=arm,
            population=arm,
            holders=PARTNERS,
            uses={"benchmark": PARTNERS[:1]},
            modes=("local",) if arm == NOISED else ("none",),
            minimum_audience=1000,
            table=SCHEMA,
        )
        for arm in (NOISED, BARE)
    )
    caps = (
        Cap(dataset=NOISED, delta=DELTA, period_epsilon=CAP, lifetime_epsilon=CAP),
        Cap(dataset=BARE, uses_per_day=1000),
    )
    terms = Terms("benchmark", datasets, caps, datetime.now(UTC) + timedelta(days=1))
    world = build_world(folder / "world", terms, by_occupation(rows), noise_seed=None)
    rows.write_parquet(folder / "pooled.parquet")
    return Bench(world, folder / "pooled.parquet")


def repeat(bench: Bench, repetition: int, times: Times) -> None:
    """Time each way once, one after the other."""
    read_s, examples = wall(bench.read_pooled)
    train_s, state = wall(lambda: train_pooled([examples], BINNING, SETTINGS))
    times.add("pooled", read_s + train_s)
    times.add("pooled, read already", train_s)
    partners = {member: read(bench.world.node(member) / "customers.parquet") for member in PARTNERS}

    def read_already(source: Any, *_args: Any, **_kwargs: Any) -> tuple[Examples, Scorecard]:
        rows = partners[source.settings.path.parent.name]
        return rows, Scorecard(rows.rows, 1.0, 1.0, 1.0, None, 1.0, (), ())

    for arm in (NOISED, BARE):
        job = bench.job(arm, repetition)
        spent, outcome = wall(partial(bench.world.run, job, f"{arm}-{repetition}", Silent()))
        times.add(arm, spent)
        job = bench.job(arm, repetition + 1000)
        with mock.patch("fedmkt.node.training_data.load_examples", read_already):
            spent, again = wall(partial(bench.world.run, job, f"{arm}-r-{repetition}", Silent()))
        times.add(f"{arm}, read already", spent)
        if arm == BARE:
            assert outcome.model.hash == again.model.hash == state.model.hash


def measure(copies: int, repeats: int) -> Mapping[str, float]:
    """Return medians of seconds and ratios for Adult's rows `copies` times over."""
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        bench = build(Path(folder), copies)
        try:
            for repetition in range(repeats + 1):
                repeat(bench, repetition, times)
        finally:
            bench.world.close()
    times.forget_first()
    found = {name: median(taken) for name, taken in times.seconds.items()}
    for arm in (NOISED, BARE):
        for suffix in ("", ", read already"):
            found[f"{arm}{suffix}, ratio"] = times.ratio(arm + suffix, "pooled" + suffix)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print_header(
        f"Federated training: three partners, {SETTINGS.rounds} rounds, "
        f"{BINNING.total} bins, medians of {args.repeats}"
    )
    rows = []
    for copies in args.copies:
        found = measure(copies, args.repeats)
        size = f"Adult x {copies} ({copies * bundled.load('adult_train').height:,} rows)"
        for suffix, what in (("", "file to model"), (", read already", "without reading")):
            pooled = found["pooled" + suffix]
            noised, bare = found[NOISED + suffix], found[BARE + suffix]
            ratio = found[f"{NOISED}{suffix}, ratio"]
            rows.append(
                (
                    f"{size}, {what}",
                    f"{pooled:.3f}",
                    f"{noised:.3f}",
                    f"{bare:.3f}",
                    f"{ratio:.2f}",
                    f"{found[f'{BARE}{suffix}, ratio']:.2f}",
                    verdict(ratio, TARGET) if not suffix else "",
                )
            )
    print_table(
        (
            "rows",
            "pooled s",
            "federated s",
            "federated without noise s",
            "ratio",
            "ratio without noise",
            f"at most {TARGET:g}",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
