"""What a coordinator needs from a network, said without naming one.

Guarantee: an exchange ends by its deadline (plus the time one request to the network takes), and
a node counts as having answered only if its reply is in the returned mapping.
Not guaranteed: that a node which is absent did not receive or carry out the request; that replies
are authentic (messages are signed by their members, above this layer); any order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Handler = Callable[[bytes], bytes]
"""A node's handler: request bytes in, reply bytes out; what it raises leaves as a code only."""


_ON_THE_WAY = frozenset(
    (
        "not_delivered",
        "message_unavailable",
        "reply_unavailable",
        "node_unavailable",
        "app_crashed",
    )
)
"""What a network says in a node's place. A node may say so too: then it is asked again, in vain."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A node's answer when it has no reply: a stable code, and nothing else."""

    code: str

    @property
    def on_the_way(self) -> bool:
        """Return whether the request or its reply was lost between coordinator and node.

        Then the node decided nothing that its next answer to the same request would not say again.
        """
        return self.code in _ON_THE_WAY


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through a channel so far: payload bytes, to the nodes (down) and from them (up)."""

    exchanges: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


class Channel(Protocol):
    """A coordinator's way to the nodes; one exchange at a time."""

    def node_ids(self, *, at_least: int, deadline_s: float) -> tuple[int, ...]:
        """Wait until `at_least` nodes are connected and return all that are, in rising order.

        Raises: NodesMissing when fewer are connected at the deadline.
        """
        ...

    def exchange(
        self, requests: Mapping[int, bytes], *, deadline_s: float, quorum: int | None = None
    ) -> Mapping[int, bytes | Failure]:
        """Send each node its own request and gather what comes back.

        Returns once every node answered, at the deadline, or a short grace after `quorum` nodes
        gave a reply. Nodes that did not answer in time are absent; a node that refused or failed
        stands there as a `Failure`, which does not count towards the quorum.
        """
        ...

    @property
    def traffic(self) -> Traffic:
        """Return what went through so far."""
        ...
