"""Results: every form they come in, streamed or kept, and what they tell about themselves."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lakerunner.errors import ConfigurationError, MissingExtraError, QueryExecutionError
from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z


@pytest.fixture
def filled(make_lake: Callable[..., Any]) -> Any:
    """Five hours of 100 rows."""
    lake = make_lake()
    for hour in range(5):
        lake.add(
            {
                "timestamp": [START + hour * HOUR + n * 10**9 for n in range(100)],
                "body": pa.array([f"<b>row {hour * 100 + n}</b>" for n in range(100)]),
                "attr_n": list(range(hour * 100, hour * 100 + 100)),
                "attr_d": [None if n % 2 else n / 4 for n in range(100)],
            }
        )
    return lake


TEXT = "SELECT timestamp, body, attr_n, attr_d FROM logs ORDER BY timestamp"


def test_forms_are_the_same_rows(filled: Any) -> None:
    result = filled.engine.sql(TEXT)
    table = result.to_arrow()
    assert table.schema.types == [TIMESTAMP, pa.string(), pa.int64(), pa.float64()]
    assert table.schema == result.schema
    assert table["attr_n"].to_pylist() == list(range(500))
    frame = result.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert str(frame.dtypes["timestamp"]) == "datetime64[ns, UTC]"
    assert frame["attr_n"].tolist() == list(range(500))
    polars = result.to_polars()
    assert isinstance(polars, pl.DataFrame)
    assert polars["body"].to_list() == table["body"].to_pylist()
    assert pa.Table.from_batches(list(result)).equals(table)


def test_whatever_reads_arrow_streams_reads_a_result(filled: Any) -> None:
    result = filled.engine.sql(TEXT)
    assert pa.table(result).num_rows == 500
    assert pl.DataFrame(result).height == 500
    reader = pa.RecordBatchReader.from_stream(result)
    assert sum(batch.num_rows for batch in reader) == 500
    total: Any = duckdb.sql("SELECT sum(attr_n) FROM result")
    assert total.fetchall() == [(124_750,)]
    cast = pa.RecordBatchReader.from_stream(result, schema=result.schema)
    assert cast.read_all().num_rows == 500


def test_results_without_rows_have_their_schema(filled: Any) -> None:
    result = filled.engine.sql("SELECT timestamp, attr_n FROM logs WHERE attr_n < 0")
    assert list(result) == []
    assert result.to_arrow().schema.names == ["timestamp", "attr_n"]
    assert result.to_pandas().shape == (0, 2)
    assert pa.table(result).num_rows == 0
    assert repr(result) == "timestamp  attr_n\n0 rows"


def test_a_result_can_be_consumed_again(filled: Any) -> None:
    result = filled.engine.sql("SELECT sum(attr_n) AS s FROM logs")
    for _ in range(2):
        assert [batch.to_pylist() for batch in result] == [[{"s": 124_750}]]
    assert result.to_arrow() is result.to_arrow()
    filled.engine.close()  # what is kept needs no engine
    assert result.to_pandas()["s"].tolist() == [124_750]
    assert [batch.to_pylist() for batch in result] == [[{"s": 124_750}]]


def test_batches_stream_before_the_last_file_is_read(make_lake: Callable[..., Any]) -> None:
    lake = make_lake()
    rng = np.random.default_rng(0)
    for hour in range(12):
        noise = [rng.bytes(64).hex() for _ in range(4000)]
        times = [START + hour * HOUR + n for n in range(4000)]
        lake.add({"timestamp": times, "body": pa.array(noise)})
    result = lake.engine.sql("SELECT body FROM logs")
    batches = iter(result)
    first = next(batches)
    batches.close()
    seen = result.stats
    assert 0 < first.num_rows == seen.rows < 48_000
    assert seen.bytes_read < sum(segment.bytes for segment in lake.segments) / 2
    assert sum(batch.num_rows for batch in result) == 48_000
    assert result.stats.rows == result.stats.rows_scanned == 48_000


def test_stats_count_what_was_done(filled: Any) -> None:
    result = filled.engine.sql("SELECT body FROM logs WHERE attr_n BETWEEN 110 AND 119")
    before = result.stats
    assert (before.segments, before.pruned, before.scanned) == (5, 4, 1)
    assert (before.bytes_read, before.rows_scanned, before.rows) == (0, 0, 0)
    assert before.planning_seconds > 0
    result.to_arrow()
    after = result.stats
    assert after.rows == 10
    assert after.rows_scanned == 64  # one of the two row groups
    assert 0 < after.bytes_read < filled.segments[1].bytes
    assert after.execution_seconds > 0
    assert after.seconds == after.planning_seconds + after.execution_seconds


def test_counts_come_from_statistics(filled: Any) -> None:
    result = filled.engine.sql("SELECT count(*) AS c, max(attr_n) AS m FROM logs")
    assert result.to_arrow().to_pylist() == [{"c": 500, "m": 499}]
    assert (result.stats.rows_scanned, result.stats.bytes_read) == (0, 0)


def test_text_is_readable(filled: Any) -> None:
    few = filled.engine.sql(TEXT.replace("ORDER", "WHERE attr_n < 2 ORDER"))
    assert repr(few).splitlines() == [
        "timestamp            body          attr_n  attr_d",
        "2026-09-21 15:00:00  <b>row 0</b>       0     0.0",
        "2026-09-21 15:00:01  <b>row 1</b>       1    NULL",
        "2 rows",
    ]
    many = filled.engine.sql(TEXT)
    assert repr(many).splitlines()[-1] == "first 20 rows"
    assert len(repr(many).splitlines()) == 22
    many.to_arrow()
    assert repr(many).splitlines()[-1] == "500 rows"
    assert str(many) == repr(many)


def test_wide_rows_stand_upright(filled: Any) -> None:
    text = repr(filled.engine.sql("SELECT * FROM logs WHERE attr_n = 7"))
    lines = text.splitlines()
    assert lines[0] == "-- row 1"
    assert "attr_n                             7" in lines
    assert not [line for line in lines if line.startswith("severity_text")]
    assert lines[-1] == "1 row"


def test_html_is_escaped_and_bounded(filled: Any) -> None:
    html = filled.engine.sql(TEXT)._repr_html_()
    assert "&lt;b&gt;row 0&lt;/b&gt;" in html
    assert "<b>" not in html
    assert html.count("<tr>") == 21
    assert "<caption>first 20 rows</caption>" in html
    assert "2026-09-21 15:00:19" in html
    evil = filled.engine.sql("SELECT '<script>' AS \"<img>\"")._repr_html_()
    assert "<script>" not in evil
    assert "<img>" not in evil


def test_looking_at_a_result_does_not_run_it_to_its_end(filled: Any) -> None:
    result = filled.engine.sql("SELECT a.body FROM logs a, logs b, logs c, logs d")  # 6e10 rows
    assert repr(result).splitlines()[-1] == "first 20 rows"
    assert result.stats.rows < 10**6
    assert "first 20 rows" in result._repr_html_()


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("make_array(1, NULL)", "[1, NULL]"),
        ("named_struct('a', 'x', 'b', TIMESTAMP '2026-01-01')", "{a: x, b: 2026-01-01 00:00:00}"),
        ("map(['k'], [1.5])", "{k: 1.5}"),
        ("TRUE", "true"),
        ("to_timestamp('2026-01-01T00:00:00.123456789')", "2026-01-01 00:00:00.123456789"),
        ("arrow_cast(1767225600, 'Timestamp(Second, Some(\"UTC\"))')", "2026-01-01 00:00:00"),
        ("DATE '2026-01-01'", "2026-01-01"),
        ("INTERVAL '1' DAY", "MonthDayNano(months=0, days=1, nanoseconds=0)"),
        ("'a\nb'", "a\\nb"),
        ("repeat('x', 100)", "x" * 59 + "…"),
    ],
)
def test_values_are_readable(filled: Any, sql: str, text: str) -> None:
    assert repr(filled.engine.sql(f"SELECT {sql} AS v")).splitlines()[1].strip() == text


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_package_is_named(
    filled: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = filled.engine.sql("SELECT 1")
    with pytest.raises(MissingExtraError, match=f"pip install {package}"):
        getattr(result, f"to_{package}")()


def test_errors_while_it_runs_are_ours(filled: Any) -> None:
    result = filled.engine.sql("SELECT 1 / (attr_n - 450) FROM logs")
    for consume in (list, type(result).to_arrow, type(result).to_pandas):
        with pytest.raises(QueryExecutionError, match="Divide by zero"):
            consume(result)
    with pytest.raises(pa.ArrowInvalid, match="Divide by zero"):  # all that a C stream can carry
        pa.table(result)


def test_nothing_warns(filled: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled.engine.sql(TEXT).to_pandas()


def test_short_names_and_python_values(filled: Any) -> None:
    result = filled.engine.sql("SELECT attr_n, attr_d FROM logs ORDER BY attr_n LIMIT 3")
    assert result.to_pylist() == [
        {"attr_n": 0, "attr_d": 0.0},
        {"attr_n": 1, "attr_d": None},
        {"attr_n": 2, "attr_d": 0.5},
    ]
    assert result.fetchall() == [(0, 0.0), (1, None), (2, 0.5)]
    assert result.fetchone() == (0, 0.0)
    assert result.arrow() is result.to_arrow()
    assert result.df().equals(result.to_pandas())
    assert result.pl().equals(result.to_polars())
    assert filled.engine.sql("SELECT count(*) FROM logs").scalar() == 500
    nothing = filled.engine.sql("SELECT attr_n FROM logs WHERE attr_n < 0")
    assert nothing.fetchone() is None
    assert nothing.fetchall() == []
    for text, said in [
        ("SELECT attr_n FROM logs", "more rows of 1 columns"),
        ("SELECT attr_n, body FROM logs LIMIT 1", "1 rows of 2 columns"),
        ("SELECT attr_n FROM logs WHERE attr_n < 0", "0 rows"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            filled.engine.sql(text).scalar()


def test_the_head_of_a_result_reads_no_more_than_it_needs(filled: Any) -> None:
    result = filled.engine.sql(TEXT)
    assert result.head(3)["attr_n"].to_pylist() == [0, 1, 2]
    assert result.head(0).schema == result.schema
    assert result.head(1000).num_rows == 500
    result.to_arrow()
    assert result.head(2)["attr_n"].to_pylist() == [0, 1]
    with pytest.raises(ConfigurationError, match="negative"):
        result.head(-1)


def test_what_would_take_batches_for_values_is_told_what_to_call(filled: Any) -> None:
    with pytest.raises(TypeError, match=r"result\.df\(\)"):
        pd.DataFrame(filled.engine.sql(TEXT))
    with pytest.raises(TypeError, match=r"polars.DataFrame\(result\)"):
        np.asarray(filled.engine.sql(TEXT))


def test_html_shows_types_and_the_number_of_rows(filled: Any) -> None:
    result = filled.engine.sql("SELECT body, attr_n FROM logs")
    result.to_arrow()
    shown = result._repr_html_()
    assert "<small>int64</small>" in shown
    assert "500 rows" in shown
    assert "<b>row" not in shown
