"""What the coordinator does in a split training: it carries sealed activations and gradients.

A round takes two exchanges, activations to the label owner and gradients back; one exchange more
brings the last activations. It reads neither.
"""

from dataclasses import dataclass
from typing import ClassVar

from fedmkt.contract.split_job import SplitJob
from fedmkt.coordinator.shared_run import SharedRun
from fedmkt.coordinator.vertical import exactly
from fedmkt.identity.hash_chain import JSON
from fedmkt.wire.shared import (
    ActivationsRequest,
    DoneReply,
    GradientsReply,
    GradientsRequest,
    ResultRequest,
    SealedReply,
)


@dataclass
class SplitRun(SharedRun):
    """One split training over the columns of several members."""

    kind: ClassVar[str] = "split"
    job: SplitJob

    @staticmethod
    def exchanges(job: SplitJob) -> int:
        """Return the number of exchanges."""
        return 2 * job.model.rounds + 4

    def carry_out(self) -> dict[str, JSON]:
        """Run the rounds and hand the owner the last activations."""
        gradients = dict.fromkeys(self.job.partners, b"")
        for index in range(self.job.model.rounds):
            gradients = self._round(index, gradients)
        shown = self._shown(self.job.model.rounds, gradients)
        self.ask("result", {self.job.owner: ResultRequest(total=b"", parts=shown)}, DoneReply)
        return {}

    def _round(self, index: int, gradients: dict[str, bytes]) -> dict[str, bytes]:
        shown = self._shown(index, gradients)
        bundles = self.bundles if index == 0 else {}
        asked = GradientsRequest(index=index, bundles=bundles, sealed=shown)
        told = self.ask(f"gradients/{index}", {self.job.owner: asked}, GradientsReply)
        return exactly(told[self.job.owner].sealed, self.job.partners)

    def _shown(self, index: int, gradients: dict[str, bytes]) -> dict[str, bytes]:
        bundles = self.bundles if index == 0 else {}
        asked = {
            member: ActivationsRequest(index=index, bundles=bundles, gradient=gradient)
            for member, gradient in gradients.items()
        }
        shown = self.ask(f"activations/{index}", asked, SealedReply)
        return {member: reply.sealed for member, reply in shown.items()}
