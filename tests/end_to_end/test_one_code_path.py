"""One code path: the apps that run in process run on a real SuperLink, to the same model."""

import importlib.util
import re
from pathlib import Path
from typing import Any

from end_to_end.small_world import model_json, small_job, small_world
from end_to_end.superlink import running_superlink

from fedmkt.simulation.world import World
from fedmkt.transport.bundle import bundle_files
from fedmkt.transport.in_process import run_in_process

ROOT = Path(__file__).parents[2]


def shipped_app(file: str) -> Any:
    """Return the app of a shipped file, loaded as Flower loads it: by its path."""
    spec = importlib.util.spec_from_file_location("shipped", ROOT / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def run_config(world: World, run: str) -> dict[str, str]:
    return {"home": str(world.coordinator), "order": str(world.order_file(run))}


def test_in_process_and_three_supernodes_give_the_same_model(tmp_path: Path) -> None:
    here = small_world(tmp_path / "here")
    job = small_job(here, rounds=2)
    here.order(job, "run-1")
    run_in_process(
        shipped_app("server/app.py"),
        shipped_app("clients/app.py"),
        node_configs={
            number: {"home": str(here.node(member))}
            for number, member in enumerate(here.members, start=1)
        },
        run_config=run_config(here, "run-1"),
    )
    here.close()

    there = small_world(tmp_path / "there")
    there.order(job, "run-1")
    nodes = {name.replace("-", "_"): {"home": str(there.node(name))} for name in there.members}
    record = tmp_path / "sent_by_nodes"
    with running_superlink(tmp_path / "link", nodes, record_to=record) as link:
        run = link.run(bundle_files(), run_config(there, "run-1"), timeout_s=240)
        logs = link.logs()
    assert run.status == "finished:completed", logs
    assert model_json(there, "run-1") == model_json(here, "run-1")
    # What nodes do send is found in clear, so a customer's key that is not found was not sent.
    assert b"run-1" in record.read_bytes()
    assert not re.search(rb"adult-\d{6}", record.read_bytes())
