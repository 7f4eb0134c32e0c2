"""The one place that imports torch, so that its absence has one name.

Guarantee: importing this module gives torch or raises ExtraMissing, which says what to install.
Not guaranteed: anything about torch's own random generator. Nothing private is drawn from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fedmkt.core.errors import ExtraMissing

try:
    import torch as torch
except ModuleNotFoundError as error:
    raise ExtraMissing(library="torch", purpose="Networks", extra="networks") from error

__all__ = ["one_thread", "torch"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread: over so few rows, threads wait longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
