"""Cost of the secure sum beside a plain mean, in one process and one thread.

    python benchmarks/secure_sum.py [--length 1000000] [--repeats 15] [--large 50]

Everything a sum costs is timed: clients' fixed point, masks and fingerprints; the server's
fingerprints, reconstruction, addition and unmasking. Ratios are against numpy's float32 weighted
mean of the same arrays, measured in turn with them. Each figure is the median over repeated sums,
as wall time and as this process's processor time, which a shared machine disturbs less. Signing
votes and the wire are outside.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from machine import print_header, print_table, verdict
from numpy.typing import NDArray

from fedmkt.core.stages import IntArray, NoiselessUpdate, RingArray
from fedmkt.identity.keys import Identity
from fedmkt.security.secure_sum import collector, member, shamir
from fedmkt.security.secure_sum.messages import fingerprint, threshold_of
from fedmkt.security.secure_sum.ring import Ring

Bits = Literal[32, 64]
Spent = NDArray[np.float64]  # (2,): wall and processor milliseconds
SCALE_BITS = {32: 24, 64: 26}
MAX_ABS = 16.0
LARGE_REPEATS = 3
TARGET_RATIO = 3.0
JUDGED = (50, 32)  # members and ring of the next line, with nobody dropped
TARGET_CLIENT_MS, TARGET_SERVER_MS = 31.0, 34.0  # without fingerprints


def timed(call: Callable[[], Any]) -> tuple[Spent, Any]:
    wall, used = time.perf_counter(), time.process_time()
    result = call()
    return np.array([time.perf_counter() - wall, time.process_time() - used]) * 1000, result


def to_fixed(values: NDArray[np.float32], bits: Bits) -> IntArray:
    """Return values within `MAX_ABS` as whole multiples of 2**-SCALE_BITS, as a client does."""
    # Written so that NaN is out of range too.
    if not (values.min() >= -MAX_ABS and values.max() <= MAX_ABS):
        raise SystemExit("a value is out of range")
    scaled = values * np.float32(2 ** SCALE_BITS[bits])
    return np.rint(scaled, out=scaled).astype(np.int64)


def median(spent: Sequence[Spent]) -> Spent:
    return np.asarray(np.median(spent, axis=0), dtype=np.float64)


def columns(label: str, spent: Spent) -> tuple[str, str, str]:
    return label, f"{spent[0]:.2f}", f"{spent[1]:.2f}"


class Bench:
    """One run of `sums` secure sums with everybody ready to mask."""

    def __init__(self, members: int, sums: int, bits: Bits) -> None:
        self.names = tuple(f"m{i:03}" for i in range(members))
        self.identities = {name: Identity.generate() for name in self.names}
        self.bundles: dict[str, bytes] = {}
        self.states: dict[str, member.MemberState] = {}
        for name in self.names:
            self.states[name], self.bundles[name] = member.open_member(
                identity=self.identities[name],
                member=name,
                run="bench",
                roster=self.names,
                sums=sums,
                ring=Ring(bits),
            )
        directory = {name: each.public for name, each in self.identities.items()}
        sealed = {}
        self.share_ms = []
        for name in self.names:
            spent, (self.states[name], sealed[name]) = timed(
                lambda name=name: member.share(self.states[name], self.bundles, directory)
            )
            self.share_ms.append(spent)
        for name in self.names:
            inbox = {other: sealed[other][name] for other in self.names if other != name}
            self.states[name] = member.receive_shares(self.states[name], inbox)

    def mask(self, name: str, index: int, values: np.ndarray) -> tuple[Spent, RingArray]:
        update = NoiselessUpdate(values)
        spent, (self.states[name], masked) = timed(
            lambda: member.mask_noiseless(self.states[name], index, update, request_hash="bench")
        )
        return spent, masked.values

    def open(self, index: int, masked: dict[str, RingArray]) -> tuple[Spent, np.ndarray]:
        """Return the server's milliseconds and the sum."""
        first, transcript = timed(
            lambda: collector.transcript("bench", index, self.names, masked, "bench")
        )
        votes, replies = {}, {}
        for name in masked:
            self.states[name], votes[name] = member.vote(
                self.states[name], index, transcript, self.identities[name]
            )
        for name in masked:
            self.states[name], replies[name] = member.unmask(self.states[name], index, votes)
        second, total = timed(
            lambda: collector.combine(self.bundles, self.names, index, masked, transcript, replies)
        )
        return first + second, total


def three_members(length: int, repeats: int, bits: Bits) -> None:
    bench = Bench(3, repeats, bits)
    draw = np.random.default_rng(1)
    arrays = [draw.normal(size=length).astype(np.float32) for _ in bench.names]
    weights = np.array([0.2, 0.3, 0.5], np.float32)
    rows: dict[str, list[Spent]] = {
        name: [] for name in ("mean", "lean", "fixed", "mask", "server", "fingerprint")
    }
    for index in range(repeats):
        spent, mean = timed(lambda: np.average(arrays, axis=0, weights=weights))
        rows["mean"].append(spent)
        rows["lean"].append(
            timed(lambda: sum(w * each for w, each in zip(weights, arrays, strict=True)))[0]
        )
        quantised, ms = [], np.zeros(2)
        for weight, each in zip(weights, arrays, strict=True):
            spent, values = timed(lambda w=weight, each=each: to_fixed(w * each, bits))
            quantised.append(values)
            ms += spent
        rows["fixed"].append(ms)
        masked, ms = {}, np.zeros(2)
        for name, values in zip(bench.names, quantised, strict=True):
            spent, masked[name] = bench.mask(name, index, values)
            ms += spent
        rows["mask"].append(ms)
        rows["fingerprint"].append(2 * timed(lambda m=masked: [*map(fingerprint, m.values())])[0])
        spent, total = bench.open(index, masked)
        rows["server"].append(spent)
        np.testing.assert_allclose(total / 2 ** SCALE_BITS[bits], mean, atol=1e-6)
    report_three(length, bits, {name: median(each) for name, each in rows.items()})


def report_three(length: int, bits: Bits, ms: dict[str, Spent]) -> None:
    print_table(
        (f"3 members x {length:,} values, {bits}-bit ring", "wall ms", "processor ms"),
        [
            columns(label, ms[name])
            for label, name in (
                ("numpy float32 weighted mean, `np.average`", "mean"),
                ("the same written out, without a stacked copy", "lean"),
                ("fixed point, all three clients", "fixed"),
                ("masks and fingerprints, all three clients", "mask"),
                ("server: fingerprints, sum, unmasking", "server"),
                ("all fingerprints of the two rows above", "fingerprint"),
            )
        ],
    )
    work = ms["mask"] + ms["server"]
    ratio = work / ms["mean"]
    without = (work - ms["fingerprint"]) / ms["mean"]
    print_table(
        (f"ratio to `np.average`, {bits}-bit ring", "wall", "processor", "target"),
        [
            (*columns("masks and server, without fingerprints", without), ""),
            (*columns("masks and server", ratio), judged(ratio, TARGET_RATIO)),
            (*columns("fixed point, masks and server", ratio + ms["fixed"] / ms["mean"]), ""),
        ],
    )


def many_members(members: int, length: int, bits: Bits) -> None:
    bench = Bench(members, 2 * LARGE_REPEATS, bits)
    values = np.random.default_rng(2).integers(-1000, 1000, length)
    rows = []
    for absent in (0, 1):
        taken: dict[str, list[Spent]] = {name: [] for name in ("client", "server", "fingerprint")}
        for repeat in range(LARGE_REPEATS):
            index, masked = absent * LARGE_REPEATS + repeat, {}
            for name in bench.names[absent:]:
                spent, masked[name] = bench.mask(name, index, values)
                taken["client"].append(spent)
            taken["fingerprint"].append(timed(lambda m=masked: [*map(fingerprint, m.values())])[0])
            spent, total = bench.open(index, masked)
            taken["server"].append(spent)
            np.testing.assert_array_equal(total, len(masked) * values)
        client, server, prints = (
            median(taken[name]) for name in ("client", "server", "fingerprint")
        )
        own = prints / (members - absent)
        client, server = client - own, server - prints
        judge = (members, bits) == JUDGED and not absent
        rows += [
            (
                *columns(f"{absent} dropped: one client, mask", client),
                judged(client, TARGET_CLIENT_MS) if judge else "",
            ),
            (*columns(f"{absent} dropped: one client, fingerprint", own), ""),
            (
                *columns(f"{absent} dropped: server, sum and unmasking", server),
                judged(server, TARGET_SERVER_MS) if judge else "",
            ),
            (*columns(f"{absent} dropped: server, all fingerprints", prints), ""),
        ]
    share = columns(f"one client, shares of {2 * LARGE_REPEATS} sums", median(bench.share_ms))
    title = f"{members} members x {length:,} values, {bits}-bit ring"
    print_table((title, "wall ms", "processor ms", "target"), [*rows, (*share, "")])


def judged(spent: Spent, limit: float) -> str:
    return f"at most {limit:g}: {verdict(spent[0], limit)}"


def shamir_50(repeats: int) -> None:
    draw = np.random.default_rng(3)
    threshold = threshold_of(50)
    coefficients = [int.from_bytes(draw.bytes(66), "big") % shamir.PRIME for _ in range(threshold)]
    points = range(1, 51)
    split, combine = [], []
    for _ in range(repeats):
        spent, shares = timed(lambda: shamir.split(5, coefficients[1:], points))
        split.append(spent)
        used = dict(zip(points, shares[:threshold], strict=False))
        spent, secret = timed(
            lambda used=used: shamir.combine(used, shamir.weights_at_zero(list(used)))
        )
        combine.append(spent)
        assert secret == 5
    print_table(
        (f"Shamir over 2^521 - 1, 50 shares, threshold {threshold}", "wall ms", "processor ms"),
        [columns("split", median(split)), columns("combine", median(combine))],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--length", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--large", type=int, default=50, help="members of the large table; 0: none")
    args = parser.parse_args()
    print_header(
        f"Secure sum, one thread, medians of {args.repeats} ({LARGE_REPEATS} with many members)"
    )
    rings: tuple[Bits, ...] = (32, 64)
    for bits in rings:
        three_members(args.length, args.repeats, bits)
    shamir_50(args.repeats)
    if args.large:
        for bits in rings:
            many_members(args.large, args.length, bits)


if __name__ == "__main__":
    main()
