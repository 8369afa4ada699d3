"""Explanations name every segment, and why it is read or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lakerunner.errors import QueryExecutionError, QuerySyntaxError, UnsupportedQueryError

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
TEXT = """SELECT body FROM logs WHERE timestamp >= '2026-09-21T16:00:00Z'
    AND timestamp < '2026-09-21T18:00:00Z' AND resource_service_name = 'cart' LIMIT 5"""


@pytest.fixture
def filled(make_lake: Callable[..., Any]) -> Any:
    lake = make_lake()
    for hour, service in enumerate(["cart", "cart", "checkout", "cart"]):
        lake.add(
            {
                "timestamp": [START + hour * HOUR, START + hour * HOUR + 1],
                "resource_service_name": [service, service],
                "body": pa.array(["<a>", "b"]),
            }
        )
    return lake


def test_every_segment_is_named_with_its_reason(filled: Any) -> None:
    explanation = filled.engine.explain(TEXT)
    reasons = {one.segment.id: (one.keep, one.reason) for one in explanation.segments}
    assert reasons == {
        "default-000": (
            False,
            "timestamp: segment ends 2026-09-21T15:00:00.000000001Z before 2026-09-21T16:00:00Z",
        ),
        "default-001": (True, "may hold matching rows"),
        "default-002": (False, "resource_service_name: 'cart' is not among its 1 values"),
        "default-003": (
            False,
            "timestamp: segment starts 2026-09-21T18:00:00Z after 2026-09-21T18:00:00Z",
        ),
    }
    assert [one.id for one in explanation.kept] == ["default-001"]
    assert len(explanation.dropped) == 3
    kept = filled.engine.sql(TEXT).stats
    assert (kept.scanned, kept.pruned) == (1, 3)


def test_text_has_totals_segments_and_plan(filled: Any) -> None:
    text = str(filled.engine.explain(TEXT))
    first, blank, *rest = text.splitlines()
    size = filled.segments[1].bytes
    assert first == (
        f"logs: 1 of 4 segments kept, 2 of 8 rows, {size:,} bytes, scanned as a needle"
    )
    assert not blank
    assert [line[:4] for line in rest[:4]] == ["drop", "keep", "drop", "drop"]
    assert all(segment.key in text for segment in filled.segments)
    assert "DataSourceExec" in text
    assert "pruning_predicate" in text


def test_html_is_escaped(filled: Any) -> None:
    html = filled.engine.explain("SELECT * FROM logs WHERE body = '<a>'")._repr_html_()
    assert html.count("<tr>") == 5
    assert "&lt;a&gt;" in html
    assert "<a>" not in html


def test_nothing_is_read_but_footers(filled: Any) -> None:
    filled.store.delete(filled.segments[0].key)
    assert filled.engine.explain(TEXT).kept
    filled.store.delete(filled.segments[1].key)
    with pytest.raises(QueryExecutionError, match="missing"):
        filled.engine.explain(TEXT)


def test_queries_of_no_table_and_of_no_row(filled: Any) -> None:
    assert str(filled.engine.explain("SELECT 1")).startswith("no table is read")
    nothing = filled.engine.explain("SELECT * FROM logs WHERE false")
    assert {one.reason for one in nothing.segments} == {"the query reads no row of it"}


def test_relative_times_are_explained_as_they_were_planned(filled: Any) -> None:
    text = "SELECT * FROM logs WHERE timestamp > now() + INTERVAL '1000 days'"
    assert not filled.engine.explain(text).kept


def test_what_cannot_be_planned_cannot_be_explained(filled: Any) -> None:
    with pytest.raises(QuerySyntaxError):
        filled.engine.explain("SELECT nope FROM logs")
    with pytest.raises(UnsupportedQueryError):
        filled.engine.explain("DROP TABLE logs")
