"""Every statement walks an index by its whole key, even as planned while the tables are empty."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.catalog.postgres import PostgresCatalog, applying, catalog, ledger
from lakerunner.model.times import TimeRange
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = 3600 * 10**9

PLANS = [
    (catalog.SEGMENTS_NOW, [("segments_live", "table_number max_ns max_ns min_ns")]),
    (
        catalog.SEGMENTS_THEN,
        [
            ("segments_live", "table_number max_ns max_ns min_ns"),
            ("segments_past", "table_number max_ns max_ns min_ns added removed"),
        ],
    ),
    (catalog.SEGMENTS_REMOVED, [("segments_removed", "removed_ns")]),
    (catalog.SEQUENCE_AT, [("commits_by_time", "committed_ns"), ("commits_pkey", "sequence")]),
    (
        ledger.TAKEN,
        [
            ("ledger_recent_pkey", "digest"),
            ("ledger_blocks_pkey", "number number"),
        ],
    ),
    (ledger.ASIDE, [("rejections_by_source", "bucket key etag")]),
    (ledger.SEGMENTS, [("segments_pkey", "id")]),
    (
        applying._CLEAR_REJECTIONS,
        [("rejections_by_source", "bucket key etag"), ("rejections_pkey", "number")],
    ),
    (catalog._TAKE, [("leases_pkey", "kind key"), ("leases_pkey", "kind key")]),
    (catalog._OFFER, [("leases_pkey", "kind key")]),
    (catalog._RENEW, [("leases_pkey", "kind key")]),
    (catalog._SWEEP, [("leases_expired", "expires"), ("leases_pkey", "kind key")]),
]
BIG = {"segments", "ledger_recent", "ledger_blocks", "rejections", "leases"}
NAME = re.compile(r"(\w+) (?:=|<=|>=|<|>) ")
KINDS = {"kept": "interval", "time": "interval", "limit": "bigint"}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.parametrize(("statement", "expected"), PLANS)
def test_plans(url: str, statement: str, expected: list[tuple[str, str]]) -> None:
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, 1):
        kind = f"::{KINDS[name]}" if name in KINDS else ""
        statement = statement.replace(f"%({name})s", f"${number}{kind}")
    with PostgresCatalog(url) as one, one._pool.lent() as connection:
        query = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement}"
        ((answer,),) = connection.execute(query.encode()).fetchall()
    plan = answer if isinstance(answer, list) else json.loads(answer)
    found = [
        (node["Index Name"], " ".join(NAME.findall(node["Index Cond"])))
        for node in nodes(plan[0]["Plan"])
        if "Index Cond" in node and not node["Index Name"].startswith(("buckets", "tables"))
    ]
    scanned = {node.get("Relation Name") for node in nodes(plan[0]["Plan"])} & BIG
    assert [(name, sorted(set(keys.split()))) for name, keys in found] == [
        (name, sorted(set(keys.split()))) for name, keys in expected
    ], plan
    assert not [
        node
        for node in nodes(plan[0]["Plan"])
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in scanned
    ]


def rows_read(one: PostgresCatalog, time_range: TimeRange) -> int:
    """How many segments the server looks at to answer."""
    values = {
        "organization": ORGANIZATION,
        "table": "logs",
        "first": time_range.start_ns,
        "last": time_range.end_ns - 1,
        "longest": 2**63 - 1,
        "room": 0x7FFFFFFFFFFFFFFF - time_range.end_ns,
        "sequence": None,
    }
    query = f"EXPLAIN (ANALYZE, FORMAT JSON) {catalog.SEGMENTS_NOW}"
    with one._pool.lent() as connection:
        ((answer,),) = connection.execute(query.encode(), values).fetchall()
    scans = [node for node in nodes(answer[0]["Plan"]) if node.get("Relation Name") == "segments"]
    return sum(
        int(node["Actual Rows"]) + int(node.get("Rows Removed by Filter", 0)) for node in scans
    )


def test_work_is_bounded_by_the_answer(url: str) -> None:
    with PostgresCatalog(url) as one:
        segments = [make_segment(f"{n:06d}", n * HOUR, (n + 1) * HOUR - 1) for n in range(3000)]
        one.commit(make_commit("add", add=segments))
        assert rows_read(one, TimeRange(50 * HOUR, 51 * HOUR)) == 1
        one.commit(make_commit("replace", remove=[f"{n:06d}" for n in range(60, 3000)]))
        assert rows_read(one, TimeRange(70 * HOUR, 10**6 * HOUR)) == 0
        assert len(one.segments(ORGANIZATION, "logs")) == 60
