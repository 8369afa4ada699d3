"""What a terminal shows: tables that fit, and progress that stays out of the way."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from rich.console import Console

from lakerunner.cli import screen
from lakerunner.cli.output import show_table
from lakerunner.cli.screen import ProgressDisplay, size
from lakerunner.model.report import ProgressEvent


def shown(table: pa.Table, width: int) -> list[str]:
    out = io.StringIO()
    show_table(table, Console(file=out, width=width))
    return out.getvalue().splitlines()


TABLE = pa.table({"name": ["cart", "payment"], "count": [1, 20], "text": ["[bold]x[/]", "y" * 90]})


def test_a_table_that_fits_is_a_table_and_markup_is_text() -> None:
    lines = shown(TABLE, 200)
    assert "│ cart    │     1 │ [bold]x[/]" in lines[3]
    assert "y" * 90 in lines[4]


def test_the_widest_column_gives_way() -> None:
    lines = shown(TABLE, 60)
    assert all(len(line) == 60 for line in lines)
    assert "│ payment │    20 │ yyy" in lines[4]
    assert "y… │" in lines[4]


def test_what_cannot_fit_is_shown_row_by_row() -> None:
    lines = shown(TABLE.append_column("none", pa.nulls(2, pa.string())), 30)
    assert lines[0].startswith("── row 1")
    assert "name   cart" in lines
    assert "count  20" in lines
    assert not any(line.startswith("none") for line in lines)


def test_wide_characters_count_double() -> None:
    table = pa.table({"a": ["日本語" * 10], "b": [1]})
    assert "日本語" * 10 in shown(table, 80)[3]
    assert len(shown(table, 68)[0]) == 68


def test_no_rows_is_still_a_table() -> None:
    assert len(shown(TABLE.slice(0, 0), 30)) == 4


def test_progress_is_silent_when_brief_and_a_line_when_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = ProgressEvent("read", 3, 10, rows=4000, bytes=2_500_000)
    with ProgressDisplay("ingest") as display:
        display(event)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(screen, "LINE_SECONDS", 0.0)
    with ProgressDisplay("ingest") as display:
        display(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "ingest: 3 of 10 objects, 4,000 rows, 2.5 MB\n"


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    monkeypatch.setattr(screen, "messages", lambda: console)
    with ProgressDisplay("ingest") as display:
        display(ProgressEvent("read", 3, 10, rows=4000))
        display(ProgressEvent("read", 10, 10, rows=9000))
    assert "10/10" in out.getvalue()
    assert "9,000 rows" in out.getvalue()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1000, "1.0 kB"), (999_999, "1000.0 kB"), (10**15, "1000.0 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
