"""The contract, job and node settings that ship with the project work together as they stand."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from end_to_end.shared_world import Quiet, home_of
from end_to_end.small_world import Trial

from fedmkt.contract.collaboration import parse_collaboration
from fedmkt.contract.job import NetworkJob
from fedmkt.contract.signatures import sign_contract
from fedmkt.evidence.value_report import MeasuredValue
from fedmkt.identity.keys import Identity
from fedmkt.node.dry_run import dry_run
from fedmkt.node.model_parts import read_table, read_value
from fedmkt.simulation.world import World
from fedmkt.storage.contract_files import read_job, write_contract
from fedmkt.storage.key_file import write_key

ROOT = Path(__file__).parents[2]
MEMBERS = ("bank", "map_provider", "retailer")
STORY = {
    "overlap-1": "vertical-overlap",
    "alignment-1": "vertical-alignment",
    "training-1": "vertical-training",
    "scoring-1": "vertical-scoring",
    "expansion-1": "vertical-expansion",
}
"""The runs of the vertical story, in order, and their jobs. Later jobs name earlier runs."""


TERMS = 'modes = [\n    "encrypted",\n]'
SPLIT = 'modes = [\n    "encrypted",\n    "split_label_private",\n]'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return shipped_world(tmp_path, (ROOT / "server" / "collaboration.toml").read_text())


def shipped_world(tmp_path: Path, text: str) -> World:
    identities = {name: Identity.generate() for name in (*MEMBERS, "coordinator")}
    for name, identity in identities.items():
        text = text.replace(f"KEY OF {name}", identity.public.hex)
    contract = parse_collaboration(text, source="collaboration.toml")
    signatures = {name: sign_contract(contract, one) for name, one in identities.items()}
    world = World(tmp_path, MEMBERS)
    for name, identity in identities.items():
        home = world.coordinator if name == "coordinator" else world.node(name)
        if name == "coordinator":
            home.mkdir()
        else:
            shutil.copytree(ROOT / "clients" / name, home)
        write_contract(home, contract, signatures)
        write_key(home / "identity.key", identity)
    return world


def test_three_partners_with_files_of_their_own_train_the_shipped_job(world: World) -> None:
    job = read_job(ROOT / "server" / "jobs" / "demo.toml")
    outcome = Trial(world).run(job, "run-1")
    assert set(outcome.receipts) == set(MEMBERS)
    assert outcome.model.effects.any()
    world.close()


def test_they_train_the_shipped_network_and_the_guide_calibrates_its_noise(world: World) -> None:
    file = ROOT / "server" / "jobs" / "network.toml"
    job = read_job(file)
    assert isinstance(job, NetworkJob)
    outcome = Trial(world).run(job, "run-1")
    assert set(outcome.receipts) == set(MEMBERS)
    assert outcome.model.parameters.any()
    guide = (ROOT / "docs" / "guides" / "node_engineer.md").read_text()
    (example,) = re.findall(r"```python\n((?:(?!```).)*network_multiplier.*?)```", guide, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "node_engineer.md", "exec"), names)
    found = names["multiplier"](world.node("bank"), file)
    assert found == pytest.approx(job.privacy.noise_multiplier, rel=1e-3)
    world.close()


def test_the_shipped_vertical_jobs_run_one_after_another(world: World) -> None:
    outcomes = {
        run: world.run_shared(read_job(ROOT / "server" / "jobs" / f"{job}.toml"), run, Quiet())
        for run, job in STORY.items()
    }
    for run, job in STORY.items():
        members = read_job(ROOT / "server" / "jobs" / f"{job}.toml").members
        assert set(outcomes[run].receipts) == set(members)
    bank, partner = home_of(world, "bank"), home_of(world, "map_provider")
    assert isinstance(read_value(bank, "training-1"), MeasuredValue)
    aligned = set(read_table(bank, "scores", "scoring-1")["customer"])
    assert len(aligned) > 300  # of 600 people, most are everybody's customers
    assert read_table(partner, "segments", "expansion-1").height > 0
    world.close()


def test_the_shipped_split_job_runs_once_every_partys_terms_name_its_mode(tmp_path: Path) -> None:
    text = (ROOT / "server" / "collaboration.toml").read_text()
    assert text.count(TERMS) == len(MEMBERS)
    world = shipped_world(tmp_path, text.replace(TERMS, SPLIT))
    for run, name in (("alignment-1", "vertical-alignment"), ("split-1", "vertical-split")):
        world.run_shared(read_job(ROOT / "server" / "jobs" / f"{name}.toml"), run, Quiet())
    found = read_value(home_of(world, "bank"), "split-1")
    assert isinstance(found, MeasuredValue)
    world.close()


def test_every_shipped_job_is_one_its_nodes_can_judge(world: World) -> None:
    """What a job lacks is the alignment it names, or for a split training its mode in the terms."""
    for file in sorted((ROOT / "server" / "jobs").glob("*.toml")):
        job = read_job(file)
        assert job.name == file.stem
        for member in job.members:
            refusal = dry_run(home_of(world, member), job).refusal
            lacks = "mode_not_allowed" if job.kind == "split" else "alignment_unknown"
            assert refusal is None or refusal.code == lacks, file.name
    world.close()
