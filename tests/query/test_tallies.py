"""Counts by the values of a column: from what the catalog knows, and equal to counting the rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakerunner.model.commit import Commit
from lakerunner.model.times import TimeRange
from lakerunner.query.prune import tally

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.none() | st.sampled_from(["cart", "shop", "", "é'\""])
ROWS = st.lists(st.tuples(st.integers(0, 9), NAMES, NAMES), min_size=1, max_size=8)
TEXTS = {
    "SELECT resource_service_name, count(*) AS n FROM logs GROUP BY 1": ("s", "n"),
    "SELECT count(*), resource_service_name AS s FROM logs GROUP BY resource_service_name": "ns",
    "SELECT l.level, count(1) n, count(*) m FROM logs l GROUP BY 1 ORDER BY m DESC": "lnn",
    "SELECT level FROM (SELECT level, COUNT( * ) AS n FROM logs GROUP BY level) WHERE n > 0": "l",
    "SELECT DISTINCT level FROM logs": "l",
}
"""Queries that are answered so, and what their columns are: service, level or number."""
OTHERS = (
    "SELECT level, count(DISTINCT body) AS n FROM logs GROUP BY 1",
    "SELECT level, count(*) FILTER (WHERE body = 'a') AS n FROM logs GROUP BY 1",
    "SELECT level, count(body) AS n FROM logs GROUP BY 1",
    "SELECT upper(level) AS l, count(*) AS n FROM logs GROUP BY 1",
    "SELECT level, resource_service_name, count(*) AS n FROM logs GROUP BY 1, 2",
    "SELECT level, count(*) AS n FROM logs WHERE body <> 'count(*)' GROUP BY 1",
    "SELECT level, count(*) AS n FROM logs WHERE level = 'shop' GROUP BY 1",
    "SELECT level, count(*) AS n, (SELECT count(*) FROM logs) AS m FROM logs GROUP BY 1",
    "SELECT l.level, count(*) AS n FROM logs l JOIN logs r ON l.body = r.body GROUP BY 1",
    "SELECT level, count(*) AS n FROM logs GROUP BY ROLLUP (level)",
    "SELECT level, count(*) AS n FROM (SELECT level FROM logs LIMIT 2) GROUP BY 1",
    "SELECT DISTINCT level, count(*) OVER () AS n FROM logs",
)


@pytest.fixture(scope="module")
def lake(small_lake: Any) -> Iterator[Any]:
    made = small_lake("memory://")
    yield made
    made.engine.close()


def add(lake: Any, rows: list[tuple[Any, ...]], *, known: bool = True) -> None:
    times, services, levels = map(list, zip(*rows, strict=True))
    segment = lake.add(
        {
            "timestamp": [lake.start + at * 10**9 for at in times],
            "resource_service_name": pa.array(services, pa.string()).dictionary_encode(),
            "level": pa.array(levels, pa.string()).dictionary_encode(),
            "body": pa.array(["a"] * len(rows), pa.string()),
        }
    )
    if not known:
        columns = {
            name: msgspec.structs.replace(one, counts=None) for name, one in segment.columns.items()
        }
        plain = msgspec.structs.replace(segment, id=f"{segment.id}-plain", columns=columns)
        organization = lake.organization
        lake.catalog.commit(Commit(plain.id, organization, 0, add=(plain,), remove=(segment.id,)))


@settings(max_examples=max(settings().max_examples // 4, 1))
@given(
    st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=4),
    st.sampled_from(sorted(TEXTS)),
    st.sampled_from([TimeRange(), TimeRange(end_ns=1_790_002_805 * 10**9)]),
)
def test_counts_are_those_of_the_rows(
    lake: Any, segments: list[tuple[list[tuple[Any, ...]], bool]], text: str, times: TimeRange
) -> None:
    engine = lake.engine
    lake.organization = f"example-{len(lake.segments)}"
    lake.engine = engine.for_organization(lake.organization)
    try:
        for rows, known in segments:
            add(lake, rows, known=known)
        result = lake.engine.sql(text, time_range=times)
        found = [tuple(row.values()) for row in result.to_pylist()]
        every = [row for rows, _ in segments for row in rows]
        inside = [one for one in every if lake.start + one[0] * 10**9 < times.end_ns]
        assert Counter(found) == Counter(counted(inside, TEXTS[text]))
        if times == TimeRange():
            # Of a column that is nowhere all is known anyhow.
            assert result.stats.scanned <= sum(not known for _, known in segments)
    finally:
        lake.engine = engine


def counted(rows: list[tuple[Any, ...]], columns: Any) -> list[tuple[Any, ...]]:
    values = Counter(one[1] if "s" in columns else one[2] for one in rows)
    return [
        tuple(number if kind == "n" else value for kind in columns)
        for value, number in values.items()
    ]


def test_what_else_is_asked_is_read(small_lake: Any) -> None:
    lake = small_lake("memory://")
    add(lake, [(1, "cart", "shop"), (2, "cart", None), (3, None, "shop")])
    for text in OTHERS:
        result = lake.engine.sql(text)
        known = result.to_pylist()
        assert result.stats.scanned == 1, text
        assert known
    (row,) = lake.engine.sql("SELECT level, count(*) AS n FROM logs WHERE level = 'shop'"
                             " GROUP BY 1").to_pylist()  # fmt: skip
    assert row == {"level": "shop", "n": 2}
    lake.engine.close()


def test_it_is_explained_and_keeps_its_names(small_lake: Any) -> None:
    lake = small_lake("memory://")
    add(lake, [(1, "cart", "shop"), (2, "cart", None)])
    text = "SELECT level, count(*) FROM logs GROUP BY level ORDER BY 2, 1 LIMIT 1"
    result = lake.engine.sql(text)
    assert result.to_pylist() == [{"level": "shop", "count(*)": 1}]
    assert result.schema.types == [pa.string(), pa.int64()]
    (verdict,) = lake.engine.explain(text).segments
    assert (verdict.keep, verdict.reason) == (
        False,
        "the catalog knows how many rows have which value",
    )
    lake.engine.close()


def test_numbers_that_do_not_add_up_are_not_used(small_lake: Any) -> None:
    lake = small_lake("memory://")
    segment = lake.add({"timestamp": [lake.start], "level": ["INFO"]})
    known = segment.columns["level"]
    for wrong in (
        msgspec.structs.replace(known, counts=(2,)),
        msgspec.structs.replace(known, counts=None),
        msgspec.structs.replace(known, overflow=True),
        msgspec.structs.replace(known, type="int64"),
    ):
        changed = msgspec.structs.replace(segment, columns={"level": wrong})
        assert not any(tally("level", [changed]))
    assert tally("level", [segment]) == ({"INFO": 1}, frozenset({segment.id}))
    assert tally("attr_absent", [segment]) == ({None: 1}, frozenset({segment.id}))
    lake.engine.close()
