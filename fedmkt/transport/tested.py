"""The versions of Flower whose internals this package leans on, and was tested with.

Whatever leans on internals asks `is_tested` first. With another version it leaves Flower as it is.
"""

from importlib.metadata import version

TESTED = ("1.41.0",)


def is_tested(installed: str | None = None) -> bool:
    """Return whether a version of Flower, by default the installed one, is among those."""
    return (installed or version("flwr")) in TESTED
