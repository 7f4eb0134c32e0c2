"""The words of a canary audit, and its page.

Guarantee: that of `report_page`: the page is self-contained, everything is escaped, and equal
audits of one day give equal bytes.
"""

from dataclasses import dataclass
from datetime import date

from fedmkt import __version__
from fedmkt.simulation.attacks.attack_plots import canary_plot, epsilon_bar
from fedmkt.simulation.attacks.canaries import CanaryAudit
from fedmkt.simulation.report_page import palettes, template_environment


@dataclass(frozen=True, slots=True)
class Subject:
    """What was audited and when. job, schema, table: the names of their files, without folders."""

    job: str
    schema: str
    table: str
    on: date

    @property
    def words(self) -> str:
        """Return it in a line."""
        named = f"Job {self.job}, table {self.table}, schema {self.schema}"
        return f"{named}. By fedmkt {__version__} on {self.on:%Y-%m-%d}."


def audit_lines(audit: CanaryAudit) -> tuple[str, ...]:
    """Return what an audit found, and what it does and does not show, a sentence or two a line."""
    bound = audit.result.value
    found = (
        f"Stated: epsilon {audit.stated:g} at delta {audit.delta:g} for one customer. Lower bound: "
        f"{bound:.3f} (95%), from {audit.right} right of {audit.guesses} guesses about "
        f"{audit.canaries} canaries."
    )
    if audit.exceeds:
        verdict = (
            "The bound is above the statement: this training does not keep it. Of trainings that "
            "keep theirs, at most one in twenty is found so; run it again to be surer."
        )
    else:
        verdict = (
            "The bound is not above the statement. That does not prove it; the proof of the "
            f"mechanism does. With every guess right the bound would be {audit.reach:.2f}"
        )
        short = audit.reach <= audit.stated
        verdict += ": too little for this statement. Take more canaries." if short else "."
    missed = (
        "Not shown: noise that is short by half, which mostly passes; any defect, where customers "
        "are drawn in few steps only; other releases than a training's own sums. The audit trains "
        "anew by the stated terms, with canaries that spoil the model; a finished model is not "
        "looked into."
    )
    return found, verdict, missed


def audit_page(audit: CanaryAudit, what: str, subject: Subject) -> str:
    """Return the page of an audit as HTML. what: the training, in words."""
    return (
        template_environment()
        .get_template("canaries.html.j2")
        .render(
            palettes(),
            what=what[:1].upper() + what[1:],
            subject=subject.words,
            lines=audit_lines(audit),
            plots=[epsilon_bar(audit), canary_plot(audit)],
        )
    )
