"""Figures for Prometheus on loopback: what a node answered and has left, what a coordinator ran."""

import json
import urllib.request
from pathlib import Path

import psutil
import pytest
from end_to_end.small_world import Trial, small_job, small_world
from prometheus_client.parser import text_string_to_metric_families

from fedmkt.core.errors import RunRefused, SettingInvalid
from fedmkt.deployment.metrics import NodeMetrics, coordinator_registry, serve
from fedmkt.deployment.plan import HOST, Layout
from fedmkt.node.app import node_at, open_handler
from fedmkt.simulation.world import World
from fedmkt.storage.contract_files import write_order

FIRST = "member-0"


def figures(port: int) -> dict[tuple[str, tuple[str, ...]], float]:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return small_world(tmp_path, cap=6.0)


def test_a_nodes_figures_say_what_it_answered_refused_and_has_left(world: World) -> None:
    Trial(world).run(small_job(world), "run-1")
    with pytest.raises(RunRefused):
        Trial(world).run(small_job(world), "run-2")
    home = node_at(world.node(FIRST)).home
    metrics = NodeMetrics(home)
    found = figures(serve(metrics.registry, 0))
    with home.store.transaction() as tx:
        balance = home.ledger.balances(tx)[0]
    left = {key: value for key, value in found.items() if key[0] == "fedmkt_budget_left_epsilon"}
    assert left[("fedmkt_budget_left_epsilon", ("prospects", "people", "", "", "lifetime"))] == (
        pytest.approx(balance.lifetime_left)
    )
    assert found[("fedmkt_refusals_total", ("budget_exceeded",))] == 1


def test_messages_seconds_bytes_and_failures_are_counted(world: World) -> None:
    metrics = NodeMetrics(node_at(world.node(FIRST)).home)
    answered = metrics.measured(lambda request: request * 2)
    assert answered(b"12345") == b"1234512345"
    node = metrics.measured(open_handler({"home": str(world.node(FIRST))}))
    with pytest.raises(Exception, match="message"):
        node(b"no message")
    found = figures(serve(metrics.registry, 0))
    assert found[("fedmkt_bytes_total", ("in",))] == len(b"12345") + len(b"no message")
    assert found[("fedmkt_bytes_total", ("out",))] == 10
    assert found[("fedmkt_answer_seconds_count", ())] == 2
    assert found[("fedmkt_failures_total", ("message_invalid",))] == 1


def test_a_coordinators_figures_say_how_runs_stand_and_what_they_sent(world: World) -> None:
    outcome = Trial(world).run(small_job(world), "run-1")
    write_order(world.coordinator / "orders" / "run-1.json", world.order(small_job(world), "run-1"))
    found = figures(serve(coordinator_registry(Layout(world.folder)), 0))
    assert found[("fedmkt_runs", ("finished",))] == 1
    assert found[("fedmkt_exchanges_total", ())] == outcome.exchanges
    assert found[("fedmkt_bytes_total", ("in",))] == outcome.bytes_up


def test_what_a_run_sent_before_it_was_resumed_is_counted_too(tmp_path: Path) -> None:
    def line(what: str, at: int, exchanges: int) -> str:
        event = {"what": what, "at": f"2026-11-26T00:00:{at:02}Z", "exchanges": exchanges}
        return json.dumps({**event, "bytes_up": 10 * exchanges, "bytes_down": 0}) + "\n"

    for run, started_at in (("run-1", 0), ("run-1.without-1", 30)):
        folder = tmp_path / "coordinator" / "runs" / run
        folder.mkdir(parents=True)
        first = line("begun", started_at, 0) + line("round", started_at + 4, 5)
        resumed = line("begun", started_at + 10, 0) + line("ended", started_at + 13, 7)
        (folder / "progress.jsonl").write_text(first + resumed)
    found = figures(serve(coordinator_registry(Layout(tmp_path)), 0))
    assert found[("fedmkt_exchanges_total", ())] == 2 * (5 + 7)
    assert found[("fedmkt_bytes_total", ("in",))] == 10 * 2 * (5 + 7)
    assert found[("fedmkt_run_seconds_total", ())] == 2 * (4 + 3)


def test_figures_are_served_on_loopback_alone_and_a_taken_port_is_said(world: World) -> None:
    port = serve(coordinator_registry(Layout(world.folder)), 0)
    listening = [one for one in psutil.Process().net_connections("inet") if one.laddr.port == port]
    assert {one.laddr.ip for one in listening if one.status == psutil.CONN_LISTEN} == {HOST}
    with pytest.raises(SettingInvalid, match=f"port {port} cannot be used"):
        serve(coordinator_registry(Layout(world.folder)), port)
