"""Lists of events, links, buckets and exemplars: taken whole, or kept as the field they were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.formats.table import FORMATS
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    Rows = Callable[..., list[dict[str, Any]]]

SPAN = {"trace_id": "0a", "name": "n"}
MS = 1_700_000_000_000


def test_events_as_people_write_them(rows_of: Rows) -> None:
    events = [{"time": MS, "name": "e", "attributes": {"a": 1, "b": "x"}}, {"name": "f"}]
    (row,) = rows_of({**SPAN, "events": events}, signal="spans")
    first, second = row["events"]
    assert first["timestamp"].value == MS * 10**6
    assert json.loads(first["attributes"]) == {"a": 1, "b": "x"}
    assert (second["name"], second["timestamp"]) == ("f", None)


def test_a_part_that_no_event_has_keeps_the_list_a_field(rows_of: Rows) -> None:
    odd = [{"name": "e", "weight": 1}]
    rows = rows_of({**SPAN, "events": odd}, {**SPAN, "events": [{"name": "f"}]}, signal="spans")
    assert json.loads(rows[0]["attr_events"]) == odd
    assert "events" not in rows[0]
    assert rows[1]["events"][0]["name"] == "f"


def test_times_of_events_that_cannot_be_read_are_kept(rows_of: Rows) -> None:
    (row,) = rows_of({**SPAN, "events": [{"time": "soon", "name": "e"}]}, signal="spans")
    assert json.loads(row["attr_events"]) == [{"time": "soon", "name": "e"}]


def test_links_and_exemplars(rows_of: Rows) -> None:
    (row,) = rows_of({**SPAN, "links": [{"traceId": "0A", "spanId": "0B"}]}, signal="spans")
    assert (row["links"][0]["trace_id"], row["links"][0]["span_id"]) == ("0a", "0b")
    exemplar = {"timeUnixNano": str(MS * 10**6), "asInt": 7, "filteredAttributes": {"a": 1}}
    (row,) = rows_of({"metric_name": "m", "exemplars": [exemplar]}, signal="metrics")
    (made,) = row["exemplars"]
    assert (made["timestamp"].value, made["value_int"]) == (MS * 10**6, 7)
    assert json.loads(made["attributes"]) == {"a": 1}


def test_numbers_that_do_not_fit_keep_the_list_a_field(rows_of: Rows) -> None:
    rows = rows_of(
        {"metric_name": "m", "bucket_counts": [1, -1], "explicit_bounds": [2**53 + 1]},
        {"metric_name": "m", "bucket_counts": [1, 2], "explicit_bounds": [2]},
        signal="metrics",
    )
    assert json.loads(rows[0]["attr_bucket_counts"]) == [1, -1]
    assert json.loads(rows[0]["attr_explicit_bounds"]) == [2**53 + 1]
    assert (rows[1]["bucket_counts"], rows[1]["explicit_bounds"]) == ([1, 2], [2.0])


@pytest.mark.parametrize(
    ("written", "counts"),
    [("[1, 2]", [1, 2]), ("[]", []), ("[1,", None), ("[" * 5000 + "]" * 5000, None), ("1,2", None)],
)
def test_lists_written_as_text(written: str, counts: list[int] | None) -> None:
    data = f'metric_name,bucket_counts\nm,"{written}"\n'.encode()
    (row,) = FORMATS["csv"].decode([data], Signal.METRICS, [0]).table.to_pylist()
    if counts is None:
        assert row["attr_bucket_counts"] == written
    else:
        assert row["bucket_counts"] == counts
