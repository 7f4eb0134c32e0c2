"""Why a customer scores as it does: this member's own parts, in the words of its schema.

Guarantee: it speaks of one customer of this node, to this node's people, from what this node keeps;
nobody is asked and nothing leaves. Each member can explain its own columns only.
"""

from dataclasses import dataclass

from fedmkt.contract.collaboration import Dataset
from fedmkt.core.errors import ModelUnknown, TableChanged
from fedmkt.data.aligned import load_aligned
from fedmkt.node.alignments import customers_of
from fedmkt.node.home import NodeHome
from fedmkt.node.model_parts import read_part


@dataclass(frozen=True, slots=True)
class Reason:
    """One part of a score. effect: in log-odds."""

    feature: str
    unit: str
    label: str
    effect: float

    def __str__(self) -> str:
        """Return it in words: "education is Masters: +0.61"."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.feature} is {self.label}{unit}: {self.effect:+.2f}"


def reasons(home: NodeHome, run: str, customer: str) -> tuple[Reason, ...]:
    """Return the parts of a customer's score that this member's columns make, largest first.

    Raises: ModelUnknown (no part of such a run, or no such customer here).
    """
    part = read_part(home, run)
    dataset = _dataset_with(home, part.model.binning.names)
    try:
        rows = load_aligned(
            home.source(dataset.name),
            dataset.table,
            customers_of(home, dataset, part.alignment, (customer,)),
            binning=part.model.binning,
            target=None,
            quality_floor=0,
        )
    except TableChanged:
        raise ModelUnknown(run=run, problem="a customer of that key") from None
    return tuple(
        Reason(feature, dataset.table.column(feature).unit, label, effect)
        for feature, label, effect in part.model.explain(rows.codes[0])
    )


def _dataset_with(home: NodeHome, columns: tuple[str, ...]) -> Dataset:
    """Return this member's dataset that declares the model's columns. Raises: ModelUnknown."""
    for dataset in home.contract.datasets:
        declared = {column.name for column in dataset.table.columns}
        if home.member in dataset.holders and declared.issuperset(columns):
            return dataset
    raise ModelUnknown(run="of the part", problem="a dataset with its columns")
