"""What the vertical demonstration says on the terminal: who was found, and what it was worth."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.evidence.figures import Interval
from fedmkt.evidence.report import Report
from fedmkt.evidence.shared_parts import Alignment, OverlapShown, Value


def say_value(console: Console, report: Report) -> None:
    """Print alignment, value report and expansions."""
    for overlap in report.overlaps:
        console.print(_overlap(overlap), highlight=False)
    for alignment in report.alignment:
        console.print(_alignment(alignment), highlight=False)
    if report.value is not None:
        console.print(_value(report.value))
        console.print(report.value.words, highlight=False)
        for partner in report.value.partners:
            console.print(f"  {partner.words}", highlight=False)
    for student in report.students:
        found = ", ".join(f"{share:.0%} by the top {at}%" for at, share in student.recall.items())
        console.print(
            f"beyond the overlap: {student.partner} ranked {student.ranked:,} customers of its own "
            f"(AUC {student.auc.value:.3f}; finds {found})",
            highlight=False,
        )


def _overlap(overlap: OverlapShown) -> str:
    who = " and ".join(overlap.members)
    if overlap.overlap is None:
        return f"overlap: {who} share fewer than {overlap.minimum:,} customers"
    return f"overlap: {who} share about {overlap.overlap:,} customers (± {2 * overlap.noise:.0f})"


def _alignment(alignment: Alignment) -> str:
    rates = ", ".join(f"{name} {rate:.0%}" for name, rate in alignment.match_rate.items())
    return (
        f"alignment: about {alignment.intersection:,} customers of all {len(alignment.members)} "
        f"(of their customers: {rates})"
    )


def _value(value: Value) -> Table:
    table = Table(
        title="What do the partners' columns add?",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    table.add_column("model", no_wrap=True)
    for heading in ("AUC", "lift", "gain", "95%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_row(
        f"{value.owner} alone",
        f"{value.owner_auc:.3f}",
        f"{value.owner_lift.value:.2f}",
        "",
        "",
        "",
    )
    for partner in value.partners:
        table.add_row(
            f"{partner.name} alone", f"{partner.auc:.3f}", f"{partner.lift.value:.2f}", "", "", ""
        )
    for partner in value.partners:
        table.add_row(
            f"{value.owner} + {partner.name}",
            f"{partner.joint_auc:.3f}",
            "",
            *_gain(partner.gain),
            partner.verdict.replace("_", " "),
        )
    table.add_row(
        "all together",
        f"{value.joint_auc:.3f}",
        f"{value.joint_lift.value:.2f}",
        *_gain(value.gain),
        value.verdict.replace("_", " "),
    )
    return table


def _gain(gain: Interval) -> tuple[str, str]:
    return f"{gain.value:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"
