"""What somebody sees and gives at a prompt or in a notebook: cards, bars, inputs, answers."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lakerunner
from lakerunner.bars import Bar, shown
from lakerunner.model.card import card
from lakerunner.model.report import ProgressEvent
from lakerunner.query.explanation import QueryStats
from lakerunner.query.result import TableResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINE = b'{"time": "2026-01-01T00:00:00Z", "message": "hello <b>", "ms": 7}\n'


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[lakerunner.Lake]:
    with lakerunner.open(str(tmp_path / "lake")) as opened:
        opened.ingest(LINE)
        opened.ingest(LINE * 2)
        yield opened


def test_a_lake_and_its_segments_are_short_and_cards(lake: lakerunner.Lake) -> None:
    segments = lake.segments()
    for value in (lake, segments, segments[0]):
        value_shown: Any = value
        assert len(repr(value)) < 500
        html = value_shown._repr_html_()
        assert html.count("<table>") == html.count("</table>") == 1
        assert "logs" in html
    assert "2 segments, 3 rows" in segments._repr_html_()
    assert segments[0].id in segments._repr_html_()


def test_reports_are_cards_and_plain_values(lake: lakerunner.Lake) -> None:
    report = lake.ingest([{"message": "no time"}])
    found = lake.sql("SELECT body FROM logs")
    found.to_arrow()
    explained = lake.explain("SELECT body FROM logs")
    for value in (report, found.stats, explained, lake.compact(dry_run=True)):
        plain = json.loads(json.dumps(value.to_dict()))
        assert plain.keys() == value.to_dict().keys()
        html = value._repr_html_()
        assert html.count("<td>") == html.count("</td>") > 0
    assert "<th>rows</th><td>1</td>" in report._repr_html_()
    assert "<th>untimed</th><td>json: 1</td>" in report._repr_html_()
    assert "<pre>" in explained._repr_html_()


def test_a_card_escapes_and_cuts_what_it_shows() -> None:
    html = card("<t>", [("a", "<i>"), ("b", "x" * 500), ("c", [1, 2, 3, 4, 5, 6]), ("d", {"e": 7})])
    assert "<caption>&lt;t&gt;</caption>" in html
    assert "&lt;i&gt;" in html
    assert "x" * 119 + "…" in html
    assert "1, 2, 3, 4, 5, … (6 in all)" in html
    assert "<td>e: 7</td>" in html


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_true_draws_a_bar_on_a_terminal(
    lake: lakerunner.Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    lake.ingest(LINE, progress=True)
    drawn = terminal.getvalue()
    assert "ingest ━" in drawn
    assert "1 rows" in drawn
    assert drawn.endswith("\r\x1b[2K")  # it goes when the work is done


@pytest.mark.parametrize("progress", [True, False, None])
def test_nothing_is_drawn_where_nobody_looks(
    *, progress: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    with shown("work", progress) as told:
        assert told is None
    assert not file.getvalue()


def test_a_callback_is_given_through() -> None:
    seen: list[ProgressEvent] = []
    with shown("work", seen.append) as told:
        assert told == seen.append


class Paper:
    def __init__(self) -> None:
        self.drawn: list[tuple[float | None, str]] = []
        self.closed = False

    def draw(self, title: str, share: float | None, said: str) -> None:
        self.drawn.append((share, f"{title}: {said}"))

    def close(self) -> None:
        self.closed = True


def test_a_bar_draws_the_first_event_and_the_last() -> None:
    bar = Bar("work", paper := Paper())
    for done in range(1000):
        bar(ProgressEvent("ingest", done + 1, 1000, rows=done * 2, bytes=done * 1000))
    bar.close()
    assert paper.closed
    assert len(paper.drawn) < 100  # of a thousand: it does not flicker
    assert paper.drawn[0][0] == 0.001
    assert paper.drawn[-1][0] == 1.0
    assert paper.drawn[-1][1].startswith("work: 1,000 of 1,000, 1,998 rows, 1.0 MB, ")
    unknown = Bar("work", paper)
    unknown(ProgressEvent("ingest", 1, None))
    assert paper.drawn[-1][0] is None


def record() -> logging.LogRecord:
    return logging.LogRecord("shop", logging.WARNING, "a.py", 12, "%d items", (3,), None)


OFFERED: dict[str, Callable[[], Any]] = {
    "a dictionary": lambda: {"message": "x"},
    "dictionaries": lambda: [{"message": "x"}, {"message": "x"}],
    "an iterator of dictionaries": lambda: ({"message": "x"} for _ in range(3)),
    "bytes": lambda: b'{"message": "x"}',
    "an open file": lambda: io.BytesIO(b'{"message": "x"}\n{"message": "x"}'),
    "an open file of text": lambda: io.StringIO('{"message": "x"}'),
    "a table of Arrow": lambda: pa.table({"message": ["x", "x"]}),
    "a frame of Polars": lambda: pl.DataFrame({"message": ["x", "x"]}),
    "a lazy frame of Polars": lambda: pl.LazyFrame({"message": ["x", "x"]}),
    "a frame of pandas": lambda: pd.DataFrame({"message": ["x", "x"]}),
    "frames and dictionaries": lambda: [pl.DataFrame({"message": ["x"]}), {"message": "x"}],
}


@pytest.mark.parametrize("what", OFFERED)
def test_whatever_holds_records_is_taken(what: str) -> None:
    with lakerunner.open("memory://") as lake:
        report = lake.ingest(OFFERED[what]())
        assert not report.rejected
        bodies = lake.sql("SELECT body FROM logs").arrow()["body"].to_pylist()
    assert bodies == ["x"] * report.rows
    assert report.rows


def test_records_of_logging_have_time_level_and_body() -> None:
    with lakerunner.open("memory://") as lake:
        assert lake.ingest(record(), [record(), record()]).rows == 3
        columns = "level, body, timestamp_source"
        assert set(lake.sql(f"SELECT {columns} FROM logs").fetchall()) == {
            ("WARN", "3 items", "time")
        }


SHAPES = {
    "numbers": pa.int64(),
    "text": pa.string(),
    "times": pa.timestamp("ns", "UTC"),
    "truth": pa.bool_(),
    "bytes": pa.binary(),
    "decimals": pa.decimal128(20, 3),
    "nothing": pa.null(),
    "lists": pa.list_(pa.int64()),
    "structs": pa.struct([("a", pa.string())]),
    "maps": pa.map_(pa.string(), pa.int64()),
    "categories": pa.dictionary(pa.int32(), pa.string()),
}


@pytest.mark.parametrize("rows", [0, 1, 25])
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_of_every_shape_are_shown(shape: str, rows: int) -> None:
    table = pa.table({"v": pa.nulls(rows, SHAPES[shape])})
    result = TableResult(table, QueryStats())
    text = repr(result)
    assert text.endswith("1 row" if rows == 1 else f"{rows} rows")
    assert text.count("NULL") == min(rows, 20)
    assert result._repr_html_().count("<td>NULL</td>") == min(rows, 20)
    assert (len(result), bool(result)) == (rows, rows > 0)
    assert len(result.df()) == len(result.fetchall()) == len(result.to_pylist()) == rows
    assert result.fetchone() == ((None,) if rows else None)


EMPTY = (
    "SELECT * FROM logs WHERE false",
    "SELECT NULL AS n FROM logs WHERE false",
    "SELECT attribute_overflow, events FROM spans",
    "SELECT count(*) AS n FROM metrics GROUP BY metric_name",
    "SELECT bucket_counts, exemplars FROM metrics",
    "SELECT body FROM logs ORDER BY timestamp LIMIT 0",
)


@pytest.mark.parametrize("query", EMPTY)
def test_answers_without_rows_are_shown(lake: lakerunner.Lake, query: str) -> None:
    result = lake.sql(query)
    assert repr(result).endswith("0 rows")
    assert "<caption>0 rows</caption>" in result._repr_html_()
    assert result.fetchall() == []
    assert result.to_pylist() == []
    assert result.arrow().schema == result.schema
    assert result.head(3).num_rows == 0
    assert not result
