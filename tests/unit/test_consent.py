"""Consent covers only what was granted last, and a table that cannot be read covers nobody."""

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from fedmkt.core.errors import ConsentUnusable
from fedmkt.data.consent import read_consent
from fedmkt.data.sources import SourceSettings, open_source

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECRET = "Frieda-Musterfrau-4711"


class Frames:
    """A source that holds its batches."""

    name = "frames"

    def __init__(self, *frames: pl.DataFrame) -> None:
        self.frames = frames

    def batches(self, columns, batch_rows):
        for frame in self.frames:
            yield frame.select(list(columns))


def table(*entries: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        entries, schema=["key", "purpose", "status", "time"], orient="row", strict=False
    )


def covered(*frames: pl.DataFrame, purpose="lookalike", now=NOW):
    return read_consent(Frames(*frames), dataset="cards").covered(purpose, now=now)


def one(*history: tuple[str, str]) -> pl.DataFrame:
    return table(*(("c1", "lookalike", status, time) for status, time in history))


@pytest.mark.parametrize(
    ("history", "held"),
    [
        ([("granted", "2026-01-01")], True),
        ([("granted", "2026-01-01"), ("withdrawn", "2026-02-01")], False),
        ([("withdrawn", "2026-01-01"), ("granted", "2026-02-01")], True),
        ([("granted", "2026-02-01"), ("withdrawn", "2026-01-01")], True),
        ([("withdrawn", "2026-01-01")], False),
        ([("granted", "2026-01-01"), ("withdrawn", "2026-01-01T00:00:00+00:00")], False),
        ([("withdrawn", "2026-01-01"), ("granted", "2026-01-01 00:00")], False),
        ([("granted", "2026-06-01T12:00:00Z")], True),
        ([("granted", "2026-06-01T12:00:01Z")], False),  # not yet
        ([("granted", "2026-01-01"), ("withdrawn", "2026-06-02")], True),  # not yet
        ([(" Granted ", " 2026-01-01 ")], True),
        ([("granted", "2026-01-01"), ("WITHDRAWN", "2026-02-01")], False),
        # 13:30 in Berlin is 11:30 UTC, so it comes before the withdrawal at 11:45 UTC.
        ([("granted", "2026-06-01T13:30:00+02:00"), ("withdrawn", "2026-06-01T11:45")], False),
    ],
)
def test_the_last_entry_up_to_now_holds_and_a_tie_is_a_withdrawal(history, held):
    assert covered(one(*history)) == ({"c1"} if held else set())
    assert covered(*(one(entry) for entry in reversed(history))) == ({"c1"} if held else set())


def test_no_entry_means_not_covered():
    assert covered(table(("c1", "lookalike", "granted", "2026-01-01"))) == {"c1"}
    assert covered(pl.DataFrame(schema=dict.fromkeys(table().columns, pl.String))) == set()


def test_purposes_are_compared_exactly():
    frame = table(
        ("c1", "lookalike", "granted", "2026-01-01"),
        ("c2", "Lookalike", "granted", "2026-01-01"),
        ("c3", "measurement", "granted", "2026-01-01"),
        ("c1", "measurement", "withdrawn", "2026-02-01"),
    )
    assert covered(frame) == {"c1"}
    assert covered(frame, purpose="Lookalike") == {"c2"}
    assert covered(frame, purpose="measurement") == {"c3"}
    assert covered(frame, purpose="churn") == set()


@pytest.mark.parametrize(
    ("times", "withdrawn"),
    [
        (pl.Series([date(2026, 1, 1), date(2026, 2, 1)]), datetime(2026, 2, 1)),
        (
            pl.Series([datetime(2026, 1, 1), datetime(2026, 2, 1)], dtype=pl.Datetime("ns")),
            datetime(2026, 2, 1),
        ),
        (
            pl.Series([datetime(2026, 1, 1), datetime(2026, 2, 1)]).dt.replace_time_zone(
                "Asia/Tokyo"
            ),
            datetime(2026, 1, 31, 15),  # nine hours before midnight in London
        ),
    ],
)
def test_dates_and_times_are_read_in_their_zone_or_in_utc(times, withdrawn):
    frame = one(("granted", ""), ("withdrawn", "")).with_columns(time=times)
    moment = withdrawn.replace(tzinfo=UTC)
    assert covered(frame, now=moment - timedelta(seconds=1)) == {"c1"}
    assert covered(frame, now=moment) == set()


def test_now_may_be_in_any_zone():
    frame = one(("granted", "2026-06-01T12:00:00Z"))
    tokyo = timezone(timedelta(hours=9))
    assert covered(frame, now=datetime(2026, 6, 1, 21, tzinfo=tokyo)) == {"c1"}
    assert covered(frame, now=datetime(2026, 6, 1, 20, 59, tzinfo=tokyo)) == set()


def test_keys_are_text_without_outer_blanks():
    assert covered(table((7, "lookalike", "granted", "2026-01-01"))) == {"7"}
    frame = table(
        ("c1", "lookalike", "granted", "2026-01-01"),
        (" c1\t", "lookalike", "withdrawn", "2026-02-01"),
    )
    assert covered(frame) == set()


def test_a_csv_with_other_column_names_is_read(tmp_path):
    path = tmp_path / "consent.csv"
    path.write_text("customer,purpose,status,at\nc1,lookalike,granted,2026-01-01\n")
    settings = SourceSettings(kind="csv", path=path, mapping={"customer": "key", "at": "time"})
    table = read_consent(open_source(settings), dataset="cards")
    assert table.covered("lookalike", now=NOW) == {"c1"}


def refusal(*frames: pl.DataFrame) -> str:
    with pytest.raises(ConsentUnusable) as caught:
        covered(*frames)
    assert SECRET not in repr(caught.value) + str(caught.value.fields)
    return str(caught.value.fields["problem"])


GOOD = (SECRET, "lookalike", "granted", "2026-01-01")


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        (0, None, "key: missing key"),
        (0, " ", "key: missing key"),
        (1, None, "purpose: missing, or blanks around it"),
        (1, "", "purpose: missing, or blanks around it"),
        (1, "lookalike ", "purpose: missing, or blanks around it"),
        (2, None, "status: neither granted nor withdrawn"),
        (2, SECRET, "status: neither granted nor withdrawn"),
        (2, "yes", "status: neither granted nor withdrawn"),
        (3, None, "time: no ISO 8601 time"),
        (3, SECRET, "time: no ISO 8601 time"),
        (3, "01.02.2026", "time: no ISO 8601 time"),
        (3, "20260102", "time: no ISO 8601 time"),
        (3, "2026-W01-1", "time: no ISO 8601 time"),
        (3, "2026-02-30", "time: no ISO 8601 time"),
        (3, "0001-01-01T00:00+14:00", "time: no ISO 8601 time"),  # before the first day in UTC
    ],
)
def test_an_entry_that_cannot_be_read_is_refused_by_rule_and_row(column, value, problem):
    bad = list(GOOD)
    bad[column] = value
    assert refusal(table(GOOD, bad), table(bad, GOOD)) == f"{problem}, 2 rows (row 2, 3)"


def test_all_broken_rules_are_told_together_and_rows_stop_at_ten():
    bad = table(*[(SECRET, "lookalike", "maybe", "soon")] * 12)
    rows = "12 rows (row 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)"
    assert refusal(bad) == (
        f"status: neither granted nor withdrawn, {rows}; time: no ISO 8601 time, {rows}"
    )


def test_missing_columns_are_named(tmp_path):
    path = tmp_path / "consent.csv"
    path.write_text(f"key,purpose\n{SECRET},lookalike\n")
    with pytest.raises(ConsentUnusable) as caught:
        read_consent(open_source(SourceSettings(kind="csv", path=path)), dataset="cards")
    assert caught.value.fields["problem"] == "it lacks status, time"


@pytest.mark.parametrize(
    ("column", "cell", "found"),
    [("key", 1.5, "Float64"), ("status", 1.5, "Float64"), ("time", 20260101, "Int32")],
)
def test_columns_of_another_kind_are_refused(column, cell, found):
    frame = table(GOOD).with_columns(pl.lit(cell).alias(column))
    assert refusal(frame) == f"column {column} holds {found}"


def test_entries_never_print():
    assert SECRET not in repr(read_consent(Frames(table(GOOD)), dataset="cards"))
