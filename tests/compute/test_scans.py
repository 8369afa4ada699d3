"""Every scan of a plan is found, with what the query needs from it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakerunner.compute import Scan, ScanMode, Session, Table
from lakerunner.model.predicate import EVERYTHING, And, Compare, Predicate

SCHEMA = pa.schema([("i", pa.int64()), ("s", pa.string_view()), ("body", pa.string_view())])


@pytest.fixture
def tables(files: tuple[str, ...]) -> list[Table]:
    return [Table(name, SCHEMA, files[:1], ScanMode.SWEEP, {}) for name in ("logs", "spans")]


def scans(session: Session, text: str, tables: list[Table]) -> list[Scan]:
    return session.plan(text, tables).optimized().scans()


def predicates(found: list[Scan]) -> set[tuple[str, Predicate]]:
    return {(scan.table, scan.predicate) for scan in found}


A, B = Compare("s", "=", "a"), Compare("s", "=", "b")
QUERIES: dict[str, list[tuple[str, Predicate]]] = {
    "SELECT 1": [],
    "SELECT * FROM logs WHERE false": [],
    "SELECT * FROM logs": [("logs", EVERYTHING)],
    "SELECT s FROM logs WHERE s = 'a'": [("logs", And((A,)))],
    "SELECT * FROM logs x JOIN logs y ON x.i = y.i WHERE x.s = 'a' AND y.s = 'b'": [
        ("logs", And((A,))),
        ("logs", And((B,))),
    ],
    "SELECT * FROM logs LEFT JOIN spans ON logs.i = spans.i AND spans.s = 'b'": [
        ("logs", EVERYTHING),
        ("spans", And((B,))),
    ],
    "WITH spans AS (SELECT * FROM logs WHERE s = 'a') SELECT * FROM spans": [("logs", And((A,)))],
    "SELECT s FROM logs WHERE s = 'a' UNION ALL SELECT s FROM logs WHERE s = 'b'": [
        ("logs", And((A,))),
        ("logs", And((B,))),
    ],
    "SELECT * FROM logs WHERE i > (SELECT max(i) FROM spans WHERE s = 'b') AND s = 'a'": [
        ("logs", And((A,))),
        ("spans", And((B,))),
    ],
    "SELECT (SELECT max(i) FROM spans WHERE s = 'b') FROM logs WHERE s = 'a'": [
        ("logs", And((A,))),
        ("spans", And((B,))),
    ],
    "SELECT count(*) + (SELECT max(i) FROM logs WHERE s = 'b') FROM logs WHERE s = 'a'": [
        ("logs", And((A,))),
        ("logs", And((B,))),
    ],
    "SELECT * FROM logs WHERE s = 'a' AND i IN (SELECT i FROM logs WHERE s = 'b')": [
        ("logs", And((A,))),
        ("logs", And((B,))),
    ],
    "SELECT * FROM logs x WHERE x.s = 'a' AND EXISTS (SELECT 1 FROM spans y WHERE y.i = x.i)": [
        ("logs", And((A,))),
        ("spans", EVERYTHING),
    ],
}


@pytest.mark.parametrize("text", QUERIES)
def test_each_scan_has_its_own_predicate(session: Session, tables: list[Table], text: str) -> None:
    found = scans(session, text, tables)
    without_opaque = {
        (table, And(tuple(p for p in predicate.parts if p in (A, B))))
        for table, predicate in predicates(found)
        if isinstance(predicate, And)
    }
    assert without_opaque == set(QUERIES[text])


def test_where_scans_are_missing_every_table_is_needed_whole(
    session: Session, tables: list[Table]
) -> None:
    # DataFusion seems to show one scan more than there are.
    text = "SELECT i FROM logs WHERE s = 'a\n    TableScan: logs '"
    found = scans(session, text, tables)
    assert predicates(found) == {("logs", EVERYTHING), ("spans", EVERYTHING)}
    assert {scan.columns for scan in found} == {("i", "s", "body")}


PLACES = {
    "SELECT * FROM logs LIMIT 5": (True, False),
    "SELECT * FROM logs ORDER BY i LIMIT 5": (True, False),
    "SELECT * FROM logs ORDER BY i": (False, False),
    "SELECT count(*) FROM logs LIMIT 5": (False, True),
    "SELECT s, count(*) FROM logs GROUP BY s ORDER BY 2 LIMIT 5": (False, True),
    "SELECT s, row_number() OVER (ORDER BY i) FROM logs LIMIT 5": (False, False),
    "SELECT count(*) FROM (SELECT * FROM logs LIMIT 5)": (True, True),
}


@pytest.mark.parametrize("text", PLACES)
def test_what_becomes_of_the_rows(session: Session, tables: list[Table], text: str) -> None:
    (scan,) = scans(session, text, tables)
    assert (scan.limited, scan.aggregated) == PLACES[text]


def test_columns_are_those_that_are_read(session: Session, tables: list[Table]) -> None:
    (scan,) = scans(session, "SELECT count(body) FROM logs WHERE i + 1 > 3 OR s = 'a'", tables)
    assert set(scan.columns) == {"i", "s", "body"}
    assert scan.filtered == ("i", "s")
