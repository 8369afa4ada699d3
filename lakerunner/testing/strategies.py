"""Hypothesis strategies for the values that catalogs and planners deal in."""

from __future__ import annotations

import hypothesis.strategies as st

from lakerunner.model.segment import ColumnStats, Segment, Source
from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange
from lakerunner.testing.values import ORGANIZATION, make_segment

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
"""Any text that can be stored: no half surrogates, but quotes, NULs and emoji."""

TIMES = st.integers(-3, 40) | st.sampled_from([MIN_NS, MIN_NS + 1, MAX_NS - 2, MAX_NS - 1])
"""Nanoseconds: few enough that ranges meet, touch and miss, and the ends of what 64 bits hold."""

_NUMBERS = st.integers(MIN_NS, MAX_NS) | st.floats(allow_nan=False, allow_infinity=False)
_BOUNDS = st.none() | TEXT | _NUMBERS | st.booleans()


def time_ranges() -> st.SearchStrategy[TimeRange]:
    """Ranges that hold at least one instant."""
    return st.tuples(TIMES, TIMES).map(lambda ends: TimeRange(min(ends), max(ends) + 1))


def sources() -> st.SearchStrategy[Source]:
    """Identities that often differ in one part only."""
    return st.builds(
        Source,
        st.sampled_from(["s3://raw", "s3://raw2", "file://"]),
        st.sampled_from(["a", "a/b", "b", "é", "a b", "A"]),
        st.sampled_from(["1", "2", ""]),
    )


def column_stats() -> st.SearchStrategy[ColumnStats]:
    """Statistics of one column; the bounds need not fit the type."""
    return st.builds(
        ColumnStats,
        type=st.sampled_from(["string", "int64", "double", "bool"]),
        nulls=st.integers(0, 9),
        min=_BOUNDS,
        max=_BOUNDS,
        values=st.none() | st.lists(TEXT, max_size=3).map(tuple),
        key=TEXT,
        types=st.lists(st.sampled_from(["string", "int", "kvlist"]), max_size=2).map(tuple),
        overflow=st.booleans(),
    )


@st.composite
def segments(
    draw: st.DrawFn,
    segment_id: str,
    *,
    organization: str = ORGANIZATION,
    table: str = "logs",
) -> Segment:
    """Entries of segments with up to three columns, of a few names and any statistics.

    Args:
        draw: Provided by hypothesis.
        segment_id: Ids must be unique, so the caller gives them.
        organization: Whose it is.
        table: Which table it belongs to.
    """
    first, last = sorted((draw(TIMES), draw(TIMES)))
    names = st.sampled_from(["timestamp", "body", "attr_é", "attr_x"])
    return make_segment(
        segment_id,
        first,
        last,
        organization=organization,
        table=table,
        rows=draw(st.integers(1, 10**6)),
        size=draw(st.integers(1, 10**9)),
        columns=draw(st.dictionaries(names, column_stats(), max_size=3)),
    )
