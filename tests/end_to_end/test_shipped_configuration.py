"""The contract, job and node settings that ship with the project work together as they stand."""

import shutil
from pathlib import Path

import pytest
from end_to_end.small_world import Trial

from fedmkt.contract.collaboration import parse_collaboration
from fedmkt.contract.signatures import sign_contract
from fedmkt.identity.keys import Identity
from fedmkt.simulation.world import World
from fedmkt.storage.contract_files import read_job, write_contract
from fedmkt.storage.key_file import write_key

ROOT = Path(__file__).parents[2]
MEMBERS = ("bank", "map_provider", "retailer")


@pytest.fixture
def world(tmp_path: Path) -> World:
    identities = {name: Identity.generate() for name in (*MEMBERS, "coordinator")}
    text = (ROOT / "server" / "collaboration.toml").read_text()
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
