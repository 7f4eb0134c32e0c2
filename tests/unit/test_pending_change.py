"""A change of several files: what is carried out lies in the home, and is one change at a time."""

import json
from pathlib import Path

import pytest

from fedmkt.core.errors import FileMissing, SettingInvalid
from fedmkt.identity.keys import Identity
from fedmkt.storage.key_file import read_key, write_key
from fedmkt.storage.pending_change import PENDING, NewFile, changing, settle, stage


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


def planned(home: Path, plan: object) -> None:
    """Put a plan into a home by hand, with a file that it could move."""
    (home / PENDING / "files").mkdir(parents=True)
    (home / PENDING / "outside").mkdir()
    (home / PENDING / "outside" / "keys").write_text("planted")
    (home / PENDING / "line").write_bytes(b"")
    (home / PENDING / "plan.json").write_text(json.dumps(plan))


@pytest.mark.parametrize("inside", [Path("a"), Path("deep", "b"), Path("c..d")])
def test_what_was_staged_is_put_in_place(home: Path, inside: Path) -> None:
    stage(home, {inside: NewFile(b"new")}, None)
    assert settle(home)
    assert (home / inside).read_bytes() == b"new"
    assert not settle(home)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_plan_that_leads_out_of_the_home_changes_nothing(
    home: Path, log: bool, absolute: bool
) -> None:
    outside = home.parent / "outside"
    outside.mkdir()
    (outside / "log").write_bytes(b"")
    place = str(outside) if absolute else "../outside"
    plan = {"files": [f"{place}/keys"], "log": None, "at": 0}
    if log:
        plan = {"files": [], "log": f"{place}/log", "at": 0}
    planned(home, plan)
    (home / PENDING / "line").write_bytes(b"planted")
    with pytest.raises(SettingInvalid, match="outside the home"):
        read_key(home / "identity.key")
    assert [path.name for path in outside.iterdir()] == ["log"]
    assert (outside / "log").read_bytes() == b""


@pytest.mark.parametrize("plan", [[], {}, {"files": 3, "log": None, "at": 0}, None])
def test_what_is_no_plan_is_a_named_error(home: Path, plan: object) -> None:
    planned(home, plan)
    with pytest.raises(SettingInvalid, match="no plan"):
        settle(home)


def test_a_home_is_kept_for_one_change(home: Path) -> None:
    write_key(home / "identity.key", Identity.generate())
    with changing(home):
        with pytest.raises(SettingInvalid, match="by another command"), changing(home):
            raise AssertionError("it was taken twice")
        read_key(home / "identity.key")  # who only reads does not wait
    with changing(home):
        pass
    with pytest.raises(FileMissing), changing(home / "nowhere"):
        raise AssertionError("there is no such home")
