"""Traces: all spans of one, in tree order, with its logs, to look at and to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lakerunner.errors import ConfigurationError
from lakerunner.model.signal import Signal
from lakerunner.model.times import MAX_NS, TimeRange
from lakerunner.query.traces.waterfall import SHOWN_SPANS, duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
MS = 10**6


def add_spans(lake: Any, spans: list[tuple[Any, ...]]) -> None:
    """A segment of (trace, span, parent, service, name, start in ms, length in ms, status)."""
    trace, span, parent, service, name, start, length, status = map(list, zip(*spans, strict=True))
    lake.add(
        {
            "timestamp": [START + at * MS for at in start],
            "duration_ns": pa.array([None if one is None else one * MS for one in length], "int64"),
            "trace_id": pa.array(trace),
            "span_id": pa.array(span),
            "parent_span_id": pa.array(parent, pa.string()),
            "resource_service_name": service,
            "name": pa.array(name),
            "status_code": status,
            "attr_http_route": pa.array([f"/{one}" for one in trace]),
        },
        signal=Signal.SPANS,
    )


@pytest.fixture
def lake(make_lake: Callable[..., Any]) -> Any:
    """A trace `aa` over three segments, and one `bb` that lies about its ancestors."""
    made = make_lake()
    add_spans(made, [
        ("aa", "a1", None, "shop", "POST /checkout", 0, 150, "ERROR"),
        ("aa", "a3", "a1", "shop", "pay", 60, 80, "UNSET"),
        ("bb", "b1", "b2", "loop", "one", 0, 5, "UNSET"),
    ])  # fmt: skip
    add_spans(made, [
        ("aa", "a2", "a1", "cart", "GET <cart>", 10, 40, "UNSET"),
        ("aa", "a4", "a2", "db", "SELECT\x1b[2J", 20, 5, "UNSET"),
    ])  # fmt: skip
    add_spans(made, [
        ("bb", "b2", "b1", "loop", "two", 1, None, "UNSET"),
        ("aa", "a5", "gone", "late", "orphan", 200, 1, "UNSET"),
    ])  # fmt: skip
    made.add(
        {
            "timestamp": [START + 30 * MS, START + 5 * MS, START],
            "trace_id": pa.array(["aa", "aa", "cc"]),
            "body": pa.array(["second", "first", "other"]),
        }
    )
    return made


def test_spans_come_in_tree_order_with_their_depth(lake: Any) -> None:
    trace = lake.engine.trace("AA")
    assert trace.to_arrow()["span_id"].to_pylist() == ["a1", "a2", "a4", "a3", "a5"]
    assert trace.to_arrow()["depth"].to_pylist() == [0, 1, 2, 1, 0]
    assert trace.schema.field("depth").type == pa.int32()
    assert trace.schema.names[-1] == "depth"
    assert set(trace.to_arrow()["attr_http_route"].to_pylist()) == {"/aa"}
    assert trace.trace_id == "aa"
    cycle = lake.engine.trace("bb").to_arrow()
    assert cycle.select(["span_id", "depth"]).to_pylist() == [
        {"span_id": "b1", "depth": 0},
        {"span_id": "b2", "depth": 1},
    ]


def test_a_time_range_says_which_spans(lake: Any) -> None:
    found = lake.engine.trace("aa", TimeRange(START + 10 * MS, START + 60 * MS))
    assert found.to_arrow()["span_id"].to_pylist() == ["a2", "a4"]
    assert found.logs().to_arrow()["body"].to_pylist() == ["second"]


def test_logs_come_in_order_of_time(lake: Any) -> None:
    assert lake.engine.trace("aa").logs().to_arrow()["body"].to_pylist() == ["first", "second"]
    assert lake.engine.trace("bb").logs().to_arrow().num_rows == 0


def test_only_segments_that_may_have_it_are_read(lake: Any) -> None:
    stats = lake.engine.trace("bb").stats
    assert (stats.segments, stats.pruned, stats.rows) == (3, 1, 2)
    assert lake.engine.trace("ff").stats.scanned == 0


def test_a_trace_prints_as_a_waterfall(lake: Any) -> None:
    head, *lines = repr(lake.engine.trace("aa")).splitlines()
    assert head == ("trace aa: 5 spans, 4 services, 201 ms, from 2026-09-21T15:00:00Z, 1 error")
    assert [line.split("▕")[0].rstrip() for line in lines] == [
        "POST /checkout     shop",
        "  GET <cart>       cart",
        "    SELECT\\x1b[2J  db",
        "  pay              shop",
        "orphan             late",
    ]
    assert lines[0].endswith("▏  150 ms  ERROR")
    assert lines[4].split("▕")[1].startswith(" " * 31 + "█")
    assert repr(lake.engine.trace("ff")) == "no span of trace ff"


def test_html_is_escaped(lake: Any) -> None:
    shown = lake.engine.trace("aa")._repr_html_()
    assert "GET &lt;cart&gt;" in shown
    assert "<cart>" not in shown
    assert "\x1b" not in shown
    assert "no span of trace &lt;b&gt;" in lake.engine.trace("<b>")._repr_html_()


def test_long_traces_are_shown_in_part_and_times_have_no_limit(make_lake: Any) -> None:
    lake = make_lake()
    count = SHOWN_SPANS + 5
    add_spans(
        lake, [("aa", f"{n:04x}", None, "s", "n", n, MAX_NS // MS, "UNSET") for n in range(count)]
    )
    trace = lake.engine.trace("aa")
    assert repr(trace).splitlines()[-1] == "and 5 more"
    assert "and 5 more" in trace._repr_html_()
    assert trace.to_arrow().num_rows == count


def test_an_empty_id_is_refused(lake: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be empty"):
        lake.engine.trace("  ")


def test_durations_have_three_digits() -> None:
    assert duration_text(999) == "999 ns"
    assert duration_text(12_345) == "12.3 µs"
    assert duration_text(3_600_000_000_000) == "3600 s"
    assert duration_text(-5_000_000) == "-5 ms"
