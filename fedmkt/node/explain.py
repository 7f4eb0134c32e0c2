"""What a run spent and why, in plain sentences, from this node's ledger and audit log alone.

Reads no customer data and asks nobody: it works offline, years later.
"""

import math
from collections.abc import Sequence

from fedmkt.core.errors import ReservationUnknown
from fedmkt.node.home import AUDIT_FILE, NodeHome, audit_records
from fedmkt.node.wording import LABEL, noise_words, unit_words
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.accounts import COUNTED
from fedmkt.privacy.events import ExactEvent, GaussianEvent, NonPrivateEvent
from fedmkt.privacy.filter import cost_nano, filter_terms, spent_epsilon
from fedmkt.privacy.ledger import counted_units
from fedmkt.storage.balances import Balance
from fedmkt.storage.ledger_store import Entry

DELTA = 1e-5
LARGE = 12.0  # epsilon from which e^epsilon is told as a power


def explain(home: NodeHome, run: str) -> tuple[str, ...]:
    """Return the sentences that explain a run. Raises: ReservationUnknown, AuditBroken."""
    with home.store.transaction() as tx:
        entries = home.ledger.entries(tx, run)
        balances = home.ledger.balances(tx)
    if not entries:
        return _refusals(home, run)
    first = entries[0]
    own = [balance for balance in balances if _concerns(balance, first)]
    return (
        f"{home.member}: run {run} of job {first.job} used dataset {first.dataset} "
        f"for {first.purpose}, asked for by {first.requester}.",
        *_releases(entries),
        *_endings(home, run),
        *_what_it_means(entries, next((one.delta for one in own if one.delta), DELTA)),
        *_starts(entries),
        *(sentence for balance in own for sentence in _charged(balance, entries)),
    )


def _refusals(home: NodeHome, run: str) -> tuple[str, ...]:
    records = audit_records(home.folder / AUDIT_FILE)
    reasons = [
        record["facts"]
        for record in records
        if record["kind"] == "refused" and record["facts"].get("run") == run
    ]
    if not reasons:
        raise ReservationUnknown(run=run, release="any")
    return tuple(
        f"{home.member}: run {run} of job {facts['job']} was refused under rule {facts['code']} "
        f"and spent nothing. {facts['reason']}"
        for facts in reasons
    )


def _releases(entries: Sequence[Entry]) -> tuple[str, ...]:
    words = {
        "spent": "left this node and counts as spent",
        "planned": "was reserved and may have left, so it counts as spent",
        "returned": "never left this node and was given back",
    }
    return tuple(
        f"Release {entry.release + 1} ({entry.name}) {words[entry.state]} "
        f"({entry.at:%Y-%m-%d %H:%M} UTC); {_noise(entry)}."
        for entry in entries
    )


def _noise(entry: Entry) -> str:
    return noise_words(entry.event, unit_words(entry.name, entry.event))


def _endings(home: NodeHome, run: str) -> tuple[str, ...]:
    """Say where a run ended since a step failed, and why that counts."""
    return tuple(
        f"Step {facts['step']} failed ({facts['code']}) and ended the run. "
        + (
            "Whether it fails is an answer too, so the release of that step counts as spent, "
            "though it may not have left."
            if facts["releases"]
            else "Nothing was left to count."
        )
        for facts in (
            record["facts"]
            for record in audit_records(home.folder / AUDIT_FILE)
            if record["kind"] == "ended" and record["facts"].get("run") == run
        )
    )


def _counted(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.state != "returned"]


def _what_it_means(entries: Sequence[Entry], delta: float) -> tuple[str, ...]:
    held = [one.event for one in _counted(entries)]
    exact = [event for event in held if isinstance(event, ExactEvent)]
    priced = [one for one in _counted(entries) if not isinstance(one.event, ExactEvent)]
    sentences = []
    if priced or not exact:
        sentences.append(_bound(priced, delta, alone=not exact))
    if exact:
        counted = sum(event.what in COUNTED for event in exact)
        sentences.append(
            f"Exact releases, which no epsilon bounds: {len(exact)}, of which {counted} count "
            "against caps for life."
        )
    return tuple(sentences)


def _starts(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Say at the label owner that an order may stand for more trainings than this one."""
    if not any(unit_words(one.name, one.event) == LABEL for one in _counted(entries)):
        return ()
    return (
        "If its order says restart, that one order can start more trainings than this: one for "
        "each set of lost partners that leaves two, as runs of their own, each charged anew.",
    )


def _bound(priced: Sequence[Entry], delta: float, *, alone: bool) -> str:
    """Say what epsilon bounds. alone: the run had no exact release beside `priced`."""
    events = [entry.event for entry in priced]
    if any(isinstance(event, NonPrivateEvent) for event in events):
        return "The run was without noise: no epsilon bounds what it tells about a customer."
    # Privacy: beside an exact release the epsilon is not that of the run.
    whole, from_it = ("that is", "this run") if alone else ("its noised releases are", "those")
    units = {unit_words(entry.name, entry.event) for entry in priced}
    reason = (
        "because the customer's row was in the table"
        if units <= {"customer"}
        else f"because the {units.pop()} was as it was"
    )
    epsilon = epsilon_of(events, delta)
    # Noised sums of labels, unlike labels that were randomised, can be undone by made-up columns.
    honest = any(
        isinstance(one.event, GaussianEvent) and unit_words(one.name, one.event) == LABEL
        for one in priced
    )
    condition = " This holds against partners that follow the protocol." if honest else ""
    return (
        f"Together {whole} epsilon {epsilon:.3f} at delta {delta:g}: whatever somebody concludes "
        f"from {from_it} about a customer was at most {_times(epsilon)} times as likely (up to a "
        f"chance of {delta:g}) {reason}.{condition}"
    )


def _times(epsilon: float) -> str:
    return f"{math.exp(epsilon):.2f}" if epsilon < LARGE else f"e^{epsilon:.1f}"


def _concerns(balance: Balance, entry: Entry) -> bool:
    purpose = balance.purpose is None or balance.purpose.casefold() == entry.purpose.casefold()
    requester = balance.requester is None or balance.requester == entry.requester
    return balance.dataset == entry.dataset and purpose and requester


def _charged(balance: Balance, entries: Sequence[Entry]) -> tuple[str, ...]:
    scope = " and ".join(
        words
        for words in (
            f"purpose {balance.purpose}" if balance.purpose else "all purposes",
            f"requester {balance.requester}" if balance.requester else "all requesters",
        )
    )
    sentences = []
    for window, cap, left in (
        (f"{balance.period_days} days", balance.period_cap, balance.period_left),
        ("life", balance.lifetime_cap, balance.lifetime_left),
    ):
        if cap is None or left is None or balance.delta is None:
            continue
        charged = _share_of_cap(cap, balance.delta, entries)
        sentences.append(
            f"Of the cap of epsilon {cap:g} for {window} ({scope}) the filter charged "
            f"{charged:.3f} for it; {left:.3f} is left now, after all runs."
        )
    for uses in balance.uses:
        units = sum(counted_units(one.event, uses.window) for one in _counted(entries))
        if units:
            kind = uses.window.replace("_", " ")
            left = max(0, uses.allowed - uses.used)
            sentences.append(
                f"Of the cap of {uses.allowed} {kind} for life ({scope}) it took {units}; "
                f"{left} left now, after all runs."
            )
    return tuple(sentences)


def _share_of_cap(cap: float, delta: float, entries: Sequence[Entry]) -> float:
    terms = filter_terms(cap, delta)
    events = [one.event for one in _counted(entries) if not isinstance(one.event, ExactEvent)]
    nano = sum(cost_nano(event, terms.order) for event in events)
    return spent_epsilon(cap, nano, terms.budget_nano)
