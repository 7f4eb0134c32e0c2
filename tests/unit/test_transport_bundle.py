"""The bundle carries two assignments and a configuration, and always the same bytes."""

import io
import tomllib
import zipfile
from pathlib import Path

import pytest

from fedmkt.transport.bundle import build_bundle, bundle_files

# Flower asks pathspec for a kind of pattern by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")

ROOT = Path(__file__).parents[2]


def test_the_same_files_make_the_same_bundle() -> None:
    assert build_bundle(bundle_files()) == build_bundle(bundle_files())


def test_the_bundle_holds_no_copy_of_the_package() -> None:
    with zipfile.ZipFile(io.BytesIO(build_bundle(bundle_files()))) as bundle:
        names = set(bundle.namelist())
    assert names == {"pyproject.toml", "client_app.py", "server_app.py", ".info/CONTENT"}


def test_a_run_can_set_order_and_home_only() -> None:
    config = tomllib.loads(bundle_files()["pyproject.toml"].decode())
    assert set(config["tool"]["flwr"]["app"]["config"]) == {"order", "home"}


def test_the_apps_of_the_repository_are_those_of_the_bundle() -> None:
    assert (ROOT / "clients/app.py").read_bytes() == bundle_files()["client_app.py"]
    assert (ROOT / "server/app.py").read_bytes() == bundle_files()["server_app.py"]
