"""Logs of processes: a line an event, as text or as JSON, with member and run, never a value.

The variable FEDMKT_LOG says which: `json`, or text if it is anything else or missing.

Guarantee: of an error that a line is about, its type is written and neither its text nor where it
happened, for both can hold what was being read. What a line says is up to who logs it; the
package's own lines carry names, numbers of steps and codes.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

FORMAT = "FEDMKT_LOG"
_run: ContextVar[str] = ContextVar("run", default="")


@contextmanager
def about_run(run: str) -> Iterator[None]:
    """Have all lines that are logged inside name this run."""
    before = _run.set(run)
    try:
        yield
    finally:
        _run.reset(before)


def log_to_stderr(member: str = "", *, level: int = logging.INFO) -> None:
    """Have this process log to its standard error, in the form that FEDMKT_LOG says.

    A process whose logging was set up by somebody else keeps that.
    member: whose process it is, "" where it is nobody's.
    """
    as_json = os.environ.get(FORMAT) == "json"
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(member) if as_json else TextLines(member))
    logging.basicConfig(level=level, handlers=[handler])
    # A line for each look for a message.
    logging.getLogger("httpx").setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """Lines for people: time, level, member and run, what happened."""

    def __init__(self, member: str) -> None:
        """Take the member whose process it is."""
        super().__init__("%(asctime)s %(levelname)s %(about)s%(message)s")
        self._member = member

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        about = " ".join(one for one in (self._member, _run.get()) if one)
        record.about = f"{about}: " if about else ""
        record.exc_text = _error_type(record)
        return super().format(record)


class JsonLines(logging.Formatter):
    """Lines for machines: an object of `at`, `level`, `logger`, `member`, `run`, `message`."""

    def __init__(self, member: str) -> None:
        """Take the member whose process it is."""
        super().__init__()
        self._member = member

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "at": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "member": self._member,
            "run": _run.get(),
            "message": record.getMessage(),
        }
        if error := _error_type(record):
            line["error"] = error
        return json.dumps(line, ensure_ascii=False)


def _error_type(record: logging.LogRecord) -> str:
    known = record.exc_info and record.exc_info[0]
    return known.__name__ if known else ""
