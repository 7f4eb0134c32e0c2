"""What the vertical demonstration leaves to report on: its world, its parties and its runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedmkt.contract.job import AnyJob
from fedmkt.contract.vertical_jobs import ExpansionJob, VerticalJob
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.node.app import node_at
from fedmkt.node.home import NodeHome
from fedmkt.simulation.vertical_partition import PartyData
from fedmkt.simulation.world import World


@dataclass(frozen=True, slots=True)
class Done:
    """One finished run: its job and its outcome."""

    job: AnyJob
    outcome: SharedOutcome


@dataclass(frozen=True, slots=True)
class VerticalStudy:
    """Everything the vertical report is drawn from. runs: by name, in the order they were made."""

    seed: int | None
    world: World
    parties: Mapping[str, PartyData] = field(repr=False)
    runs: Mapping[str, Done]

    def home(self, member: str) -> NodeHome:
        """Return a member's node, opened."""
        return node_at(self.world.node(member)).home

    @property
    def trainings(self) -> dict[str, VerticalJob]:
        """Return the trainings' jobs by run, in the order they were made."""
        return {run: d.job for run, d in self.runs.items() if isinstance(d.job, VerticalJob)}

    @property
    def expansions(self) -> dict[str, ExpansionJob]:
        """Return the expansions' jobs by run, in the order they were made."""
        return {run: d.job for run, d in self.runs.items() if isinstance(d.job, ExpansionJob)}
