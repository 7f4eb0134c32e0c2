"""Random multiples for the next round's encryption, made while partners are at work.

They depend on nothing but this node's own secret of the round, and cost more than all the rest of
a round. Guarantee: what is taken is used once; what a process did not finish or keep is made anew
when it is needed, so nothing rests on it. They live in this process's memory alone.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from fedmkt.security.inner_product.elgamal import Multiples, OwnerKey, prepare

_KEPT = 4  # runs at a time whose next round is being prepared

_maker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
_waiting: dict[tuple[str, bytes], Future[Multiples]] = {}
_lock = Lock()


def make_ahead(run: str, key: OwnerKey, count: int) -> None:
    """Begin to make `count` multiples for a round's key."""
    with _lock:
        while len(_waiting) >= _KEPT:
            _waiting.pop(next(iter(_waiting))).cancel()
        _waiting[run, key.to_bytes()] = _maker.submit(prepare, key, count)


def forget(run: str) -> None:
    """Let go of what was made ahead for a run that is over."""
    with _lock:
        for named in [one for one in _waiting if one[0] == run]:
            _waiting.pop(named).cancel()


def take(run: str, key: OwnerKey, count: int) -> Multiples:
    """Return `count` multiples for a round's key, made ahead or now."""
    with _lock:
        made = _waiting.pop((run, key.to_bytes()), None)
    if made is not None and not made.cancel():
        multiples = made.result()
        if len(multiples.first) == count:
            return multiples
    return prepare(key, count)
