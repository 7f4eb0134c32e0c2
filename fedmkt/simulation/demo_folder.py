"""The folder of a demonstration: made room for, and left whole or not at all.

Guarantee: nothing that no demonstration made is moved or removed, and what an earlier one made is
moved aside, never deleted. A study that could not be written leaves nothing behind.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedmkt.core.errors import NodeFailed, OutputUnwritable, SettingInvalid, StorageFailed
from fedmkt.simulation.world import World
from fedmkt.storage.whole_file import unwritable

_UNWRITTEN = (OutputUnwritable.code, StorageFailed.code)
_FOLDERS = ("nodes", "coordinator", "jobs", "draws", "report.html", "report.json")
_MARKER = ".fedmkt-demo"  # only what stands beside it is a demonstration's to move


@contextmanager
def whole_or_not_at_all(out: Path) -> Iterator[list[World]]:
    """Close the worlds that are put into the list; remove them when they could not be written."""
    worlds: list[World] = []
    try:
        try:
            yield worlds
        finally:
            for world in worlds:
                world.close()
    except (OutputUnwritable, StorageFailed) as error:
        _remove(out)
        raise OutputUnwritable(path=out, problem=error.fields["problem"]) from None
    except NodeFailed as error:
        if error.fields["error"] not in _UNWRITTEN:
            raise
        _remove(out)
        problem = f"a node reported {error.fields['error']}"
        raise OutputUnwritable(path=out, problem=problem) from None


def _remove(out: Path) -> None:
    """Remove what this study wrote; what was there before it stands aside."""
    for name in _FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def make_room(out: Path) -> Path | None:
    """Move what an earlier demonstration left in `out` aside, and return where it is now.

    None of it is deleted, and nothing that no demonstration made is moved. Raises: SettingInvalid.
    """
    with unwritable(out):
        if out.exists() and not out.is_dir():
            raise SettingInvalid(setting=f"--out {out}", problem="it is a file, not a folder")
        out.mkdir(parents=True, exist_ok=True)
        left = [out / name for name in _FOLDERS if (out / name).exists()]
        marker = out / _MARKER
        if left and not marker.exists():
            names = ", ".join(path.name for path in left)
            problem = f"no demonstration made what stands there ({names}); choose another folder"
            raise SettingInvalid(setting=f"--out {out}", problem=problem)
        marker.touch()
        if not left:
            return None
        number = 1
        while (out / f"earlier-{number}").exists():
            number += 1
        aside = out / f"earlier-{number}"
        aside.mkdir()
        for path in left:
            path.rename(aside / path.name)
        return aside
