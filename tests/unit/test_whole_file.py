"""Files are read as UTF-8 and written whole; what fails is named."""

import os
from pathlib import Path

import pytest

from fedmkt.core.errors import FileMissing, OutputUnwritable, SettingInvalid
from fedmkt.node.settings import read_settings
from fedmkt.storage.contract_files import read_contract, read_job, read_order
from fedmkt.storage.whole_file import read_text, write_together, write_whole

LATIN = 'member = "Müller"\n'.encode("latin-1")


def read(path: Path) -> str:
    return read_text(path, what="note", advice="Write it.")


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "note.txt"
    write_whole(path, "Müller\n".encode())
    assert read(path) == "Müller\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes("\ufeffmember".encode())
    assert read(tmp_path / "note") == "member"


def test_a_replaced_file_is_never_seen_half_written(tmp_path: Path) -> None:
    path = tmp_path / "note"
    write_whole(path, b"first")
    with path.open("rb") as reader:
        write_whole(path, b"second, and longer")
        assert reader.read() == b"first"
    assert path.read_bytes() == b"second, and longer"


def test_a_write_that_fails_leaves_what_stood_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "note"
    write_whole(path, b"first")

    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refused)
    with pytest.raises(OutputUnwritable, match="No space left on device"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4, 5, 6])
def test_files_written_together_are_all_new_or_all_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Three files are each written aside, then each put in place: any of the six steps may fail."""
    files = {tmp_path / name: b"new" for name in ("one", "two", "three")}
    (tmp_path / "one").write_bytes(b"old")
    steps = 0

    def counted(call):
        def step(*given, **more):
            nonlocal steps
            steps += 1
            if steps == fails_at:
                raise OSError(28, "No space left on device")
            return call(*given, **more)

        return step

    monkeypatch.setattr("os.fsync", counted(os.fsync))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    with pytest.raises(OutputUnwritable, match="No space left on device"):
        write_together(files)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"old"}
    write_together(files)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("name", ["nowhere", "a-file/below", "."])
def test_what_is_no_file_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").write_text("")
    with pytest.raises(FileMissing, match="There is no note"):
        read(tmp_path / name)


@pytest.mark.parametrize("data", [LATIN, 'name = "job"\n'.encode("utf-16")])
def test_another_encoding_is_a_mistake_that_says_what_to_do(tmp_path: Path, data: bytes) -> None:
    for name, reader in (
        ("node.toml", read_settings),
        ("job.toml", read_job),
        ("order.json", read_order),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SettingInvalid, match="save it as UTF-8"):
            reader(tmp_path / name)
    (tmp_path / "collaboration.toml").write_bytes(data)
    with pytest.raises(SettingInvalid, match="save it as UTF-8"):
        read_contract(tmp_path)


def test_the_address_of_a_store_never_prints(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(
        'member = "bank"\nstore = "postgresql://bank:hunter2@db/ledger"\n'
        '[datasets.cards]\nkind = "csv"\npath = "customers.csv"\n'
    )
    settings = read_settings(tmp_path / "node.toml")
    assert settings.store is not None
    assert settings.store.get_secret_value().endswith("hunter2@db/ledger")
    assert "hunter2" not in f"{settings} {settings!r} {settings.model_dump_json()}"
