"""Which deployment a command is about: --home, or the last that was brought up here."""

import os
from pathlib import Path
from typing import Annotated

import typer

from fedmkt.core.errors import FileMissing
from fedmkt.deployment.plan import Layout
from fedmkt.storage.whole_file import write_whole

DEFAULT_FOLDER = Path("fedmkt-up")

DeploymentOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="The deployment's folder. Default: the last that was brought up.",
        show_default=False,
    ),
]


def deployment(home: Path | None) -> Layout:
    """Return the deployment a command is about. Raises: FileMissing."""
    advice = "Give --home the folder of a deployment, or run fedmkt up first."
    noted = _last_file()
    if home is None and not noted.exists():
        raise FileMissing(what="deployment", path=noted, advice=advice)
    folder = home or Path(noted.read_text(encoding="utf-8").strip())
    if not folder.is_dir():
        raise FileMissing(what="deployment", path=folder, advice=advice)
    return Layout(folder)


def remember(layout: Layout) -> None:
    """Note a deployment as the last that was brought up. Raises: OutputUnwritable."""
    write_whole(_last_file(), f"{layout.folder.resolve()}\n".encode())


def _last_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "fedmkt" / "last-up"
