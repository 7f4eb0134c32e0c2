"""Files read and written whole.

Guarantee: after `write_whole` the file holds all of the data, on disk, or what it held before; a
reader never sees half of it. What cannot be read or written is a named error, never a traceback.
Not guaranteed: order between two files.
"""

import os
import tempfile
from collections.abc import Iterator
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


def _write(path: Path, data: bytes, mode: int) -> None:
    with unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.chmod(mode)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Turn a failure to write at `path` into OutputUnwritable."""
    try:
        yield
    except OSError as error:
        raise OutputUnwritable(path=path, problem=error.strerror or "unknown") from None
