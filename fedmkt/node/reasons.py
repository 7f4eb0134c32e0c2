"""Why a customer scores as it does: this member's own parts, in the words of its schema.

Guarantee: the reasons are what counts in a score, rounded as it is where scores are shown, and with
the constant they add up to this member's part of it. They speak of one customer of this node, to
this node's people, from what this node keeps; nobody is asked and nothing leaves. Each member can
explain its own columns only.
"""

from dataclasses import dataclass

from fedmkt.core.errors import CustomerUnknown, DatasetUnknown, TableChanged
from fedmkt.data.aligned import load_aligned
from fedmkt.node.alignments import customers_of, read_alignment
from fedmkt.node.home import NodeHome
from fedmkt.node.model_parts import read_part

CONSTANT = "for every customer"


@dataclass(frozen=True, slots=True)
class Reason:
    """One part of a score. feature: empty for the constant. effect: in log-odds."""

    feature: str
    unit: str
    label: str
    effect: float

    def __str__(self) -> str:
        """Return it in words: "education is Masters: +0.61"."""
        if not self.feature:
            return f"{self.label}: {self.effect:+.2f}"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.feature} is {self.label}{unit}: {self.effect:+.2f}"


def reasons(home: NodeHome, run: str, customer: str) -> tuple[Reason, ...]:
    """Return the parts of a customer's score that this member makes, largest first.

    The constant, which is the same for every customer, stands last.
    Raises: ModelUnknown, AlignmentUnknown, CustomerUnknown, DataError.
    """
    part = read_part(home, run)
    name = read_alignment(home, part.alignment).dataset
    dataset = home.contract.dataset(name)
    if dataset is None:
        raise DatasetUnknown(member=home.member, dataset=name)
    model = part.counted(home.member)
    try:
        rows = load_aligned(
            home.source(dataset.name),
            dataset.table,
            customers_of(home, dataset, part.alignment, (customer,)),
            coder=model.binning,
            target=None,
            quality_floor=0,
        )
    except TableChanged:
        raise CustomerUnknown(member=home.member, dataset=name) from None
    found = [
        Reason(feature, dataset.table.column(feature).unit, label, effect)
        for feature, label, effect in model.explain(rows.codes[0])
    ]
    return (*found, Reason("", "", CONSTANT, model.intercept))
