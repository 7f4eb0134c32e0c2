"""The process `fedmkt`: it runs one command, and however that ends, it says so in one line.

Exit codes: 0 done; 1 something failed; 2 the user's mistake; 3 a node refused; 130 interrupted.
"""

import os
import sys
from pathlib import Path

from fedmkt.core.errors import FedmktError, FileUnusable

_FAILED, _MISTAKE, _INTERRUPTED = 1, 2, 130


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        # Imported here so that an interrupt meanwhile is answered like any other.
        from fedmkt.cli.commands import app

        app(sys.argv[1:] or ["--help"])
    except FedmktError as error:
        _end(error, error.exit_code)
    except OSError as error:
        _end(_unusable(error), _MISTAKE if _named_by_user(error) else _FAILED)
    except KeyboardInterrupt:
        _end_interrupted()
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # the command line's library caught it before us
            _end_interrupted()
        raise


def _end(error: FedmktError, exit_code: int) -> None:
    from rich.console import Console

    Console(stderr=True).print(f"[bold red]{error.code}[/]", end=": ", highlight=False)
    Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
    sys.exit(exit_code)


def _end_interrupted() -> None:
    sys.stderr.write("interrupted; what was finished is kept\n")
    sys.exit(_INTERRUPTED)


def _unusable(error: OSError) -> FileUnusable:
    path = _path(error)
    return FileUnusable(
        path=path or "no path known", problem=error.strerror or type(error).__name__
    )


def _named_by_user(error: OSError) -> bool:
    """Tell whether the path, or a folder above it, stands on the command line."""
    path = _path(error)
    words = [word.rpartition("=")[2] if word[:2] == "--" else word for word in sys.argv[1:]]
    return path is not None and any(path.is_relative_to(word) for word in words if word)


def _path(error: OSError) -> Path | None:
    name = error.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
