"""What every training over aligned customers has in common at a node: two sides, and their turns.

One member, the owner, holds the labels; the others are partners. What a side remembers, answers and
keeps is its program's own.

Guarantee: a side is never asked for the other's step. Labels that are randomised are drawn once a
run, before anything is made of them.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.split_job import SplitJob
from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.core.errors import StepOutOfOrder
from fedmkt.core.stages import FloatArray
from fedmkt.node.alignments import AlignedProgram, AlignedT
from fedmkt.node.answer import Answer, PricedT
from fedmkt.node.home import NodeHome
from fedmkt.node.shared_state import SharedState, begin, opened
from fedmkt.privacy.randomised_response import randomise_labels, unbiased
from fedmkt.wire.steps import Request

JointJobT = TypeVar("JointJobT", bound=VerticalJob | SplitJob)
_LABELS = "labels"


class JointTraining(AlignedProgram[JointJobT, PricedT, AlignedT]):
    """A training over aligned customers, whose two sides its program hands in."""

    @abstractmethod
    def first_memory(
        self, home: NodeHome, run: str, priced: PricedT, loaded: AlignedT
    ) -> dict[str, Any]:
        """Return what this member remembers before the first round."""

    @abstractmethod
    def as_owner(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedT, AlignedT]],
    ) -> Answer | None:
        """Answer a request at the label owner; None for one that is not its step."""

    @abstractmethod
    def as_partner(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedT, AlignedT]],
    ) -> Answer | None:
        """Answer a request at a partner; None for one that is not its step."""

    def open(self, home: NodeHome, run: str, priced: PricedT, loaded: AlignedT) -> Answer:
        """Make this run's keys; state which alignment this member holds."""
        job = priced.job
        assert isinstance(job, VerticalJob | SplitJob)
        state, bundle = begin(home, run, job, {"alignment": loaded.alignment.digest})
        state = state.remembering(**self.first_memory(home, run, priced, loaded))
        return opened(bundle, state, priced.dataset.name, {"alignment": job.alignment})

    def step(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[PricedT, AlignedT]],
    ) -> Answer:
        """Answer one request."""
        answer = self.as_owner if owns_labels(home, state) else self.as_partner
        answered = answer(home, state, request, data)
        if answered is None:
            raise StepOutOfOrder(step=request.kind, run=state.run)
        return answered


def owns_labels(home: NodeHome, state: SharedState) -> bool:
    """Tell whether this member is the label owner of a training."""
    assert isinstance(state.job, VerticalJob | SplitJob)
    return home.member == state.job.owner


def drawn_labels(
    home: NodeHome, run: str, labels: NDArray[np.uint8], epsilon: float
) -> dict[str, Any]:
    """Return the memory of labels, (rows,), that were randomised."""
    # Privacy: drawn once for the whole run; drawn anew each round it would wear off.
    source = home.noise.stream(f"{run}/labels/{home.member}")
    drawn = randomise_labels(labels, epsilon=epsilon, source=source)
    return {_LABELS: drawn.astype(np.uint8).tobytes()}


def soft_labels(memory: Mapping[str, Any], epsilon: float) -> FloatArray:
    """Return unbiased labels, (rows,), of those that `drawn_labels` remembered."""
    return unbiased(np.frombuffer(memory[_LABELS], dtype=np.uint8), epsilon)
