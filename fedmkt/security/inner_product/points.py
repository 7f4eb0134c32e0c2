"""Many points of secp256k1 at once, by libsecp256k1 as `coincurve` carries it.

Guarantee: `from_wire` returns points of the curve and nothing else; the curve's order is prime, so
each generates the whole group and none has small order. Multiples of the base point and arithmetic
on scalars take the same time for every secret (libsecp256k1's own statement).
Not guaranteed: constant time of `multiply` and of sums, whose time may depend on their inputs. The
sum of nothing, the identity, is no point of this library: sums say where it came out.

The library's functions are called one by one from Python, without the public classes, which would
cost more than the arithmetic. This is the one module that knows coincurve's inner layer; it refuses
to load where that layer is another.
Source: SEC 2 version 2.0, section 2.4.1 (secp256k1); libsecp256k1, include/secp256k1.h.
"""

import os
from typing import Any

import numpy as np
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT
from numpy.typing import NDArray

from fedmkt.core.errors import PointInvalid, SetSizeWrong
from fedmkt.core.stages import IntArray
from fedmkt.security.chunks import in_chunks

Points = NDArray[np.uint8]  # (points, 64), in the library's own form, which does not travel
Scalars = NDArray[np.uint8]  # (scalars, 32), big-endian, from 1 to the order less 1
Mask = NDArray[np.bool_]

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
POINT_BYTES = 64
SCALAR_BYTES = 32
WIRE_BYTES = 64
SHIFT = 2**64

_PREFIX = 4  # SEC 1, section 2.3.3: both coordinates follow
_USED = (
    "secp256k1_ec_pubkey_create",
    "secp256k1_ec_pubkey_tweak_mul",
    "secp256k1_ec_pubkey_combine",
    "secp256k1_ec_pubkey_serialize",
    "secp256k1_ec_pubkey_parse",
    "secp256k1_ec_seckey_tweak_mul",
    "secp256k1_ec_seckey_negate",
)
_UNCOMPRESSED = 1 << 1  # SECP256K1_EC_UNCOMPRESSED
_CHUNK = 256


def check_library(library: Any, point_bytes: int) -> None:
    """Raise ImportError unless coincurve's inner layer is as this module calls it."""
    missing = [name for name in _USED if not hasattr(library, name)]
    if missing or point_bytes != POINT_BYTES:
        lacks = ", ".join(missing) or f"points of {POINT_BYTES} bytes"
        raise ImportError(f"The installed coincurve lacks {lacks}. Install coincurve 21.")


check_library(lib, ffi.sizeof("secp256k1_pubkey"))
_CONTEXT = GLOBAL_CONTEXT.ctx


# --- scalars ----------------------------------------------------------------------------------


def random_scalars(count: int) -> Scalars:
    """Return fresh scalars, shape (count, 32), uniform but for a distance of 2^-127 each."""
    return scalars_from(os.urandom(SCALAR_BYTES * count))


def scalars_from(data: bytes) -> Scalars:
    """Return 32-byte strings as scalars, shape (strings, 32).

    One of 2^127 random strings is no scalar; whatever multiplies by it says so.
    """
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, SCALAR_BYTES).copy()


def scalar_of(value: int) -> Scalars:
    """Return one whole number modulo the order, shape (1, 32)."""
    return scalars_from((value % ORDER).to_bytes(SCALAR_BYTES, "big"))


def shifted(values: IntArray) -> Scalars:
    """Return each value plus 2^64 as a scalar, shape (values, 32); none of them is zero."""
    scalars = np.zeros((len(values), SCALAR_BYTES), dtype=np.uint8)
    # In two's complement the low 64 bits of v and of v + 2^64 are the same.
    scalars[:, -8:] = values.astype(">i8").view(np.uint8).reshape(-1, 8)
    scalars[:, -9] = values >= 0
    return scalars


def multiply_scalars(scalars: Scalars, factor: Scalars) -> Scalars:
    """Return each scalar times `factor` (1, 32) modulo the order."""
    product = scalars.copy()
    at, by, call = _bytes(product), _bytes(factor), lib.secp256k1_ec_seckey_tweak_mul
    done = [call(_CONTEXT, at + place, by) for place in range(0, product.size, SCALAR_BYTES)]
    assert all(done)
    return product


def negate_scalars(scalars: Scalars) -> Scalars:
    """Return the order less each scalar."""
    negative = scalars.copy()
    at, call = _bytes(negative), lib.secp256k1_ec_seckey_negate
    done = [call(_CONTEXT, at + place) for place in range(0, negative.size, SCALAR_BYTES)]
    assert all(done)
    return negative


# --- points -----------------------------------------------------------------------------------


def multiply_base(scalars: Scalars, *, workers: int | None = None) -> Points:
    """Return each scalar times the base point, shape (scalars, 64). workers: None is all cores."""
    points = np.empty((len(scalars), POINT_BYTES), dtype=np.uint8)
    out, at, call = _points(points), _bytes(scalars), lib.secp256k1_ec_pubkey_create

    def work(start: int, stop: int) -> None:
        done = [call(_CONTEXT, out + i, at + SCALAR_BYTES * i) for i in range(start, stop)]
        assert all(done)

    in_chunks(len(scalars), work, size=_CHUNK, workers=workers)
    return points


def multiply(points: Points, scalars: Scalars, *, workers: int | None = None) -> Points:
    """Return each point times its scalar, shape (n, 64); one of either serves for all.

    Not guaranteed: constant time.
    """
    count = np.broadcast_shapes((len(points),), (len(scalars),))[0]
    product = np.array(np.broadcast_to(points, (count, POINT_BYTES)), order="C")
    factors = np.array(np.broadcast_to(scalars, (count, SCALAR_BYTES)), order="C")
    out, at, call = _points(product), _bytes(factors), lib.secp256k1_ec_pubkey_tweak_mul

    def work(start: int, stop: int) -> None:
        done = [call(_CONTEXT, out + i, at + SCALAR_BYTES * i) for i in range(start, stop)]
        assert all(done)

    in_chunks(count, work, size=_CHUNK, workers=workers)
    return product


def add(first: Points, *others: Points) -> tuple[Points, Mask]:
    """Return the sum of each row, shape (rows, 64), and where it is a point, shape (rows,).

    first: (rows, 64). others: the same, or (1, 64), which is added to every row.
    """
    columns, rows = (first, *others), len(first)
    base = np.cumsum([0, *(len(column) for column in columns)])
    places = [
        start + (np.zeros(rows, dtype=np.int64) if len(column) == 1 else np.arange(rows))
        for start, column in zip(base, columns, strict=False)
    ]
    index = np.stack(places, axis=1).reshape(-1)
    starts = np.arange(rows + 1) * len(columns)
    return sum_groups(np.concatenate(columns), index, starts, workers=1)


def sum_groups(
    pool: Points, index: IntArray, starts: IntArray, *, workers: int | None = None
) -> tuple[Points, Mask]:
    """Return the sum of each group of points, shape (groups, 64), and where it is a point.

    Args: pool: (points, 64), contiguous. index: group after group, which points of the pool it
    holds. starts: (groups + 1,), where in `index` each group begins; no group is empty.
    Returns: where the identity came out, 64 zero bytes, which no other function here takes.
    """
    groups = len(starts) - 1
    # Security: the library ends the process at 64 zero bytes and reads wherever it is pointed.
    assert groups == 0 or bool((np.diff(starts) > 0).all())
    assert index.size == 0 or 0 <= int(index.min()) <= int(index.max()) < len(pool)
    assert pool.flags.c_contiguous
    sums = np.zeros((groups, POINT_BYTES), dtype=np.uint8)
    there = np.zeros(groups, dtype=np.bool_)
    addresses = np.uintp(pool.ctypes.data) + index.astype(np.uintp) * np.uintp(POINT_BYTES)
    pointers = ffi.from_buffer("secp256k1_pubkey *[]", addresses)
    out, bounds, call = _points(sums), starts.tolist(), lib.secp256k1_ec_pubkey_combine

    def work(start: int, stop: int) -> None:
        there[start:stop] = [
            call(_CONTEXT, out + i, pointers + bounds[i], bounds[i + 1] - bounds[i])
            for i in range(start, stop)
        ]

    in_chunks(groups, work, size=_CHUNK, workers=workers)
    return sums, there


def progression(first: Points, step: Points, count: int) -> Points:
    """Return first + j step for j below `count`, shape (count, 64); none may be the identity."""
    table, jump = first, step
    while len(table) < count:
        more, there = add(table, jump)
        assert there.all()
        table = np.concatenate([table, more])
        jump = add(jump, jump)[0]
    return table[:count]


# --- the wire ---------------------------------------------------------------------------------


def to_wire(points: Points) -> NDArray[np.uint8]:
    """Return points as they travel, (n, 64): x and y, big-endian.

    One coordinate and a sign would be half of that, but six times the work to read.
    """
    size = 1 + WIRE_BYTES
    data = np.empty((len(points), size), dtype=np.uint8)
    out, at, length = _bytes(data), _points(points), ffi.new("size_t *", size)
    call = lib.secp256k1_ec_pubkey_serialize
    for i in range(len(points)):
        call(_CONTEXT, out + size * i, length, at + i, _UNCOMPRESSED)
    return data[:, 1:]


def from_wire(data: bytes, *, count: int, member: str) -> Points:
    """Return the points that `to_wire` wrote, shape (count, 64).

    Args: count: as agreed beforehand; member: who sent them.
    Guarantee: every point lies on the curve and has one accepted form.
    Raises: SetSizeWrong for another number of bytes; PointInvalid.
    """
    if len(data) != count * WIRE_BYTES:
        raise SetSizeWrong(member=member, declared=count, found=f"{len(data) / WIRE_BYTES:g}")
    encoded = np.frombuffer(data, dtype=np.uint8).reshape(count, WIRE_BYTES)
    encoded = np.insert(encoded, 0, _PREFIX, axis=1)
    points = np.empty((count, POINT_BYTES), dtype=np.uint8)
    out, at, call = _points(points), _bytes(encoded), lib.secp256k1_ec_pubkey_parse
    size = encoded.shape[1]
    # Security: the library checks that coordinates are below the prime and on the curve.
    valid = [call(_CONTEXT, out + i, at + size * i, size) for i in range(count)]
    if not all(valid):
        raise PointInvalid(member=member, problem="it is not on the curve")
    return points


# --- the library's memory ---------------------------------------------------------------------


def _points(points: Points) -> Any:
    """Return the library's view of points; it lives as long as something holds it."""
    assert points.shape[1:] == (POINT_BYTES,)
    return ffi.from_buffer("secp256k1_pubkey[]", points)


def _bytes(data: NDArray[np.uint8]) -> Any:
    return ffi.from_buffer("unsigned char[]", data)


G = multiply_base(scalar_of(1), workers=1)
UNSHIFT = multiply_base(scalar_of(-SHIFT), workers=1)
"""What takes the 2^64 of `shifted` off again."""
G.flags.writeable = UNSHIFT.flags.writeable = False
