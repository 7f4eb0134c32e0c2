"""The process of a partner's node: one outbound connection, no open port.

    python -m fedmkt.deployment.node_process --home HOME --link HOST:PORT --certificate FILE \\
        --key FILE [--allow SHA256]... [--metrics-port PORT]

Guarantee: it answers only runs whose bundle's hash the contract names (`bundle_hashes`; without
any, this package's own), or that were named with --allow. Asked to stop (SIGTERM), it ends within
5 s, also while it cannot reach the coordinator.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from fedmkt.contract.collaboration import Collaboration
from fedmkt.core.errors import FedmktError, SettingInvalid
from fedmkt.core.logs import log_to_stderr
from fedmkt.deployment.clock_skew import require_clock
from fedmkt.deployment.health import HeartbeatFile
from fedmkt.deployment.metrics import NodeMetrics, serve
from fedmkt.deployment.plan import HOST
from fedmkt.node.app import app, node_at, open_handler
from fedmkt.node.home import NodeHome
from fedmkt.transport.bundle import bundle_hash
from fedmkt.transport.flower import OpenHandler, make_client_app
from fedmkt.transport.stock_runner import run_stock
from fedmkt.transport.warm_runner import Link, WarmRunner, require_tested

_GRACE_S = 4.0

_log = logging.getLogger(__name__)


def main(words: list[str]) -> None:
    """Answer messages until asked to stop.

    Raises: what `node_at` raises, SettingInvalid, ClockSkewed (no message would be taken).
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--link", required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--allow", action="append", default=[])
    parser.add_argument("--metrics-port", type=int)
    given = parser.parse_args(words)
    # Opened now, so that what is wrong with the home is said before anybody waits for this node.
    home = node_at(given.home).home
    log_to_stderr(home.member)
    allowed = allowed_bundles(home.contract, given.allow)
    port = given.metrics_port
    answering = app if port is None else make_client_app(_measured(home, port))
    heartbeat, stopping = HeartbeatFile(given.home), threading.Event()
    _end_when_asked(stopping)
    require_clock(given.link, given.certificate, home.clock)
    try:
        require_tested(version("flwr"))
    except SettingInvalid as untested:
        _log.warning("%s; its own, slower runner is used", untested)
        run_stock(_stock_command(given), allowed=allowed, looked=heartbeat.looked)
        return
    config = {"home": str(given.home)}
    runner = WarmRunner(answering, config, allowed, stopping.is_set, heartbeat.looked)
    runner.run(Link(given.link, given.certificate.read_bytes(), given.key))


def allowed_bundles(contract: Collaboration, more: Iterable[str]) -> frozenset[str]:
    """Return the SHA-256 (hexadecimal) of the bundles a node runs. more: its own allow-list."""
    return frozenset({*(contract.bundle_hashes or (bundle_hash(),)), *more})


def _measured(home: NodeHome, port: int) -> OpenHandler:
    """Return what opens a handler that counts what it answers; serve its figures."""
    metrics = NodeMetrics(home)
    serve(metrics.registry, port)
    return lambda config: metrics.measured(open_handler(config))


def _end_when_asked(stopping: threading.Event) -> None:
    """On SIGTERM set `stopping`, and end the process by force where that does not end it in time.

    Flower tries without end to reach a SuperLink that does not answer, and looks at nothing else.
    """

    def end(*_: object) -> None:
        stopping.set()
        # What is done by halves then is what a crash leaves, and the store is made for it.
        forced = threading.Timer(_GRACE_S, os._exit, (0,))
        forced.daemon = True
        forced.start()

    signal.signal(signal.SIGTERM, end)


def _stock_command(given: argparse.Namespace) -> list[str]:
    return [
        "--superlink", given.link, "--root-certificates", str(given.certificate),
        "--auth-supernode-private-key", str(given.key), "--host", HOST, "--port", "0",
        "--node-config", f"home={json.dumps(str(given.home))}",
    ]  # fmt: skip


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FedmktError as ending:
        sys.exit(f"{ending.code}: {ending}")
