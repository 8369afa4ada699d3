"""Needle or sweep: decided by what a query asks and by what the catalog knows."""

from __future__ import annotations

import msgspec
import pytest

from lakerunner.compute import Scan, ScanMode
from lakerunner.limits import ONE_REQUEST_BYTES, PAGE_ROWS
from lakerunner.model.predicate import (
    EVERYTHING,
    And,
    Compare,
    IsIn,
    NotNull,
    Opaque,
    Or,
    Predicate,
    StartsWith,
)
from lakerunner.model.segment import ColumnStats, FilterSection, Segment
from lakerunner.query.scan_mode import choose_mode, mode_at_distance, share
from lakerunner.testing.values import make_segment

COLUMNS = {
    "resource_service_name": ColumnStats("string", values=("a", "b")),
    "level": ColumnStats("string", values=("ERROR", "INFO", "WARN")),
    "trace_id": ColumnStats("string"),
    "attr_status": ColumnStats("int64", min=200, max=599),
    "attr_user": ColumnStats("int64", min=0, max=10**9),
    "attr_seconds": ColumnStats("double", min=0.0, max=9.5),
    "attr_flag": ColumnStats("bool", min=False, max=True),
}
SEGMENT: Segment = msgspec.structs.replace(make_segment("s1", rows=10**6), columns=COLUMNS)
WIDE = ("body", "trace_id", "level", "timestamp")
TRACE = Compare("trace_id", "=", "d4cda95b652f4a1592b449d5929fda1b")
LEVEL = Compare("level", "=", "ERROR")
SEARCH = And((NotNull("body"), Opaque('logs.body LIKE Utf8View("%timeout%")')))


def scan(predicate: Predicate, *columns: str, limited: bool = False, grouped: bool = False) -> Scan:
    filtered = ("trace_id",) if predicate is TRACE else ("level",)
    return Scan("logs", predicate, columns or WIDE, filtered, limited, grouped)


NEEDLES = {
    "one id": scan(TRACE),
    "one id, grouped": scan(TRACE, grouped=True),
    "the first rows": scan(LEVEL, limited=True),
    "the first rows of all": scan(EVERYTHING, limited=True),
    "an id and a level": scan(And((LEVEL, TRACE))),
    "a few users": scan(IsIn("attr_user", (1, 2, 3))),
    "text search": scan(SEARCH),
    "text search in a level": scan(And((LEVEL, SEARCH))),
    "either of two ids": scan(Or((TRACE, Compare("attr_user", "=", 7)))),
}
SWEEPS = {
    "everything": scan(EVERYTHING),
    "a level": scan(LEVEL),
    "a service, by which segments are sorted": scan(Compare("resource_service_name", "=", "a")),
    "a status": scan(Compare("attr_status", "=", 503)),
    "a flag": scan(Compare("attr_flag", "=", value=True)),
    "a range": scan(Compare("attr_seconds", ">", 5.0)),
    "a number": scan(Compare("attr_seconds", "=", 5.0)),
    "an id or a level": scan(Or((TRACE, LEVEL))),
    "an absent column": scan(Compare("attr_absent", "=", "x")),
    "only what the filter reads": scan(TRACE, "trace_id"),
    "text search, grouped": scan(SEARCH, grouped=True),
    "text search, negated": scan(Opaque("NOT (logs.body LIKE '%timeout%')")),
    "text search or a level": scan(Or((SEARCH, LEVEL))),
}


@pytest.mark.parametrize("name", NEEDLES)
def test_needles(name: str) -> None:
    assert choose_mode([NEEDLES[name]], [SEGMENT]) is ScanMode.NEEDLE


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps(name: str) -> None:
    assert choose_mode([SWEEPS[name]], [SEGMENT]) is ScanMode.SWEEP


def test_all_scans_of_a_table_share_a_mode() -> None:
    needle, sweep = NEEDLES["one id"], SWEEPS["a level"]
    assert choose_mode([needle, needle], [SEGMENT]) is ScanMode.NEEDLE
    assert choose_mode([needle, sweep], [SEGMENT]) is ScanMode.SWEEP
    assert choose_mode([], [SEGMENT]) is ScanMode.SWEEP


def test_at_a_distance_one_request_is_better_than_several_small_ones() -> None:
    section = FilterSection(50, 0, (0, 0, 0), (0, 0, 0))
    large = msgspec.structs.replace(
        SEGMENT, rows=100, bytes=2 * ONE_REQUEST_BYTES, filters=(section, section)
    )
    assert mode_at_distance([SEGMENT], {}) is ScanMode.SWEEP
    assert mode_at_distance([], {}) is ScanMode.SWEEP
    assert mode_at_distance([SEGMENT, large], {}) is ScanMode.NEEDLE
    assert mode_at_distance([large], {large.id: 0b10}) is ScanMode.SWEEP
    assert mode_at_distance([large], {large.id: 0b11}) is ScanMode.NEEDLE
    bare = msgspec.structs.replace(large, filters=())
    assert mode_at_distance([bare], {}) is ScanMode.NEEDLE


def test_shares() -> None:
    assert share(LEVEL, [SEGMENT]) == pytest.approx(1 / 3)
    assert share(IsIn("level", ("ERROR", "WARN")), [SEGMENT]) == pytest.approx(2 / 3)
    assert share(And((LEVEL, Compare("attr_status", "=", 500))), [SEGMENT]) == 1 / 400
    assert share(StartsWith("trace_id", "d4"), [SEGMENT]) == 1 / PAGE_ROWS
    assert share(EVERYTHING, [SEGMENT]) == 1
    assert share(LEVEL, []) == 1
