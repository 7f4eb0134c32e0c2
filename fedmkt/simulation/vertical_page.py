"""The page of the vertical demonstration: what its template is given.

Guarantee: words follow from the report's figures; nothing here measures.
"""

import math
from collections.abc import Sequence

from fedmkt.evidence.report import Report
from fedmkt.evidence.shared_parts import ColumnInference, Value
from fedmkt.simulation.plots import roc_plot
from fedmkt.simulation.shape_plots import shape_plots
from fedmkt.simulation.svg import Plot
from fedmkt.simulation.vertical_plots import (
    VERDICT_WORDS,
    auc_plot,
    found_plots,
    gain_plot,
    lift_plot,
    plain,
)
from fedmkt.simulation.vertical_run_plots import (
    cost_plot,
    inference_plot,
    recall_plot,
    runs_of_one,
)

_KINDS = {
    "overlap": "count of shared customers",
    "alignment": "alignment",
    "vertical": "training",
    "scoring": "scoring",
    "expansion": "audience expansion",
}
_MODES = {
    "encrypted": "encrypted, noised",
    "encrypted_without_noise": "encrypted, no noise",
    "label_private": "randomised once",
    "shared_labels": "residuals shown",
    "split_label_private": "labels randomised once, activations shown",
    "split_shared_labels": "gradients and activations shown",
}


def page_parts(report: Report) -> dict[str, object]:
    """Return what the vertical template needs beside what both templates share."""
    columns = columns_of(report)
    names = [f"the {plain(partner.name)}" for partner in report.partners]
    score = math.fsum(one.total for one in report.explained)
    alone, several = _by_company(report.column_inference)
    return {
        "worth": _drawn(auc_plot(report), gain_plot(report)),
        "use": _drawn(lift_plot(report), roc_plot(report)),
        "found": found_plots(report),
        "shapes": _shapes_by_member(report, columns),
        "columns": columns,
        "everybody": listed(names),
        "inference": inference_plot(report),
        "worst_alone": _worst(alone),
        "worst_several": _worst(several),
        "recall": recall_plot(report),
        "cost": cost_plot(report),
        "score": score,
        "probability": 1 / (1 + math.exp(-score)),
        "twin": next((model for model in report.models if model.training == "pooled"), None),
        "verdicts": VERDICT_WORDS,
        "kinds": _KINDS,
        "modes": _MODES,
    }


def vertical_headline(report: Report) -> str:
    """Return the verdict in one or two sentences, whichever way it went."""
    value = report.value
    if value is None:
        return "No joint model was trained."
    start = VERDICT_WORDS[value.verdict].capitalize()
    figures = (
        f"with its partners' columns the {plain(value.owner)}'s model reaches an AUC of "
        f"{value.joint_auc:.3f} instead of {value.owner_auc:.3f}."
    )
    return f"{start}: {figures} {_of_partners(value)}".strip()


def columns_of(report: Report) -> list[tuple[str, tuple[str, ...]]]:
    """Return each member's columns, as the models of one member alone name them."""
    features = {model.name: model.features for model in report.models}
    return [
        (partner.name, features[f"{partner.name} alone"])
        for partner in report.partners
        if f"{partner.name} alone" in features
    ]


def _of_partners(value: Value) -> str:
    """Say which partners the verdict rests on."""
    said = {
        "worth_it": ("adds to it", "add to it"),
        "adds_nothing": ("adds nothing", "add nothing"),
        "not_shown": ("is not shown to add anything", "are not shown to add anything"),
    }
    parts = []
    for verdict, (one, several) in said.items():
        names = [f"the {plain(p.name)}" for p in value.partners if p.verdict == verdict]
        if names:
            parts.append(f"{listed(names)} {one if len(names) == 1 else several}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def listed(names: Sequence[str]) -> str:
    """Return names as they are said in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _shapes_by_member(
    report: Report, columns: Sequence[tuple[str, tuple[str, ...]]]
) -> list[tuple[str, list[Plot]]]:
    """Return the shapes' plots by the member whose columns they are, strongest first."""
    plots = {plot.title: plot for plot in shape_plots(report)}
    found = []
    for member, names in columns:
        titles = {name.replace("_", " ") for name in names}
        own = [plot for title, plot in plots.items() if title in titles]
        if own:
            found.append((member, own))
    return found


def _by_company(
    found: Sequence[ColumnInference],
) -> tuple[list[ColumnInference], list[ColumnInference]]:
    """Return the attacks on a partner alone, and those on several partners together."""
    alone = runs_of_one(found)
    return [o for o in found if o.run in alone], [o for o in found if o.run not in alone]


def _worst(found: Sequence[ColumnInference]) -> ColumnInference | None:
    """Return the attack that got most of what the commonest value leaves to guess."""

    def got(one: ColumnInference) -> float:
        return (one.accuracy - one.majority) / max(1 - one.majority, 1e-9)

    return max(found, key=got, default=None)


def _drawn(*plots: Plot | None) -> list[Plot]:
    return [plot for plot in plots if plot is not None]
