"""What a contract says, in sentences, for whoever is asked to sign it."""

from collections.abc import Iterator

from fedmkt.contract.collaboration import Cap, Collaboration, Dataset, VerticalTerms


def in_words(contract: Collaboration) -> list[str]:
    """Return members, datasets, purposes and caps as sentences; nothing that allows is left out."""
    members = ", ".join(one.name for one in contract.members)
    lines = [
        f"contract {contract.name}, until {contract.expires:%d %B %Y}",
        f"members: {members}; coordinator: {contract.coordinator.name}",
    ]
    for dataset in contract.datasets:
        lines += _dataset(dataset)
    lines += [_cap(cap) for cap in contract.caps]
    if contract.bundle_hashes:
        lines.append(f"code: one of {len(contract.bundle_hashes)} named bundles")
    return lines


def _dataset(dataset: Dataset) -> Iterator[str]:
    holders = ", ".join(dataset.holders)
    yield f"dataset {dataset.name}, about {dataset.population}, held by {holders}:"
    for purpose, requesters in dataset.uses.items():
        guarded = ", also its audit and special columns" if purpose in dataset.guarded_uses else ""
        yield f"  may be used for {purpose}, when asked for by {', '.join(requesters)}{guarded}"
    yield f"  columns: {', '.join(one.name for one in dataset.table.columns)}"
    yield f"  noise: {', '.join(dataset.modes)}; at least {dataset.minimum_audience} rows"
    yield f"  least quality {dataset.quality_floor:g}, least overlap {dataset.minimum_overlap}"
    if dataset.updates_seen:
        yield "  the coordinator may see each holder's update by itself, without masks"
    if dataset.vertical is not None:
        yield from _vertical(dataset.vertical)


def _vertical(terms: VerticalTerms) -> Iterator[str]:
    keys = ", ".join(f"{one.key} (column {one.column})" for one in terms.keys)
    yield f"  customers may be matched with other members' by {keys}"
    yield f"  labels: {', '.join(terms.modes)}; up to {terms.most_rounds} rounds a training"
    levels = f"in {terms.most_levels} levels"
    yield f"  one feature may move a shown score by {terms.most_limit:g}, {levels}"
    yield f"  bins under {terms.least_bin} customers are merged"
    yield f"  an audience is expanded from {terms.least_seed} shared customers or more"
    if terms.exact_sizes:
        yield "  set and overlap sizes may be shown without noise"
    if terms.parts:
        yield "  this member's part of a score may be shown beside the total"
    if not terms.consent:
        yield "  no consent table is asked for"


def _cap(cap: Cap) -> str:
    scope = " ".join(part for part in (cap.purpose, cap.requester) if part) or "all uses"
    counts = {
        "a day": cap.uses_per_day,
        "a week": cap.uses_per_week,
        "a month": cap.uses_per_month,
        "for life": cap.uses_lifetime,
    }
    parts = [
        f"epsilon {cap.lifetime_epsilon:g} for life" if cap.lifetime_epsilon else "",
        f"{cap.period_epsilon:g} in {cap.period_days} days" if cap.period_epsilon else "",
        *(f"{count} runs {window}" for window, count in counts.items() if count),
        f"{cap.exact_scores_lifetime} exact scores" if cap.exact_scores_lifetime else "",
        f"{cap.alignments_lifetime} alignments" if cap.alignments_lifetime else "",
    ]
    said = ", ".join(part for part in parts if part) or "no limit is stated"
    delta = f" (delta {cap.delta:g})" if cap.lifetime_epsilon or cap.period_epsilon else ""
    return f"cap on {cap.dataset} ({scope}): {said}{delta}"
