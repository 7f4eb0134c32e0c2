"""A Flower Grid without a network: the same ServerApp and ClientApp, in one process.

Guarantee: as `local_grid`; a node handles one message at a time, and nodes run side by side.
Not guaranteed: separation. Nodes share this process's memory, so this grid is for demonstrations,
simulations and tests; it may not hold data of partners who do not trust each other. A handler
that hangs cannot be killed, and closing the grid waits for it.
"""

from collections.abc import Callable, Mapping

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedmkt.transport.flower import Config
from fedmkt.transport.local_grid import LocalGrid, Lose, answer_of, context_of, run_server

__all__ = ["InProcessGrid", "Lose", "run_in_process"]


class InProcessGrid(LocalGrid):
    """A grid whose nodes are calls of `client_app` on threads of this process.

    node_configs: each node's own configuration by node id. lose: drops messages, for drop-out
    tests. restart: called with the node's id before each message, to drop whatever the node's
    code caches in this process, as a restarted node would have.
    """

    def __init__(
        self,
        client_app: ClientApp,
        node_configs: Mapping[int, Config],
        *,
        run_config: Config | None = None,
        lose: Lose | None = None,
        restart: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__({node_id: node_id for node_id in node_configs}, lose=lose)
        self._app = client_app
        self._node_configs = {node_id: dict(config) for node_id, config in node_configs.items()}
        self._run_config = dict(run_config or {})
        self._restart = restart

    def answer(self, node_id: int, message: Message) -> Message:
        """Return the node's answer."""
        context = context_of(node_id, self._node_configs[node_id], self._run_config)
        return answer_of(self._call, message, context)

    def _call(self, message: Message, context: Context) -> Message:
        if self._restart is not None:
            self._restart(context.node_id)
        return self._app(message, context)


def run_in_process(
    server_app: ServerApp,
    client_app: ClientApp,
    *,
    node_configs: Mapping[int, Config],
    run_config: Config,
    lose: Lose | None = None,
    restart: Callable[[int], None] | None = None,
) -> None:
    """Run `server_app` to its end with one in-process node for each of `node_configs`.

    Raises: whatever the ServerApp raises, unchanged.
    """
    grid = InProcessGrid(
        client_app, node_configs, run_config=run_config, lose=lose, restart=restart
    )
    run_server(server_app, grid, run_config)
