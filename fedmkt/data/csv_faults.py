"""Why a CSV file cannot be read, found by looking at the file once more.

Guarantee: the words name a line of the file (its first is 1) and a rule, never a cell.
Not guaranteed: that every fault is found.
"""

import csv
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

_FIRST_BYTES = 65_536


def encoding_fault(path: Path) -> str | None:
    """Tell from a file's first lines why it is no UTF-8 text; None where it seems to be."""
    with path.open("rb") as file:
        first = file.readlines(_FIRST_BYTES)
    if first and first[0].startswith((BOM_UTF16_BE, BOM_UTF16_LE)):
        return "it is UTF-16, not UTF-8; save it as UTF-8"
    for number, line in enumerate(first, start=1):
        if not _is_utf8(line):
            return _not_utf8(number)
    return None


def fault(path: Path, separator: str) -> str | None:
    """Tell why a reader stopped; the whole file is read for it. None where nothing is found."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not _is_utf8(line):
                return _not_utf8(number)
    with path.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, delimiter=separator, strict=True)
        try:
            header = next((row for row in rows if row), None)
            if header is None:
                return "it is empty"
            longer = next((rows.line_num for row in rows if len(row) > len(header)), None)
        except csv.Error:
            return f"the quotes do not fit in or before line {rows.line_num}"
    return None if longer is None else f"line {longer} has more cells than the header"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(number: int) -> str:
    return f"line {number} is not UTF-8; save the file as UTF-8"
