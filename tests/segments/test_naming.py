"""Where a segment lies."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.segments.layout import SEGMENTS_PREFIX, segment_id, segment_key


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_ids_sort_by_time(first: int, second: int) -> None:
    ids = segment_id(first, 9, b"\xff"), segment_id(second, 1, b"\x00")
    assert (ids[0] < ids[1]) == (first < second)


@pytest.mark.parametrize(
    ("start", "folder"),
    [(0, "1970-01-01/00"), (-1, "1969-12-31/23"), (7_258_118_400 * 10**9, "2200-01-01/00")],
)
def test_keys_hold_the_window(start: int, folder: str) -> None:
    key = segment_key("acme", "logs", start, "id")
    assert key == f"{SEGMENTS_PREFIX}acme/logs/{folder}/id.parquet"
