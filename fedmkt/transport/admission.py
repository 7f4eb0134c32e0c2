"""How much of a server one client may take: a rate of requests, and bytes in flight over all.

Guarantee: `Buckets` lets a client's requests through at no more than the rate, after a burst;
memory is bounded by the number of clients it remembers. `Flight` never counts more than its limit.
Not guaranteed: that a client is one partner. Behind one address, all share its bucket.
"""

import ipaddress
from collections import OrderedDict
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
class Flight:
    """Bytes of requests that were not answered yet."""

    most: int
    held: int = 0

    def take(self, size: int) -> bool:
        """Return whether so many more bytes fit, and count them if so."""
        if self.held + size > self.most:
            return False
        self.held += size
        return True

    def leave(self, size: int) -> None:
        """Stop counting bytes whose request was answered."""
        self.held -= size


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
