"""Key files: encrypted, private, never overwritten; a passphrase is nowhere in words."""

import os
import stat
from pathlib import Path

import pytest

from fedmkt.core.errors import FedmktError, FileMissing, KeyLocked, SettingInvalid
from fedmkt.deployment.key_changes import encrypt_key
from fedmkt.identity.keys import Identity
from fedmkt.storage import key_file
from fedmkt.storage.key_file import (
    find_passphrase,
    is_encrypted,
    read_key,
    write_encrypted_key,
    write_key,
)

SECRET = bytes(range(32))
PASSPHRASE = b"correct horse battery staple"


@pytest.fixture(autouse=True)
def no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (key_file.PASSPHRASE, key_file.PASSPHRASE_FILE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "identity.key"
    write_encrypted_key(path, Identity(SECRET), PASSPHRASE)
    return path


def private(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    path.chmod(0o600)
    return path


def test_an_encrypted_key_is_read_with_its_passphrase(path: Path) -> None:
    assert read_key(path, PASSPHRASE).export_secret() == SECRET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_encrypted(path)
    assert SECRET not in path.read_bytes()
    assert SECRET.hex().encode() not in path.read_bytes()


def test_a_key_in_clear_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    write_key(path, Identity(SECRET))
    assert not is_encrypted(path)
    assert read_key(path).export_secret() == SECRET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("wrong", [b"another good passphrase", PASSPHRASE[:-1], b"x"])
def test_a_wrong_passphrase_is_named_and_not_repeated(path: Path, wrong: bytes) -> None:
    with pytest.raises(KeyLocked, match="passphrase is wrong") as refused:
        read_key(path, wrong)
    if len(wrong) > 1:
        assert wrong.decode() not in str(refused.value)


def test_a_damaged_key_file_is_named(path: Path) -> None:
    damaged = path.read_bytes()[:150] + b"AAAA" + path.read_bytes()[154:]
    private(path, damaged)
    with pytest.raises(KeyLocked, match="or the file damaged"):
        read_key(path, PASSPHRASE)
    private(path, b"neither\n")
    with pytest.raises(SettingInvalid, match="neither an encrypted key nor 64"):
        read_key(path)


def test_no_passphrase_says_where_to_give_one(path: Path) -> None:
    with pytest.raises(KeyLocked, match="no passphrase was given") as refused:
        read_key(path)
    assert key_file.PASSPHRASE_FILE in str(refused.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_key_that_others_may_use_is_not_used(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(SettingInvalid, match="chmod 600"):
        read_key(path, PASSPHRASE)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="fedmkt node init"):
        read_key(tmp_path / "identity.key")


def test_a_key_is_never_overwritten_by_writing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(SettingInvalid, match="a key is already there"):
        write_encrypted_key(path, Identity.generate(), PASSPHRASE)
    with pytest.raises(SettingInvalid, match="a key is already there"):
        write_key(path, Identity.generate())
    assert path.read_bytes() == before


def test_a_key_that_could_not_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refused)
    with pytest.raises(OSError, match="No space left"):
        write_encrypted_key(tmp_path / "identity.key", Identity(SECRET), PASSPHRASE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 11, 1024])
def test_a_passphrase_out_of_bounds_makes_no_key(tmp_path: Path, path: Path, length: int) -> None:
    before = path.read_bytes()
    for write in (
        lambda: write_encrypted_key(tmp_path / "new", Identity(SECRET), b"x" * length),
        lambda: encrypt_key(tmp_path, PASSPHRASE, b"x" * length),
    ):
        with pytest.raises(SettingInvalid, match=r"(fewer|more) than (12|1023) characters"):
            write()
    assert not (tmp_path / "new").exists()
    assert path.read_bytes() == before


@pytest.mark.parametrize("length", [12, 1023])
def test_a_passphrase_within_bounds_makes_a_key(tmp_path: Path, length: int) -> None:
    write_encrypted_key(tmp_path / "new", Identity(SECRET), b"x" * length)
    assert read_key(tmp_path / "new", b"x" * length).export_secret() == SECRET


# --- where a passphrase comes from ------------------------------------------------------------


def test_a_file_comes_before_the_environment_and_that_before_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda words: asked.append(words) or "typed")
    assert find_passphrase(tmp_path / "key") == b"typed"
    assert asked == [f"Passphrase of {tmp_path / 'key'}: "]
    monkeypatch.setenv(key_file.PASSPHRASE, "of the environment")
    assert find_passphrase(tmp_path / "key") == b"of the environment"
    monkeypatch.setenv(key_file.PASSPHRASE_FILE, str(private(tmp_path / "pass", b"of a file\n")))
    assert find_passphrase(tmp_path / "key") == b"of a file"
    assert len(asked) == 1


def test_a_new_passphrase_is_asked_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["first passphrase", "other passphrase"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    with pytest.raises(SettingInvalid, match="the two differ") as refused:
        find_passphrase(tmp_path / "key", new=True)
    assert "first" not in str(refused.value)


def test_the_old_passphrase_of_the_environment_is_never_taken_for_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(key_file.PASSPHRASE, PASSPHRASE.decode())
    with pytest.raises(KeyLocked, match="no passphrase was given"):
        find_passphrase(path, new=True, from_environment=False)


def test_a_passphrase_file_that_is_missing_or_open_to_others_is_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(key_file.PASSPHRASE_FILE, str(tmp_path / "pass"))
    with pytest.raises(KeyLocked, match="file is not there"):
        read_key(path)
    private(tmp_path / "pass", PASSPHRASE).chmod(0o644)
    with pytest.raises(SettingInvalid, match="chmod 600"):
        read_key(path)
    (tmp_path / "pass").chmod(0o600)
    assert read_key(path).export_secret() == SECRET


def test_random_bytes_are_a_passphrase_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(20):
        monkeypatch.setenv(
            key_file.PASSPHRASE_FILE, str(private(tmp_path / "pass", os.urandom(32)))
        )
        path = tmp_path / "random.key"
        write_encrypted_key(path, Identity(SECRET), find_passphrase(path))
        assert read_key(path).export_secret() == SECRET
        path.unlink()


def test_no_error_and_no_repr_holds_a_secret(path: Path) -> None:
    identity = read_key(path, PASSPHRASE)
    errors: list[FedmktError] = []
    for wrong in (b"the wrong passphrase", b""):
        try:
            read_key(path, wrong)
        except FedmktError as error:
            errors.append(error)
    said = repr(identity) + "".join(f"{one} {one!r} {one.fields}" for one in errors)
    assert len(errors) == 2
    for secret in (SECRET.hex(), PASSPHRASE.decode(), "the wrong passphrase"):
        assert secret not in said
