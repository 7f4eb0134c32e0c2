"""What an expansion is at a node before its first step: its price, and what it reads.

Guarantee: none by itself; `fedmkt.node.expansion` makes both, in that order.
"""

from dataclasses import dataclass

from fedmkt.contract.vertical_jobs import ExpansionJob
from fedmkt.data.aligned import AlignedRows
from fedmkt.data.binning import Binning
from fedmkt.node.alignments import Alignment
from fedmkt.node.answer import Priced
from fedmkt.node.model_parts import ModelPart
from fedmkt.node.shared_state import SharedState


@dataclass(frozen=True, slots=True)
class PricedExpansion(Priced):
    """An expansion. binning: the partner's public bins."""

    job: ExpansionJob
    binning: Binning


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an expansion reads at a node. part: at the owner, its part of the joint model."""

    alignment: Alignment
    rows: AlignedRows
    part: ModelPart | None


def expansion_of(state: SharedState) -> ExpansionJob:
    """Return the job of a state."""
    assert isinstance(state.job, ExpansionJob)
    return state.job
