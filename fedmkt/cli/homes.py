"""Which node a command is about: --home, $FEDMKT_HOME, or the nodes of the last demonstration."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fedmkt.core.errors import FileMissing
from fedmkt.node.home import NodeHome, open_home

DEMO_FOLDER = Path("fedmkt-demo")
STORIES = ("vertical", "horizontal")
"""The demonstrations there are, each in a folder of its name."""

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="FEDMKT_HOME",
        help="A node's home folder, or a demonstration's. Default: ./fedmkt-demo.",
        show_default=False,
    ),
]


MetricsPort = Annotated[
    int | None,
    typer.Option(help="Serve figures for Prometheus on this port of loopback; 0: a free one."),
]


@contextmanager
def opened(home: Path | None) -> Iterator[list[NodeHome]]:
    """Open the nodes a command is about. Raises: FileMissing, and what `open_home` raises."""
    homes: list[NodeHome] = []
    try:
        homes.extend(open_home(folder) for folder in _folders(home))
        yield homes
    finally:
        for one in homes:
            one.close()


def _folders(home: Path | None) -> list[Path]:
    if home is not None and (home / "node.toml").is_file():
        return [home]
    demo = home or DEMO_FOLDER
    folders = [
        path.parent
        for below in ("nodes", *(f"{story}/nodes" for story in STORIES))
        for path in sorted((demo / below).glob("*/node.toml"))
    ]
    if not folders and home is not None:
        return [home]
    if not folders:
        advice = "Give --home the folder of a node, or run fedmkt demo first."
        raise FileMissing(what="node", path=demo, advice=advice)
    return folders


def runs_known(homes: Iterable[NodeHome]) -> tuple[str, ...]:
    """Return the runs that these nodes' ledgers know, oldest first."""
    known: dict[str, None] = {}
    for one in homes:
        with one.store.transaction() as tx:
            known |= dict.fromkeys(entry.run for entry in one.ledger.entries(tx))
    return tuple(known)
