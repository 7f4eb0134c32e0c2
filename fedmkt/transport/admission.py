"""How much of a server one client may take: a rate, and shares of what there is only so much of.

Guarantee: `Buckets` lets a client's requests through at no more than the rate, after a burst;
memory is bounded by the number of clients it remembers. `Shares` never counts more than its limits
and remembers only who holds something. `Pace` gives a sender of bytes no more time than a least
rate and a pause.
Not guaranteed: that a client is one partner. Behind one address, all share its bucket.
"""

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

_MOST_CLIENTS = 10_000


@dataclass(slots=True)
class Buckets:
    """A token bucket for each client. rate: requests a second. burst: requests at once."""

    rate: float
    burst: float
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, client: str, now_s: float) -> bool:
        """Return whether a client may ask once more at this time, and count it if so."""
        tokens, at = self._left.pop(client, (self.burst, now_s))
        tokens = min(self.burst, tokens + self.rate * (now_s - at))
        allowed = tokens >= 1
        self._left[client] = (tokens - 1 if allowed else tokens, now_s)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return allowed


@dataclass(slots=True)
class Shares:
    """What clients take of something there is only so much of, and give back.

    most: in all. most_each: of one client.
    """

    most: int
    most_each: int
    held: int = 0
    _by_client: Counter[str] = field(default_factory=Counter)

    def take(self, client: str, amount: int) -> bool:
        """Return whether so much more fits, and count it if so."""
        if self.held + amount > self.most or self._by_client[client] + amount > self.most_each:
            return False
        self._count(client, amount)
        return True

    def leave(self, client: str, amount: int) -> None:
        """Stop counting what a client gave back."""
        self._count(client, -amount)

    def _count(self, client: str, change: int) -> None:
        self.held += change
        self._by_client[client] += change
        if not self._by_client[client]:
            del self._by_client[client]


@dataclass(slots=True)
class Pace:
    """How long a sender may still be waited for, so that it keeps to a least rate.

    rate: bytes a second. grace_s: how long it may pause at most, though it sent much before.
    """

    rate: float
    grace_s: float
    left_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.left_s = self.grace_s

    def arrived(self, size: int, waited_s: float) -> None:
        """Count bytes that were waited for."""
        self.left_s = max(0.0, min(self.grace_s, self.left_s - waited_s + size / self.rate))


def client_key(host: str) -> str:
    """Return what tells a client from another: its address; of IPv6 the network (64 bits)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.version == 4:
        return str(address)
    # Security: whoever has one IPv6 address has 2^64.
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)).network_address)
