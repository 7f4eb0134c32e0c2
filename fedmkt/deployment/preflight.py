"""What a node needs before it runs, looked at one by one: `fedmkt node check`.

Guarantee: it spends nothing, and sends nothing about customers. A line that fails says what to do
next; none holds a value of a customer. It opens the home as a run does: a store and a log that are
not there yet are begun, and what a killed process left half done is put right.
Not guaranteed: that a run will be accepted; `fedmkt node dry-run` asks that of one job.
"""

import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from fedmkt.contract.collaboration import Dataset
from fedmkt.contract.revocation import revoked_members
from fedmkt.core.clock import Clock, SystemClock
from fedmkt.core.errors import FedmktError
from fedmkt.data.binning import binning_from_schema
from fedmkt.data.sources import Kind
from fedmkt.data.tables import load_examples
from fedmkt.data.validation import validate
from fedmkt.deployment.clock_skew import in_words, is_refused, look_at_clock
from fedmkt.identity.hash_chain import verify_chain
from fedmkt.node.home import AUDIT_FILE, NodeHome, open_home
from fedmkt.node.settings import LinkSettings, NodeSettings, read_settings
from fedmkt.storage.contract_files import read_revocations
from fedmkt.storage.key_file import is_encrypted

_TIMEOUT_S = 5.0
_USUAL_SKEW = timedelta(seconds=3)
_EXPIRY_WARNING = timedelta(days=30)
_LEAST_FREE = 2_000_000_000
_BINS = 64
_BATCH = 250_000


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at. state: `ok`, `warn` or `fail`. said: what, and what to do."""

    name: str
    state: str
    said: str


def preflight(home: Path) -> Iterator[Line]:
    """Yield one line for each thing a node needs, in the order in which to mend them."""
    try:
        settings = read_settings(home / "node.toml")
    except FedmktError as error:
        yield Line("settings", "fail", str(error))
        return
    yield Line("settings", "ok", f"node.toml of {settings.member}")
    yield _disk(home)
    if settings.link is None:
        yield Line("link", "fail", "there is none; take an invitation with fedmkt node join")
    else:
        yield from _link(home, settings.link)
    yield from _home(home, settings)


def _home(home: Path, settings: NodeSettings) -> Iterator[Line]:
    try:
        opened = open_home(home)
    except FedmktError as error:
        yield Line("home", "fail", f"{error.code}: {error}")
        return
    try:
        yield _key(home, settings)
        yield _contract(opened)
        yield _revocations(opened)
        yield _ledger(opened)
        yield _log(opened)
        for dataset in opened.contract.datasets:
            if opened.member in dataset.holders:
                yield _data(opened, dataset)
    finally:
        opened.close()


def _disk(home: Path) -> Line:
    free = shutil.disk_usage(home).free
    state = "ok" if free > _LEAST_FREE else "warn"
    advice = "" if state == "ok" else "; the ledger and the log need room, free some"
    return Line("disk", state, f"{free / 1e9:.1f} GB free{advice}")


def _link(home: Path, link: LinkSettings) -> Iterator[Line]:
    host, _, port = link.address.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.create_connection((host, int(port)), _TIMEOUT_S):
            pass
    except OSError as error:
        problem = error.strerror or type(error).__name__
        yield Line(
            "reachability",
            "fail",
            f"{link.address} cannot be reached ({problem}); is the coordinator up, and this "
            "connection allowed outbound?",
        )
        return
    yield Line("reachability", "ok", f"{link.address} answers")
    yield from _certificate(home, link, host, int(port))


def _certificate(home: Path, link: LinkSettings, host: str, port: int) -> Iterator[Line]:
    try:
        context = ssl.create_default_context(cafile=str(home / link.certificate))
        with (
            socket.create_connection((host, port), _TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
            spoken = secured.version() or "no version"
    except (OSError, ssl.SSLError) as error:
        problem = getattr(error, "verify_message", "") or type(error).__name__
        yield Line(
            "certificate",
            "fail",
            f"it does not fit tls/ca.crt ({problem}); ask the coordinator for a new invitation",
        )
        return
    assert shown is not None
    yield _expiry(x509.load_der_x509_certificate(shown).not_valid_after_utc, spoken)
    yield clock_line(link.address, context, SystemClock())


def _expiry(until: datetime, spoken: str) -> Line:
    left = until - datetime.now(UTC)
    state = "ok" if left > _EXPIRY_WARNING else "warn"
    advice = "" if state == "ok" else "; the coordinator has to renew it soon"
    return Line("certificate", state, f"{spoken}, valid until {until:%d %B %Y}{advice}")


def clock_line(address: str, context: ssl.SSLContext, clock: Clock) -> Line:
    """Compare this machine's clock with the coordinator's, by the time its guard tells."""
    skew = look_at_clock(address, context, clock)
    if skew is None:
        return Line("clock", "warn", "the coordinator does not tell its time; compare by hand")
    if abs(skew) <= _USUAL_SKEW:
        return Line("clock", "ok", f"within {_USUAL_SKEW.seconds} s of the coordinator's")
    said = f"{in_words(skew)} the coordinator's; set this machine's clock (NTP)"
    return Line("clock", "fail" if is_refused(skew) else "warn", said)


def _key(home: Path, settings: NodeSettings) -> Line:
    if is_encrypted(home / "identity.key"):
        return Line("key", "ok", "identity.key is encrypted and this user's alone")
    if settings.situation == "simulated":
        return Line("key", "ok", "identity.key is in clear, as a simulated member's is")
    said = "identity.key is in clear; encrypt it with fedmkt keys encrypt HOME"
    return Line("key", "warn", said)


def _contract(home: NodeHome) -> Line:
    contract, now = home.contract, home.clock.now()
    if contract.expires <= now:
        said = f"it ended on {contract.expires:%d %B %Y}; sign a new one"
        return Line("contract", "fail", said)
    state = "ok" if contract.expires - now > _EXPIRY_WARNING else "warn"
    return Line(
        "contract", state, f"{contract.name}, signed by all, until {contract.expires:%d %B %Y}"
    )


def _ledger(home: NodeHome) -> Line:
    with home.store.transaction() as tx:
        runs = {entry.run for entry in home.ledger.entries(tx)}
    return Line("ledger", "ok", f"opens; runs known: {len(runs)}")


def _revocations(home: NodeHome) -> Line:
    try:
        revoked = revoked_members(home.contract, read_revocations(home.folder))
    except FedmktError as error:
        return Line("revocations", "fail", f"{error.code}: {error}")
    if revoked:
        said = f"{', '.join(sorted(revoked))}; no run of this contract goes on, sign another"
        return Line("revocations", "fail", said)
    return Line("revocations", "ok", "none")


def _log(home: NodeHome) -> Line:
    try:
        with (home.folder / AUDIT_FILE).open("rb") as lines:
            verify_chain(lines, home.identity.public, home.audit.head, home.member)
    except FedmktError as error:
        return Line("audit log", "fail", f"{error.code}: {error}")
    return Line("audit log", "ok", f"{home.audit.head.sequence} records, unaltered and in order")


def _data(home: NodeHome, dataset: Dataset) -> Line:
    name = f"data {dataset.name}"
    try:
        return Line(name, "ok", _read(home, dataset))
    except FedmktError as error:
        return Line(name, "fail", f"{error.code}: {error}")


def _read(home: NodeHome, dataset: Dataset) -> str:
    features = [one.name for one in dataset.table.columns if one.use == "feature"]
    target = next((one.name for one in dataset.table.columns if one.use == "target"), None)
    if target is None:
        rows = _counted(home, dataset)
        return f"{rows:,} rows with all declared columns"
    examples, card = load_examples(
        home.source(dataset.name),
        dataset.table,
        dataset=dataset.name,
        target=target,
        coder=binning_from_schema(dataset.table, features, max_bins=_BINS),
        quality_floor=dataset.quality_floor,
    )
    del examples
    return f"{card.rows:,} rows, {card.share:.1%} of quality checks passed"


def _counted(home: NodeHome, dataset: Dataset) -> int:
    names: dict[str, Kind] = {dataset.table.customer_key: "key"}
    names |= {one.name: one.kind for one in dataset.table.columns}
    rows = 0
    for batch in home.source(dataset.name).batches(names, _BATCH):
        validate(batch, dataset.table, dataset.name, rows + 1).refuse_errors(dataset.name)
        rows += batch.height
    return rows
