"""Vertical training of three parties beside LightGBM on the joined table.

    python benchmarks/vertical_training.py [--people 32561] [--repeats 3] [--no-link]

Bank, retailer and map provider in this process, every protection on, label epsilon 3, over the
customers that an alignment found; against LightGBM with its defaults (100 rounds, all cores) on
the same customers' columns joined in one place. Then once more with each member behind a link of
10 Mb/s and 50 ms each way, which is slept through. Nodes run already; aligning is not timed.
Figures are ratios of wall times in this run; AUCs are those of the customers held out.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm
import numpy as np
from machine import median, print_header, print_table, verdict, wall
from numpy.typing import NDArray

from fedmkt.contract.collaboration import Cap, Dataset, VerticalTerms
from fedmkt.contract.vertical_jobs import AlignmentJob, LabelPrivacy, Party, VerticalJob
from fedmkt.coordinator.app import run_job
from fedmkt.coordinator.conversation import Patience
from fedmkt.coordinator.home import open_coordinator
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema
from fedmkt.evaluation.metrics import auc
from fedmkt.evidence.value_report import MeasuredValue
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.alignments import aligned_rows, read_alignment
from fedmkt.node.app import node_at, open_handler
from fedmkt.node.model_parts import read_value
from fedmkt.simulation.vertical_partition import PURPOSE, PartyData, make_parties
from fedmkt.simulation.vertical_plan import SETTINGS
from fedmkt.simulation.world import Terms, World, build_world
from fedmkt.transport.channel import Channel, Handler
from fedmkt.transport.flower import make_client_app, make_server_app
from fedmkt.transport.in_process import run_in_process
from fedmkt.vertical.plan import calibrated_multiplier
from fedmkt.vertical.residuals import training_rows

MEMBERS = ("bank", "retailer", "map_provider")
EPSILON, DELTA = 3.0, 1e-5
LOCAL_TARGET, LOCAL_AIM = 60.0, 20.0
PUBLISHED_LOCAL, PUBLISHED_LINK = "58 to 80", "355 to 465"
BITS_A_SECOND, LATENCY_S = 10e6, 0.05
_PATIENCE = Patience(connect_s=5, exchange_s=600, absent_s=5)


class Silent:
    """A watcher that shows nothing."""

    def finished_round(self, number: int, rounds: int, model: AdditiveModel) -> None:
        pass

    def finished_step(self, number: int, steps: int, name: str) -> None:
        pass


def dataset_of(member: str) -> str:
    return f"{member}-customers"


def features_of(party: PartyData) -> tuple[str, ...]:
    return tuple(column.name for column in party.schema.columns if column.use == "feature")


def built(folder: Path, parties: Mapping[str, PartyData]) -> World:
    """Make the parties' homes."""
    datasets = tuple(
        Dataset(
            name=dataset_of(member),
            population=dataset_of(member),
            holders=(member,),
            uses={PURPOSE: ("bank",)},
            vertical=VerticalTerms(keys=party.keys, exact_sizes=True),
            table=party.schema,
        )
        for member, party in parties.items()
    )
    caps = tuple(
        Cap(
            dataset=one.name,
            lifetime_epsilon=100,
            exact_scores_lifetime=10_000,
            alignments_lifetime=10,
        )
        for one in datasets
    )
    terms = Terms("bench", datasets, caps, datetime.now(UTC) + timedelta(days=1))
    tables = {member: party.table for member, party in parties.items()}
    consents = {member: party.consent for member, party in parties.items()}
    return build_world(folder, terms, tables, noise_seed=None, consents=consents)


def aligned(world: World, parties: Mapping[str, PartyData]) -> None:
    """Align all parties."""
    job = AlignmentJob(
        name="alignment",
        requester="bank",
        purpose=PURPOSE,
        parties=tuple(Party(member=one, dataset=dataset_of(one)) for one in parties),
        keys=("email", "phone"),
        exact_sizes=True,
    )
    world.run_shared(job, "alignment", Silent())


def training(parties: Mapping[str, PartyData]) -> VerticalJob:
    """Return the training job."""
    stated = tuple(
        Party(member=one, dataset=dataset_of(one), features=features_of(party))
        for one, party in parties.items()
    )
    bins = sum(
        binning_from_schema(party.schema, features_of(party), max_bins=SETTINGS.max_bins).total
        for party in parties.values()
    )
    multiplier = calibrated_multiplier(
        epsilon=EPSILON,
        delta=DELTA,
        rounds=SETTINGS.rounds,
        features=sum(len(one.features) for one in stated),
        bins=bins,
    )
    labels = LabelPrivacy(epsilon=EPSILON, delta=DELTA, noise_multiplier=multiplier)
    return VerticalJob(
        name="training",
        requester="bank",
        purpose=PURPOSE,
        parties=stated,
        alignment="alignment",
        owner="bank",
        target="income",
        model=SETTINGS,
        labels=labels,
    )


def linked(open_one: Handler) -> Handler:
    """Return the handler behind a link: every message takes its time each way."""

    def handle(request: bytes) -> bytes:
        time.sleep(LATENCY_S + 8 * len(request) / BITS_A_SECOND)
        reply = open_one(request)
        time.sleep(LATENCY_S + 8 * len(reply) / BITS_A_SECOND)
        return reply

    return handle


def trained(world: World, job: VerticalJob, run: str, *, link: bool) -> SharedOutcome:
    """Train over the in-process grid."""
    order = world.order(job, run)
    home, outcomes = open_coordinator(world.coordinator), []

    def main(channel: Channel, _config: object) -> None:
        outcomes.append(run_job(home, channel, order=order, watcher=Silent(), patience=_PATIENCE))

    client = make_client_app(lambda c: linked(open_handler(c)) if link else open_handler(c))
    configs = {
        number: {"home": str(world.node(member))}
        for number, member in enumerate(world.members, start=1)
    }
    run_in_process(make_server_app(main), client, node_configs=configs, run_config={})
    (outcome,) = outcomes
    assert isinstance(outcome, SharedOutcome)
    return outcome


def joined(world: World, job: VerticalJob) -> tuple[NDArray[np.uint16], NDArray[np.uint8], int]:
    """Return the aligned customers' columns in one place, their labels, and the training rows."""
    codes, target = [], None
    for party in job.parties:
        home = node_at(world.node(party.member)).home
        dataset = home.contract.dataset(party.dataset)
        assert dataset is not None
        binning = binning_from_schema(dataset.table, party.features, max_bins=job.model.max_bins)
        wanted = job.target if party.member == job.owner else None
        rows = aligned_rows(home, dataset, read_alignment(home, "alignment"), binning, wanted)
        codes.append(rows.codes)
        target = rows.target if wanted else target
    assert target is not None
    return np.hstack(codes), target, training_rows(len(target), job.model.holdout)


def boosted(codes: NDArray[np.uint16], target: NDArray[np.uint8]) -> lightgbm.LGBMClassifier:
    """Train LightGBM with its defaults, on all cores."""
    model = lightgbm.LGBMClassifier(n_jobs=os.cpu_count(), verbose=-1)
    return model.fit(codes, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=32_561)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-link", action="store_true", help="leave the simulated link out")
    options = parser.parse_args()
    print_header("Vertical training beside LightGBM on the joined table")
    everybody = make_parties(bundled.load("adult_train").head(options.people), seed=1)
    parties = {member: everybody[member] for member in MEMBERS}
    with tempfile.TemporaryDirectory() as folder:
        world = built(Path(folder), parties)
        aligned(world, parties)
        job = training(parties)
        codes, target, rows = joined(world, job)
        boosted(codes[:rows], target[:rows])  # warms imports
        pairs, outcomes = [], []
        for repeat in range(options.repeats):
            beside, _ = wall(lambda: boosted(codes[:rows], target[:rows]))
            outcomes.append(trained(world, job, f"training-{repeat}", link=False))
            pairs.append((outcomes[-1].wall_s, beside))
        model = boosted(codes[:rows], target[:rows])
        report(world, outcomes, pairs, model, codes[rows:], target[rows:], rows)
        if not options.no_link:
            slow = trained(world, job, "training-link", link=True)
            ratio = slow.wall_s / median([beside for _, beside in pairs])
            print(
                f"\nBehind links of {BITS_A_SECOND / 1e6:g} Mb/s and {LATENCY_S * 1000:g} ms each "
                f"way: {ratio:.0f} times LightGBM ({slow.wall_s:.1f} s; published for secure "
                f"boosting: {PUBLISHED_LINK})."
            )
        world.close()


def report(
    world: World,
    outcomes: list[SharedOutcome],
    pairs: list[tuple[float, float]],
    model: lightgbm.LGBMClassifier,
    codes: NDArray[np.uint16],
    target: NDArray[np.uint8],
    rows: int,
) -> None:
    """Print ratios, bytes, and where the time goes."""
    ratio = median([one / beside for one, beside in pairs])
    last = outcomes[-1]
    value = read_value(node_at(world.node("bank")).home, last.run)
    assert isinstance(value, MeasuredValue)
    boosted_auc = auc(target, model.predict_proba(codes)[:, 1])
    print_table(
        ("three parties, label epsilon 3", "figure"),
        [
            ("customers trained on", f"{rows:,}"),
            ("wall time over LightGBM's", f"{ratio:.1f}"),
            (f"at most {LOCAL_TARGET:g}", verdict(ratio, LOCAL_TARGET)),
            (f"at most {LOCAL_AIM:g}", verdict(ratio, LOCAL_AIM)),
            ("published for secure boosting, 8 cores a party", PUBLISHED_LOCAL),
            ("exchanges", str(last.exchanges)),
            ("MB from the members", f"{last.bytes_up / 1e6:.1f}"),
            ("MB to the members", f"{last.bytes_down / 1e6:.1f}"),
            ("AUC together", f"{value.joint_auc.value:.4f}"),
            ("AUC of the bank alone", f"{value.owner_auc.value:.4f}"),
            ("AUC of LightGBM on the joined table", f"{boosted_auc:.4f}"),
        ],
    )
    total = sum(last.seconds.values())
    print_table(
        ("where the time goes", "seconds", "share"),
        [
            (step, f"{spent:.2f}", f"{spent / total:.0%}")
            for step, spent in sorted(last.seconds.items(), key=lambda one: -one[1])
        ],
    )


if __name__ == "__main__":
    main()
