"""A partner's node as Flower's ClientApp.

Node configuration: `home`, the node's home folder. The node is opened once a process and kept;
everything that must last lies in its store, so a new process for every message works as well.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock

from fedmkt.core.errors import FedmktError, SettingInvalid
from fedmkt.node.home import open_home
from fedmkt.node.node import Node
from fedmkt.transport.channel import Handler
from fedmkt.transport.flower import make_client_app

_nodes: dict[Path, Node] = {}
_opening = Lock()


def node_at(folder: Path) -> Node:
    """Return the node of a home folder, opened once a process."""
    with _opening:
        if folder not in _nodes:
            _nodes[folder] = _opened(folder)
        return _nodes[folder]


def _opened(folder: Path) -> Node:
    home = open_home(folder)
    try:
        return Node(home)
    except FedmktError:
        home.close()
        raise


def forget_nodes(folders: Iterable[Path]) -> None:
    """Close nodes and forget what they cached, as a restart of the process would."""
    with _opening:
        for folder in folders:
            if folder in _nodes:
                _nodes.pop(folder).close()


def open_handler(node_config: Mapping[str, object]) -> Handler:
    """Return the handler of the node a Flower node's configuration names."""
    home = node_config.get("home")
    if not isinstance(home, str) or not home:
        raise SettingInvalid(setting="node configuration home", problem="it is missing")
    return node_at(Path(home)).handle


app = make_client_app(open_handler)
