"""Figures for Prometheus, on loopback: what a node answers and has left, what a coordinator runs.

Guarantee: figures are served on 127.0.0.1 alone, where anybody on the machine may read them; they
carry names of datasets, purposes, requesters, rules and runs' states, and no customer's value. A
look changes nothing: budgets are read from the ledger, refusals from the audit log, runs from the
coordinator's files.
"""

import logging
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fedmkt.coordinator.progress import Event, read_progress
from fedmkt.core.errors import FedmktError, SettingInvalid
from fedmkt.deployment import jobs
from fedmkt.deployment.plan import HOST, Layout
from fedmkt.node.home import AUDIT_FILE, NodeHome, audit_records
from fedmkt.storage.balances import Balance
from fedmkt.transport.channel import Handler

_log = logging.getLogger(__name__)

_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0)
_SCOPE = ("dataset", "population", "purpose", "requester")


class NodeMetrics:
    """The figures of one node."""

    def __init__(self, home: NodeHome) -> None:
        """Take the node's home, whose ledger and log are read at each look."""
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "fedmkt_answer_seconds", "Seconds a message took", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._bytes = Counter(
            "fedmkt_bytes", "Bytes of messages", ["direction"], registry=self.registry
        )
        self._failures = Counter(
            "fedmkt_failures", "Messages answered by an error", ["code"], registry=self.registry
        )
        self.registry.register(_NodeFiles(home))

    def measured(self, handler: Handler) -> Handler:
        """Return a handler that answers as `handler` does, and counts."""

        def answer(request: bytes) -> bytes:
            started = time.monotonic()
            self._bytes.labels("in").inc(len(request))
            try:
                reply = handler(request)
            except Exception as error:
                code = error.code if isinstance(error, FedmktError) else "internal_error"
                self._failures.labels(code).inc()
                raise
            finally:
                self._seconds.observe(time.monotonic() - started)
            self._bytes.labels("out").inc(len(reply))
            return reply

        return answer


class _NodeFiles(Collector):
    """What a node's ledger and audit log say when somebody looks."""

    def __init__(self, home: NodeHome) -> None:
        self._home = home

    def collect(self) -> Iterator[Metric]:
        """Yield what is left of each cap, and how often each rule refused."""
        left = GaugeMetricFamily(
            "fedmkt_budget_left_epsilon", "Epsilon left", labels=[*_SCOPE, "window"]
        )
        uses = GaugeMetricFamily(
            "fedmkt_uses_left", "Uses left, of runs or of what is counted exactly",
            labels=[*_SCOPE, "window"],
        )  # fmt: skip
        with self._home.store.transaction() as tx:
            balances = self._home.ledger.balances(tx)
        for one in balances:
            windows = (("period", one.period_left), ("lifetime", one.lifetime_left))
            for window, epsilon in windows:
                if epsilon is not None:
                    left.add_metric([*_scope(one), window], epsilon)
            for counted in one.uses:
                uses.add_metric([*_scope(one), counted.window], counted.left)
        yield from (left, uses, self._refusals())

    def _refusals(self) -> Metric:
        found = CounterMetricFamily("fedmkt_refusals", "Requests refused, by rule", labels=["rule"])
        path = self._home.folder / AUDIT_FILE
        records = audit_records(path) if path.exists() else []
        rules = Tally(one["facts"]["code"] for one in records if one["kind"] == "refused")
        for rule, count in sorted(rules.items()):
            found.add_metric([rule], count)
        return found


def _scope(one: Balance) -> list[str]:
    return [one.dataset, one.population, one.purpose or "", one.requester or ""]


class CoordinatorFiles(Collector):
    """What a coordinator's files say when somebody looks: runs, their traffic, nodes, processes."""

    def __init__(self, layout: Layout) -> None:
        """Take the deployment's folder."""
        self._layout = layout

    def collect(self) -> Iterator[Metric]:
        """Yield runs by state, all runs' exchanges, bytes and seconds, and who is online."""
        standings = self._standings()
        runs = GaugeMetricFamily("fedmkt_runs", "Runs, by state", labels=["state"])
        for state, count in sorted(Tally(one.state for one in standings).items()):
            runs.add_metric([state], count)
        starts = [each for folder in self._runs() for each in _starts(read_progress(folder))]
        last = [events[-1] for events in starts]
        exchanges = CounterMetricFamily("fedmkt_exchanges", "Exchanges of all runs")
        exchanges.add_metric([], sum(event.exchanges for event in last))
        sent = CounterMetricFamily("fedmkt_bytes", "Bytes of all runs", labels=["direction"])
        sent.add_metric(["out"], sum(event.bytes_down for event in last))
        sent.add_metric(["in"], sum(event.bytes_up for event in last))
        seconds = CounterMetricFamily("fedmkt_run_seconds", "Seconds that all runs took so far")
        seconds.add_metric([], sum(_took_s(events) for events in starts))
        yield from (runs, exchanges, sent, seconds, *self._processes())

    def _standings(self) -> list[jobs.Standing]:
        try:
            return jobs.standings(self._layout)
        except FedmktError as error:
            _log.warning("runs are not counted: %s", error)
            return []

    def _runs(self) -> list[Path]:
        return sorted((self._layout.coordinator / "runs").glob("*/"))

    def _processes(self) -> Iterable[Metric]:
        online = GaugeMetricFamily("fedmkt_node_online", "1 if it is online", labels=["member"])
        restarts = CounterMetricFamily("fedmkt_restarts", "Starts anew", labels=["process"])
        status = self._layout.read_status()
        if status is not None:
            for member, is_online in status.nodes.items():
                online.add_metric([member], float(is_online))
            for process in status.processes:
                restarts.add_metric([process.name], process.restarts)
        return online, restarts


def _starts(events: Sequence[Event]) -> list[list[Event]]:
    """Return a run's events by start: one that is resumed counts from nothing again."""
    starts: list[list[Event]] = []
    for event in events:
        if event.what == "begun" or not starts:
            starts.append([])
        starts[-1].append(event)
    return starts


def _took_s(events: Sequence[Event]) -> float:
    return (events[-1].at - events[0].at).total_seconds()


def coordinator_registry(layout: Layout) -> CollectorRegistry:
    """Return the figures of a coordinator."""
    registry = CollectorRegistry()
    registry.register(CoordinatorFiles(layout))
    return registry


def serve(registry: CollectorRegistry, port: int) -> int:
    """Serve figures on loopback in a thread of their own; return the port (0 takes a free one).

    Raises: SettingInvalid where the port cannot be had.
    """
    try:
        server, _ = start_http_server(port, addr=HOST, registry=registry)
    except (OSError, OverflowError) as error:
        problem = f"port {port} cannot be used ({type(error).__name__}); take another, or 0"
        raise SettingInvalid(setting="the metrics port", problem=problem) from None
    _log.info("metrics on http://%s:%d/metrics", HOST, server.server_port)
    return int(server.server_port)
