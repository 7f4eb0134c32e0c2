"""A table of 10 million rows and 12 columns: reading, binning and one exchange's work, in 2 GB.

    python benchmarks/large_table.py [--rows 10000000] [--source parquet csv]
    .ci/postgresql python benchmarks/large_table.py --source postgresql

The table is made first, piece by piece, in a temporary folder that is removed at the end, or in the
database that FEDMKT_TEST_POSTGRESQL names, and dropped. A process
of its own then reads it as a node does (keys, validation, bin codes, one row a customer), makes the
opening sums, adds noise and masks them for a run of three. What is judged is that process's peak
resident memory, libraries included. The opening sum carries the most: residuals and counts.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import psycopg
import pyarrow.parquet
from machine import print_header, print_table, verdict, wall

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.stages import LocalUpdate, MaskedUpdate
from fedmkt.data.binning import binning_from_schema
from fedmkt.data.sources import SourceSettings, open_source
from fedmkt.data.tables import load_examples
from fedmkt.horizontal.local_update import local_sums
from fedmkt.identity.keys import Identity
from fedmkt.models.additive import zero_model
from fedmkt.privacy.mechanisms import OsNoise, add_noise
from fedmkt.security.secure_sum import member
from fedmkt.security.secure_sum.ring import Ring

TARGET_GB = 2.0
URL = os.environ.get("FEDMKT_TEST_POSTGRESQL", "")
DATABASE_TABLE = "fedmkt_large_table"
DATABASE_COLUMNS = """customer bigint, count_0 smallint, count_1 smallint, count_2 smallint,
share_0 double precision, share_1 double precision, share_2 double precision,
spend double precision, region text, channel text, subscribed boolean, bought text"""
SOURCES = ("parquet", "csv", "postgresql")
PIECE_ROWS = 500_000
MAX_BINS = 64
REGIONS = tuple(f"region {number}" for number in range(20))
CHANNELS = ("web", "app", "shop", "telephone")
SCHEMA = TableSchema(
    customer_key="customer",
    target_positive="yes",
    columns=(
        *(Column(name=f"count_{n}", kind="integer", bounds=(0, 200)) for n in range(3)),
        *(Column(name=f"share_{n}", kind="number", bounds=(0, 1)) for n in range(3)),
        Column(name="spend", kind="number", bounds=(0, 1e6), scale="log", log_from=1),
        Column(name="region", kind="category", categories=REGIONS),
        Column(name="channel", kind="category", categories=CHANNELS),
        Column(name="subscribed", kind="boolean"),
        Column(name="bought", kind="category", categories=("no", "yes")),
    ),
)
FEATURES = tuple(column.name for column in SCHEMA.columns if column.name != "bought")


def pieces(rows: int) -> Iterator[pl.DataFrame]:
    """Yield the table in pieces of at most `PIECE_ROWS` rows."""
    draw = np.random.default_rng(5)
    for start in range(0, rows, PIECE_ROWS):
        size = min(PIECE_ROWS, rows - start)
        counts = {f"count_{n}": draw.integers(0, 200, size, dtype=np.int16) for n in range(3)}
        shares = {f"share_{n}": draw.random(size) for n in range(3)}
        bought = shares["share_0"] * draw.random(size) > 0.3
        yield pl.DataFrame(
            {
                "customer": np.arange(start, start + size),
                **counts,
                **shares,
                "spend": np.exp(draw.normal(3, 2, size)).clip(0, 1e6),
                "region": np.array(REGIONS)[draw.integers(0, len(REGIONS), size)],
                "channel": np.array(CHANNELS)[draw.integers(0, len(CHANNELS), size)],
                "subscribed": draw.random(size) < 0.4,
                "bought": np.where(bought, "yes", "no"),
            }
        )


def make(table: Path, rows: int) -> None:
    """Write the table in the format its name ends in."""
    if table.suffix == ".csv":
        with table.open("wb") as file:
            for number, piece in enumerate(pieces(rows)):
                piece.write_csv(file, include_header=number == 0)
        return
    writer = None
    for piece in pieces(rows):
        arrow = piece.to_arrow()
        writer = writer or pyarrow.parquet.ParquetWriter(table, arrow.schema)
        writer.write_table(arrow)
    assert writer is not None
    writer.close()


def fill_database(rows: int) -> None:
    """Put the table into the database."""
    with psycopg.connect(URL) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {DATABASE_TABLE} ({DATABASE_COLUMNS})")
        with cursor.copy(f"COPY {DATABASE_TABLE} FROM STDIN (FORMAT csv)") as copy:
            for piece in pieces(rows):
                copy.write(piece.write_csv(include_header=False))


def size_in_database() -> int:
    """Return the bytes of the table in the database."""
    with psycopg.connect(URL) as connection:
        query = f"SELECT pg_total_relation_size('{DATABASE_TABLE}')"
        found = connection.execute(query).fetchone()
    assert found is not None
    return int(found[0])


def drop_from_database() -> None:
    with psycopg.connect(URL) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {DATABASE_TABLE}")


def mask(update: LocalUpdate) -> MaskedUpdate:
    """Add noise to one member's sums and mask them, in a run of three."""
    names = ("bank", "map_provider", "retailer")
    identities = {name: Identity.generate() for name in names}
    directory = {name: one.public for name, one in identities.items()}
    opened = {
        name: member.open_member(
            identity=one, member=name, run="bench", roster=names, sums=1, ring=Ring(64)
        )
        for name, one in identities.items()
    }
    bundles = {name: bundle for name, (_, bundle) in opened.items()}
    shared = {name: member.share(opened[name][0], bundles, directory) for name in names}
    inbox = {name: sealed["bank"] for name, (_, sealed) in shared.items() if name != "bank"}
    state = member.receive_shares(shared["bank"][0], inbox)
    private = add_noise(update, noise_multiplier=2.0, shares=1, trust="local", source=OsNoise())
    return member.mask(state, 0, private, request_hash="bench")[1]


def source_settings(table: str) -> SourceSettings:
    """Return where a node reads the table: a file's path, or the table in the database."""
    if table == DATABASE_TABLE:
        return SourceSettings.model_validate({"kind": "sql", "url": URL, "table": table})
    path = Path(table)
    return SourceSettings(kind="csv" if path.suffix == ".csv" else "parquet", path=path)


def measure(table: str) -> dict[str, float]:
    """Do a node's work on the table; return seconds and gigabytes."""
    settings = source_settings(table)
    binning = binning_from_schema(SCHEMA, FEATURES, max_bins=MAX_BINS)
    start_gb = peak_gb()
    read_s, (examples, _) = wall(
        lambda: load_examples(
            open_source(settings), SCHEMA, dataset="large", target="bought", coder=binning
        )
    )
    read_gb = peak_gb()
    sums_s, update = wall(lambda: local_sums(examples, zero_model(binning), count_weight=0.3))
    mask_s, masked = wall(lambda: mask(update))
    assert masked.values.shape == (2 * binning.total,)
    return {
        "rows": examples.rows,
        "start_gb": start_gb,
        "read_s": read_s,
        "read_gb": read_gb,
        "sums_s": sums_s,
        "mask_s": mask_s,
        "peak_gb": peak_gb(),
    }


def peak_gb() -> float:
    """Return this process's largest resident memory so far, in GB (10^9 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def child(*arguments: str) -> str:
    """Run this script in a process of its own, and return what it prints."""
    # The parent stays small: on Linux a child starts with its parent's peak.
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def made_and_measured(source: str, rows: int) -> tuple[float, dict[str, float]]:
    """Make the table; return its size in gigabytes and what was measured. Leave nothing behind."""
    if source == "postgresql":
        try:
            child("--fill-database", "--rows", str(rows))
            return size_in_database() / 1e9, json.loads(child("--measure", DATABASE_TABLE))
        finally:
            drop_from_database()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / f"customers.{source}"
        child("--make", str(table), "--rows", str(rows))
        return table.stat().st_size / 1e9, json.loads(child("--measure", str(table)))


def report(source: str, rows: int) -> bool:
    """Make, measure and print one table; tell whether the target holds."""
    size_gb, found = made_and_measured(source, rows)
    assert found["rows"] == rows
    peak = found["peak_gb"]
    print_table(
        (f"{rows:,} rows, 12 columns, {source} of {size_gb:.2f} GB", "s", "peak GB so far"),
        (
            ("libraries loaded", "", f"{found['start_gb']:.2f}"),
            (
                "read, validate, encode, one row a customer",
                f"{found['read_s']:.1f}",
                f"{found['read_gb']:.2f}",
            ),
            ("opening sums", f"{found['sums_s']:.2f}", ""),
            ("noise and masks, keys included", f"{found['mask_s']:.2f}", f"{peak:.2f}"),
            (f"at most {TARGET_GB:g} GB", "", verdict(peak, TARGET_GB)),
        ),
    )
    return bool(peak <= TARGET_GB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--source", choices=SOURCES, nargs="+", default=["parquet"])
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fill-database", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if "postgresql" in args.source and not URL:
        parser.error("name a database in FEDMKT_TEST_POSTGRESQL, or run this under .ci/postgresql")
    if args.make:
        make(args.make, args.rows)
    elif args.fill_database:
        fill_database(args.rows)
    elif args.measure:
        print(json.dumps(measure(args.measure)))
    else:
        print_header("Large table: memory of one node")
        held = [report(source, args.rows) for source in args.source]
        assert all(held), f"a peak passed {TARGET_GB:g} GB"


if __name__ == "__main__":
    main()
