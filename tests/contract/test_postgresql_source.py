"""A table on a PostgreSQL server: read in pieces, in bounded memory, and like any other source.

Skipped unless FEDMKT_TEST_POSTGRESQL holds a URL; `.ci/postgresql` makes one.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import polars as pl
import psycopg
import pytest

from fedmkt.core.errors import SourceUnreadable
from fedmkt.data.sources import SourceSettings, open_source

URL = os.environ.get("FEDMKT_TEST_POSTGRESQL", "")
ROWS, SHORT = 1_000_000, 200_000
COLUMNS = {"customer": "key", "age": "integer", "spend": "number", "member": "boolean"}
NUMBER = {"n": "integer"}
MORE_MB = 40
"""How much further a table of ROWS may go than one of SHORT. All of it at once is far more: the
800,000 rows between them take at least 100 bytes each wherever they are held."""
READER = """
import resource, sys
from fedmkt.data.sources import SourceSettings, open_source

url, columns = sys.argv[1], {columns}
for query in sys.argv[2:]:
    source = open_source(SourceSettings(kind="sql", url=url, query=query))
    rows = sum(batch.height for batch in source.batches(columns, 250_000))
    print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
pytestmark = pytest.mark.skipif(not URL, reason="FEDMKT_TEST_POSTGRESQL is not set")


@pytest.fixture(scope="module")
def table() -> Iterator[str]:
    """A table of ROWS customers, in a schema that is dropped at the end."""
    schema = f"t{uuid.uuid4().hex}"
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(
            f"CREATE TABLE {schema}.customers AS SELECT n, 'customer number ' || n AS customer, "
            "CASE WHEN n % 17 <> 0 THEN 18 + n % 73 END AS age, n / 8.0::double precision AS spend,"
            f" n % 3 = 0 AS member FROM generate_series(1, {ROWS}) AS n"
        )
        try:
            yield f"{schema}.customers"
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


def settings(**given: str) -> SourceSettings:
    return SourceSettings.model_validate({"kind": "sql", "url": URL, **given})


def test_a_table_five_times_as_long_takes_no_more_memory(table):
    queries = [f"SELECT * FROM {table} LIMIT {count}" for count in (SHORT, ROWS)]
    # The shell in between is small; a child's peak begins with its parent's.
    command = [sys.executable, "-c", READER.format(columns=COLUMNS), URL, *queries]
    read = subprocess.run(command, capture_output=True, text=True, check=True, close_fds=True)
    (short, before), (rows, after) = (map(int, line.split()) for line in read.stdout.splitlines())
    assert (short, rows) == (SHORT, ROWS)
    assert (after - before) * 1024 / 1e6 < MORE_MB


def test_batches_are_no_longer_than_asked_and_lose_no_row(table):
    source = open_source(settings(query=f"SELECT * FROM {table} WHERE n <= 1000"))
    batches = [*source.batches(NUMBER, 128)]
    assert max(batch.height for batch in batches) <= 128
    assert sorted(pl.concat(batches).get_column("n")) == [*range(1, 1001)]


def test_cells_have_the_types_of_the_database_and_missing_ones_are_null(table):
    source = open_source(settings(query=f"SELECT * FROM {table} WHERE n IN (16, 17) ORDER BY n"))
    (read,) = source.batches(COLUMNS, 10)
    assert read.rows() == [
        ("customer number 16", 18 + 16, 2.0, False),
        ("customer number 17", None, 17 / 8, False),
    ]


def test_a_query_changes_nothing_even_what_a_rollback_would_leave(table):
    sequence = table.replace("customers", "numbers")
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(f"CREATE SEQUENCE {sequence}")
    with pytest.raises(SourceUnreadable):
        [*open_source(settings(query=f"SELECT nextval('{sequence}') AS n")).batches(NUMBER, 10)]
    with psycopg.connect(URL) as connection:
        found = connection.execute(f"SELECT is_called FROM {sequence}").fetchone()
    assert found == (False,)


def test_the_password_of_a_server_that_is_not_there_stays_out_of_the_error():
    url = "postgresql://bank:Frieda-4711@127.0.0.1:1/customers"
    with pytest.raises(SourceUnreadable) as caught:
        [*open_source(settings(url=url, table="customers")).batches(NUMBER, 10)]
    assert "Frieda-4711" not in repr(caught.value) + str(caught.value.fields)
