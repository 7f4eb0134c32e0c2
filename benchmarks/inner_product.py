"""Cost of one round of protected inner products beside plain sums, on one core.

    python benchmarks/inner_product.py [--rows 50000] [--features 7] [--bins 200] [--partners 2]
    python benchmarks/inner_product.py --short

One label owner, and partners with so many features of so many bins each. Everything a round costs
is timed, one stage after another in one thread: encrypting residuals, the partners' masked
products, key off and noise on, masks off and look-up, and the masked sum of scores. Ratios are
against numpy's bincount of the same residuals over the same bins. Sealing and the coordinator are
outside. Tables made once a process are stated apart.
"""

import argparse
import os
import resource
import secrets
from dataclasses import dataclass

import numpy as np
from machine import print_header, print_table, verdict, wall

from fedmkt.core.stages import CodeArray, IntArray
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.security.inner_product import bins, elgamal, opening, small_logs
from fedmkt.security.score_sum import ScoreContext, add_masked, mask_scores, unmask_total
from fedmkt.security.secure_sum.masks import public_key

LARGEST = 4096  # a residual of 1 in grid units
SIGMA = 167_000.0  # epsilon 1 at delta 1e-5 over 8 rounds, for a bound of 4096 sqrt(15)
TARGET_S, TARGET_PREPARED_S = 6.0, 2.0
TARGET_MEMORY_MB = 2000
JUDGED = (50_000, 7, 200, 2)
SHORT = (5_000, 7, 50, 2)
OWNER = "owner"


@dataclass
class World:
    """Residuals, and the codes and binning of every partner."""

    residuals: IntArray
    codes: dict[str, CodeArray]
    binning: Binning


def world(rows: int, features: int, count: int, partners: int) -> World:
    draw = np.random.default_rng(4)
    labels = tuple(str(code) for code in range(count))
    binning = Binning(tuple(FeatureBins(f"f{i}", labels, (), False) for i in range(features)))
    codes = {
        f"partner {i + 1}": draw.integers(0, count, (rows, features)).astype(np.uint16)
        for i in range(partners)
    }
    return World(draw.integers(-LARGEST, LARGEST + 1, rows), codes, binning)


def plain_sums(residuals: IntArray, codes: CodeArray, binning: Binning) -> IntArray:
    counted = [
        np.bincount(codes[:, place], residuals, feature.bins)
        for place, feature in enumerate(binning.features)
    ]
    return np.concatenate(counted).astype(np.int64)


class Stages:
    """Seconds of named stages, added up over partners, and bytes of named messages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.sizes: dict[str, int] = {}

    def run(self, name, call):
        seconds, result = wall(call)
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        return result


def one_round(case: World, stages: Stages) -> None:
    """Run one round of an owner and all partners, checked against plain sums."""
    key, rows = elgamal.OwnerKey.generate(), len(case.residuals)
    prepared = stages.run("owner: prepare", lambda: elgamal.prepare(key, rows, workers=1))
    encrypted = stages.run(
        "owner: encrypt", lambda: elgamal.encrypt(key, case.residuals, prepared, workers=1)
    )
    stages.sizes["owner to each partner: residuals"] = len(encrypted)
    for partner, codes in case.codes.items():
        total, seed = case.binning.total, os.urandom(32)
        noise = np.rint(np.random.default_rng(6).normal(0, SIGMA, total)).astype(np.int64)
        masked = stages.run(
            "partners: products",
            lambda codes=codes, seed=seed: bins.masked_products(
                encrypted, codes, case.binning, mask_seed=seed, member=OWNER, workers=1
            ),
        )
        noised = stages.run(
            "owner: key off, noise on",
            lambda masked=masked, noise=noise, partner=partner: opening.open_noised(
                key, masked, noise, member=partner, workers=1
            ),
        )
        sums = stages.run(
            "partners: masks off, look-up",
            lambda noised=noised, seed=seed, total=total: bins.unmasked_sums(
                noised,
                bins=total,
                mask_seed=seed,
                limit=rows * LARGEST + int(16 * SIGMA),
                round_number=1,
                member=OWNER,
                workers=1,
            ),
        )
        exact = stages.run(
            "plain bincount", lambda codes=codes: plain_sums(case.residuals, codes, case.binning)
        )
        np.testing.assert_array_equal(sums, exact + noise)
        stages.sizes["each partner to owner: products"] = len(masked)
        stages.sizes["owner to each partner: noised sums"] = len(noised)
    scores(case, stages)


def scores(case: World, stages: Stages) -> None:
    """Mask every partner's scores, add them up, and open the total."""
    keys = {name: secrets.token_bytes(32) for name in (*case.codes, OWNER)}
    publics = {name: public_key(secret) for name, secret in keys.items()}
    partners = {name: publics[name] for name in case.codes}
    context = ScoreContext("benchmark", 1, bytes(32))
    values = {name: codes.sum(axis=1, dtype=np.int64) for name, codes in case.codes.items()}
    masked = [
        stages.run(
            "partners: mask scores",
            lambda name=name: mask_scores(
                values[name],
                member=name,
                secret=keys[name],
                partners=partners,
                owner=(OWNER, publics[OWNER]),
                context=context,
            ),
        )
        for name in case.codes
    ]
    stages.sizes["each partner to owner: masked scores"] = masked[0].nbytes
    total = stages.run("coordinator: add scores", lambda: add_masked(masked))
    opened = stages.run(
        "owner: open total",
        lambda: unmask_total(
            total, owner=OWNER, secret=keys[OWNER], partners=partners, context=context
        ),
    )
    np.testing.assert_array_equal(opened, sum(values.values()))


def report(case: World, stages: Stages, *, judged: bool) -> None:
    rows, partners = len(case.residuals), len(case.codes)
    plain = stages.seconds.pop("plain bincount")
    whole = sum(stages.seconds.values())
    ready = whole - stages.seconds["owner: prepare"]
    title = f"{rows:,} rows, {partners} partners x {case.binning.total} bins"
    rows_of_table = [columns(name, seconds, plain) for name, seconds in stages.seconds.items()]
    for name, seconds, limit in (
        ("whole round", whole, TARGET_S),
        ("with multiples made ahead", ready, TARGET_PREPARED_S),
    ):
        rows_of_table.append(columns(name, seconds, plain, limit if judged else None))
    rows_of_table.append(columns("`numpy.bincount` of the same", plain, plain))
    print_table((title, "seconds", "times bincount", "target"), rows_of_table)
    to_owner = {name for name in stages.sizes if name.endswith(("products", "scores"))}
    there = sum(size for name, size in stages.sizes.items() if name not in to_owner)
    back = sum(stages.sizes[name] for name in to_owner)
    bare_there, bare_back = 8 * case.binning.total, 4 * rows
    print_table(
        ("bytes", "a message", "all partners"),
        [
            *((name, f"{b:,}", f"{partners * b:,}") for name, b in stages.sizes.items()),
            ("owner to partners, all", f"{there:,}", f"{partners * there:,}"),
            ("partners to owner, all", f"{back:,}", f"{partners * back:,}"),
            (
                "times bare sums and scores as integers",
                f"{(there + back) / (bare_there + bare_back):.1f}",
                "",
            ),
        ],
    )


def columns(
    name: str, seconds: float, plain: float, limit: float | None = None
) -> tuple[str, str, str, str]:
    target = "" if limit is None else at_most(seconds, limit)
    return name, f"{seconds:.4f}", f"{seconds / plain:,.1f}", target


def at_most(value: float, limit: float) -> str:
    return f"at most {limit:g}: {verdict(value, limit)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    names = ("rows", "features", "bins", "partners")
    for name, value in zip(names, JUDGED, strict=True):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--short", action="store_true", help="a small case: seconds in all")
    args = parser.parse_args()
    shape = SHORT if args.short else tuple(getattr(args, name) for name in names)
    print_header("Protected inner products, one thread")
    tables, _ = wall(lambda: (elgamal._table(), small_logs._table(small_logs.REACH)))
    case = world(*shape)
    stages = Stages()
    one_round(case, stages)
    report(case, stages, judged=shape == JUDGED)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print_table(
        ("once a process", "measured", "target"),
        [
            ("tables of small multiples, seconds", f"{tables:.2f}", ""),
            (
                "peak memory of all parties in one process, MB",
                f"{peak_mb:.0f}",
                at_most(peak_mb, TARGET_MEMORY_MB),
            ),
        ],
    )


if __name__ == "__main__":
    main()
