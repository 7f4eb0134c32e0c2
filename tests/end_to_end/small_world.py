"""A small simulated collaboration over a few hundred of Adult's rows, for whole runs in seconds."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedmkt.contract.collaboration import Cap, Dataset
from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.coordinator.app import run_job
from fedmkt.coordinator.conversation import Patience
from fedmkt.coordinator.home import open_coordinator
from fedmkt.coordinator.summed_training import Outcome
from fedmkt.data import bundled
from fedmkt.node.app import forget_nodes, open_handler
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.world import Terms, World, build_world
from fedmkt.transport.channel import Channel
from fedmkt.transport.flower import make_client_app, make_server_app
from fedmkt.transport.in_process import run_in_process

ROWS_EACH = 300
DATASET = "prospects"
ROUNDS = 3


def members_named(count: int) -> tuple[str, ...]:
    return tuple(f"member-{number}" for number in range(count))


def small_world(
    folder: Path,
    *,
    members: int = 3,
    noise_seed: int | None = 7,
    cap: float = 10.0,
    modes: tuple[str, ...] = ("local", "distributed"),
    uses_per_day: int | None = None,
    updates_seen: bool = False,
) -> World:
    names = members_named(members)
    table = bundled.load("adult_train")
    tables = {name: table.slice(number * ROWS_EACH, ROWS_EACH) for number, name in enumerate(names)}
    dataset = Dataset(
        name=DATASET,
        population="people",
        holders=names,
        uses={"prospecting": (names[0],)},
        modes=modes,
        updates_seen=updates_seen,
        table=bundled.schema("adult"),
    )
    caps = (
        Cap(dataset=DATASET, uses_per_day=5)
        if modes == ("none",)
        else Cap(dataset=DATASET, lifetime_epsilon=cap, period_epsilon=cap),
    )
    if uses_per_day is not None:
        caps += (Cap(dataset=DATASET, requester=names[0], uses_per_day=uses_per_day),)
    terms = Terms("small", (dataset,), caps, datetime.now(UTC) + timedelta(days=1))
    return build_world(folder, terms, tables, noise_seed=noise_seed)


def small_job(
    world: World,
    *,
    name: str = "small",
    epsilon: float = 4.0,
    trust: str = "local",
    may_drop: int = 0,
    rounds: int = ROUNDS,
    edges: str = "declared",
) -> Job:
    model = AdditiveSettings.model_validate({"max_bins": 8, "rounds": rounds, "edges": edges})
    noise = {}
    if trust != "none":
        multiplier = noise_multiplier_for(epsilon=epsilon, delta=1e-5, releases=model.releases)
        noise = {"epsilon": epsilon, "noise_multiplier": multiplier}
    return Job(
        name=name,
        requester=world.members[0],
        purpose="prospecting",
        dataset=DATASET,
        members=world.members,
        target="income",
        features=("age", "education", "hours_per_week"),
        model=model,
        privacy=PrivacySettings.model_validate({"trust": trust, "may_drop": may_drop, **noise}),
    )


class Quiet:
    """A watcher that shows nothing."""

    def finished_round(self, number: int, rounds: int, model: object) -> None:
        pass


@dataclass
class Trial:
    """Runs a job over the in-process grid, with whatever is to go wrong."""

    world: World
    patience: Patience = field(
        default_factory=lambda: Patience(connect_s=10, exchange_s=60, absent_s=0.2)
    )
    wrap: Callable[[Channel], Channel] = lambda channel: channel
    watcher: Any = field(default_factory=Quiet)
    grid: Mapping[str, Any] | None = None

    def run(self, job: Job, run: str) -> Outcome[Any]:
        order = self.world.order(job, run)
        home = open_coordinator(self.world.coordinator)
        outcomes: list[Outcome[Any]] = []

        def main(channel: Channel, _config: object) -> None:
            outcomes.append(
                run_job(
                    home,
                    self.wrap(channel),
                    order=order,
                    watcher=self.watcher,
                    patience=self.patience,
                )
            )

        configs = {
            number: {"home": str(self.world.node(member))}
            for number, member in enumerate(self.world.members, start=1)
        }
        run_in_process(
            make_server_app(main),
            make_client_app(open_handler),
            node_configs=configs,
            run_config={},
            **(self.grid or {}),
        )
        return outcomes[0]

    def restart_nodes(self) -> None:
        forget_nodes([self.world.node(member) for member in self.world.members])


def model_json(world: World, run: str) -> dict[str, object]:
    """Return the model the coordinator keeps of a run."""
    path = world.coordinator / "runs" / run / "model.json"
    value: dict[str, object] = json.loads(path.read_text())
    return value


SHORT = Patience(connect_s=10, exchange_s=3.0, absent_s=0.2)
"""For runs in which a node does not answer: long enough for the others on a busy machine."""
