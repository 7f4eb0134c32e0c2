"""What is measured of one horizontal training, round by round."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedmkt.models.kept import AnyModel
from fedmkt.simulation.scenario.clock import Clock
from fedmkt.simulation.scenario.rows import Method, Row, Ruler


@dataclass
class Rounds:
    """Measures every round of one training."""

    ruler: Ruler
    method: Method
    partner: str | None = None
    spent: tuple[float | None, ...] = ()
    clock: Clock | None = None
    rows: list[Row] = field(default_factory=list)

    def finished_round(self, number: int, rounds: int, model: AnyModel) -> None:  # noqa: ARG002
        """Measure the round."""
        self._measured(number, [model])

    def finished_each(self, number: int, models: Sequence[AnyModel]) -> None:
        """Measure a round in which each partner has a model of its own: the mean of their figures.

        All are measured on the same test rows, everybody's.
        """
        self._measured(number, models)

    def _measured(self, number: int, models: Sequence[AnyModel]) -> None:
        aucs, losses = zip(*(self.ruler.measured(model) for model in models), strict=True)
        epsilon = self.spent[number - 1] if self.spent else None
        passed = None if self.clock is None else self.clock.after(number)
        self.rows.append(
            Row(
                self.method,
                number,
                self.partner,
                auc=math.fsum(aucs) / len(aucs),
                log_loss=math.fsum(losses) / len(losses),
                epsilon=epsilon,
                clock_s=passed,
            )
        )

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Horizontal trainings count rounds."""

    def ended(self, number: int, status: str) -> None:
        """Write down the round in which the training could not go on."""
        self.rows.append(Row(self.method, number, self.partner, status=status))
