"""Cost of the secure sum beside a plain mean, in one process and one thread.

    python benchmarks/secure_sum.py [--length 1000000] [--repeats 15] [--large 50]

Everything a sum costs is timed: clients' fixed point, masks and fingerprints; the server's
fingerprints, reconstruction, addition and unmasking. Ratios are against numpy's float32 weighted
mean of the same arrays, measured in turn with them. Times are this thread's processor time, so
that a shared machine does not disturb them. Signing votes and the wire are outside.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import cryptography
import numpy as np

from fedmkt.core.stages import NoiselessUpdate, RingArray
from fedmkt.identity.keys import Identity
from fedmkt.security.secure_sum import collector, member, shamir
from fedmkt.security.secure_sum.messages import fingerprint, threshold_of
from fedmkt.security.secure_sum.ring import FixedPoint, Ring

Bits = Literal[32, 64]
SCALE_BITS = {32: 24, 64: 26}
MAX_ABS = 16.0


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.thread_time()
    result = call()
    return (time.thread_time() - start) * 1000, result


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


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

    def mask(self, name: str, index: int, values: np.ndarray) -> tuple[float, RingArray]:
        update = NoiselessUpdate(values)
        spent, (self.states[name], masked) = timed(
            lambda: member.mask_noiseless(self.states[name], index, update, request_hash="bench")
        )
        return spent, masked.values

    def open(self, index: int, masked: dict[str, RingArray]) -> tuple[float, np.ndarray]:
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
    fixed = FixedPoint(scale_bits=SCALE_BITS[bits], bits=bits, members=3, max_abs=MAX_ABS)
    rows: dict[str, list[float]] = {"mean": [], "lean": [], "fixed": [], "mask": [], "server": []}
    rows["fingerprint"] = []
    for index in range(repeats):
        spent, mean = timed(lambda: np.average(arrays, axis=0, weights=weights))
        rows["mean"].append(spent)
        rows["lean"].append(
            timed(lambda: sum(w * each for w, each in zip(weights, arrays, strict=True)))[0]
        )
        quantised, ms = [], 0.0
        for weight, each in zip(weights, arrays, strict=True):
            spent, values = timed(lambda w=weight, each=each: fixed.to_fixed(w * each))
            quantised.append(values)
            ms += spent
        rows["fixed"].append(ms)
        masked, ms = {}, 0.0
        for name, values in zip(bench.names, quantised, strict=True):
            spent, masked[name] = bench.mask(name, index, values)
            ms += spent
        rows["mask"].append(ms)
        rows["fingerprint"].append(2 * timed(lambda m=masked: [*map(fingerprint, m.values())])[0])
        spent, total = bench.open(index, masked)
        rows["server"].append(spent)
        np.testing.assert_allclose(fixed.to_float(total), mean, atol=1e-6)
    report_three(length, bits, {name: statistics.median(each) for name, each in rows.items()})


def report_three(length: int, bits: Bits, ms: dict[str, float]) -> None:
    print(f"\n3 members x {length:,} values, {bits}-bit ring (medians, ms)")
    for label, name in (
        ("numpy float32 weighted mean, np.average", "mean"),
        ("the same written out, without a stacked copy", "lean"),
        ("fixed point, all three clients", "fixed"),
        ("masks and fingerprints, all three clients", "mask"),
        ("server: fingerprints, sum, unmasking", "server"),
        ("all fingerprints of the two rows above", "fingerprint"),
    ):
        print(f"  {label:46} {ms[name]:8.2f}")
    work = ms["mask"] + ms["server"]
    for label, spent in (
        ("masks and server, no fingerprints", work - ms["fingerprint"]),
        ("masks and server", work),
        ("fixed point, masks and server", work + ms["fixed"]),
    ):
        print(f"  ratio to np.average: {label:34} {spent / ms['mean']:5.2f}x")


def many_members(members: int, length: int, bits: Bits) -> None:
    bench = Bench(members, 2, bits)
    draw = np.random.default_rng(2)
    values = draw.integers(-1000, 1000, length)
    print(f"\n{members} members x {length:,} values, {bits}-bit ring (ms)")
    for index, absent in ((0, 0), (1, 1)):
        spent, masked = [], {}
        for name in bench.names[absent:]:
            ms, masked[name] = bench.mask(name, index, values)
            spent.append(ms)
        print_ms, _ = timed(lambda m=masked: [*map(fingerprint, m.values())])
        server, total = bench.open(index, masked)
        np.testing.assert_array_equal(total, len(masked) * values)
        print(
            f"  {absent} dropped: client {statistics.median(spent):7.1f} "
            f"(of it fingerprint {print_ms / len(masked):.1f}), "
            f"server {server:7.1f} (of it fingerprints {print_ms:.1f})"
        )
    print(f"  share(), 2 sums: {statistics.median(bench.share_ms):.1f} a client")


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
    print(f"\nShamir over 2**521 - 1, 50 shares, threshold {threshold} (medians, ms)")
    print(f"  split {statistics.median(split):.2f}, combine {statistics.median(combine):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--length", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--large", type=int, default=50, help="members of the large table; 0: none")
    args = parser.parse_args()
    print(
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {np.__version__}, cryptography {cryptography.__version__}, one thread"
    )
    for bits in (32, 64):
        three_members(args.length, args.repeats, bits)  # type: ignore[arg-type]
    shamir_50(args.repeats)
    if args.large:
        for bits in (32, 64):
            many_members(args.large, args.length, bits)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
