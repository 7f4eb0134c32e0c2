"""Files read and written whole.

Guarantee: after `write_whole` the file holds all of the data, on disk, or what it held before; a
reader never sees half of it. What cannot be read or written is a named error, never a traceback.
`write_together` writes several files or, where one fails, none of them.
Not guaranteed: order between two files when the machine stops in the middle.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fedmkt.core.errors import FileMissing, OutputUnwritable, SettingInvalid

_READABLE_BY_ALL = 0o644
_PRIVATE = 0o600


def read_text(path: Path, *, what: str, advice: str) -> str:
    """Return a text file's contents. what, advice: words for the error when it is not there.

    Raises: FileMissing; SettingInvalid (not UTF-8, or not to be read).
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FileMissing(what=what, path=path, advice=advice) from None
    except UnicodeDecodeError:
        problem = "it is not text in UTF-8; save it as UTF-8"
        raise SettingInvalid(setting=str(path), problem=problem) from None
    except OSError as error:
        problem = f"it cannot be read ({error.strerror or 'unknown'})"
        raise SettingInvalid(setting=str(path), problem=problem) from None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, making its folder, whole or not at all. Raises: OutputUnwritable."""
    _write(path, data, _READABLE_BY_ALL)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user can read, whole or not at all. Raises: OutputUnwritable."""
    _write(path, data, _PRIVATE)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files, or leave all as they were. Raises: OutputUnwritable."""
    before = {path: path.read_bytes() if path.is_file() else None for path in files}
    partials: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for path, data in files.items():
            with unwritable(path):
                partials[path] = _partial(path, data, _READABLE_BY_ALL)
        for path, partial in partials.items():
            with unwritable(path):
                partial.replace(path)
            done.append(path)
    except BaseException:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
        for path in done:
            _put_back(path, before[path])
        raise


def _put_back(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    else:
        _write(path, data, _READABLE_BY_ALL)


def _write(path: Path, data: bytes, mode: int) -> None:
    with unwritable(path):
        partial = _partial(path, data, mode)
        try:
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _partial(path: Path, data: bytes, mode: int) -> Path:
    """Write `data`, on disk, into a file beside `path`; return that file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(mode)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Turn a failure to write at `path` into OutputUnwritable."""
    try:
        yield
    except OSError as error:
        raise OutputUnwritable(path=path, problem=error.strerror or "unknown") from None
