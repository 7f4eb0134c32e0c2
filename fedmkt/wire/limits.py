"""What a message may be made of, looked at before anything is built from it.

Guarantee: `check_message` walks the heads of CBOR data and takes no memory that grows with what a
head claims. What it passes has at most MOST_BYTES bytes, MOST_ITEMS items and MOST_DEPTH levels, no
text over MOST_TEXT bytes, no length that its own bytes do not fill, nothing after its end, and
nothing but numbers, text, bytes, lists, maps, true, false and null.
Not guaranteed: canonical form; that is checked where bytes are signed. Nothing is decompressed
here or anywhere above: compressed content is bytes like any other.
"""

from fedmkt.core.errors import MessageInvalid, MessageTooLarge

MOST_BYTES = 250_000_000
MOST_ITEMS = 2**18
MOST_DEPTH = 16
MOST_TEXT = 2**16

_BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(2, 8)
_ARGUMENT_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
# false, true, null; floats of 16, 32 and 64 bits
_SIMPLE_VALUES = frozenset({20, 21, 22, 25, 26, 27})


def check_message(data: bytes, *, kind: str) -> None:
    """Check that data are one CBOR value within the limits, as the module states.

    Raises: MessageTooLarge, MessageInvalid.
    """
    if len(data) > MOST_BYTES:
        raise MessageTooLarge(kind=kind, limit=MOST_BYTES, what="bytes")
    position, items, waiting = 0, 0, [1]  # waiting: values still to come, one number a level
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            continue
        waiting[-1] -= 1
        items += 1
        if items > MOST_ITEMS:
            raise MessageTooLarge(kind=kind, limit=MOST_ITEMS, what="items")
        major, argument, position = _head(data, position, kind)
        if major in (_BYTES, _TEXT):
            if major == _TEXT and argument > MOST_TEXT:
                raise MessageTooLarge(kind=kind, limit=MOST_TEXT, what="bytes of text")
            position += argument
        elif major in (_LIST, _MAP):
            waiting.append(argument * (major - _BYTES - 1))
            if len(waiting) > 1 + MOST_DEPTH:
                raise MessageTooLarge(kind=kind, limit=MOST_DEPTH, what="levels")
    if position != len(data):
        raise MessageInvalid(kind=kind, problem="bytes after its end")


def _head(data: bytes, position: int, kind: str) -> tuple[int, int, int]:
    """Return major type and argument of the head at a position, and where its content begins."""
    if position >= len(data):
        raise MessageInvalid(kind=kind, problem="it is cut short")
    major, short = data[position] >> 5, data[position] & 31
    position += 1
    if major == _TAG or (major == _SIMPLE and short not in _SIMPLE_VALUES):
        # Security: a tag of a few bytes can stand for a number that takes hours to build.
        raise MessageInvalid(kind=kind, problem="a value of a kind that no message has")
    argument = short
    if short > 23:
        width = _ARGUMENT_WIDTHS.get(short)
        if width is None:
            raise MessageInvalid(kind=kind, problem="a length that is not stated")
        argument = int.from_bytes(data[position : position + width], "big")
        position += width
    # A list's or map's values take a byte each at the least.
    least = argument if _BYTES <= major <= _LIST else 2 * argument if major == _MAP else 0
    if position + least > len(data):
        raise MessageInvalid(kind=kind, problem="it is cut short")
    return major, argument, position
