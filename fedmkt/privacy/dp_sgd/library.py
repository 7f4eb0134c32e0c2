"""The one place that imports torch, so that its absence has one name.

Guarantee: importing this module gives torch or raises ExtraMissing, which says what to install.
Not guaranteed: anything about torch's own random generator. Nothing private is drawn from it.
"""

from fedmkt.core.errors import ExtraMissing

try:
    import torch as torch
except ModuleNotFoundError as error:
    raise ExtraMissing(library="torch", purpose="Networks", extra="networks") from error

__all__ = ["torch"]
