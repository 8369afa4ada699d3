"""Which queries may run beside others, and that no function is overlooked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from lakerunner.compute import ScanMode, Session, Table
from lakerunner.compute.hazards import EXPANDING, is_heavy_text, pairs
from lakerunner.query.sql.query import read_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = pa.schema([("n", pa.int64()), ("body", pa.string())])
TABLES = {"logs", "spans"}


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    made = Session(threads=2)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("SELECT count(*) FROM logs WHERE n > 5", 0),
        ("SELECT * FROM logs ORDER BY n LIMIT 5", 0),
        ("SELECT n, count(*) FROM logs GROUP BY n", 0),
        ("SELECT * FROM logs a JOIN logs b USING (n)", 10**6),
        ("SELECT count(*) FROM logs a, logs b, logs c", 10**6 + 10**9),
        ("SELECT * FROM logs WHERE n > (SELECT avg(n) FROM logs)", 0),
        ("SELECT * FROM logs, (SELECT n AS m FROM logs LIMIT 3)", 3000),
        ("SELECT unnest([n]) FROM logs", math.inf),
    ],
)
def test_pairs_are_counted_by_rows(session: Session, text: str, met: float) -> None:
    table = Table("logs", SCHEMA, (), ScanMode.SWEEP, {})
    plan = session.plan(text, [table]).optimized()._frame.logical_plan()
    assert pairs(plan, {"logs": 1000}) == met


HEAVY = (
    'SELECT "repeat"(body, 5) FROM logs',
    "SELECT /* */ rpad(body, 5) FROM logs",
    "SELECT n FROM logs GROUP BY CUBE (n, body)",
    "SELECT sum(n) OVER (ORDER BY n ROWS 5 PRECEDING) FROM logs",
    (
        "WITH a AS (SELECT body || body || body AS b FROM logs) SELECT b || b || b || b || b || b "
        "|| b || b FROM a"
    ),
    (
        "WITH a AS (SELECT n FROM logs), b AS (SELECT 1 FROM a, a x), c AS (SELECT 1 FROM b, b x) "
        "SELECT 1 FROM c, c x, c y"
    ),
    f"SELECT '{'x' * 5000}' FROM logs",
)
LIGHT = (
    "SELECT upper(body), n + 1 FROM logs WHERE body LIKE '%a%' ORDER BY n LIMIT 5",
    "SELECT sum(n) OVER (PARTITION BY body ORDER BY n) FROM logs",
    "WITH a AS (SELECT n FROM logs) SELECT count(*) FROM a JOIN logs USING (n)",
    "SELECT body || ':' || n FROM logs",
)


@pytest.mark.parametrize("text", [*HEAVY, *LIGHT])
def test_weight_is_told_from_words(text: str) -> None:
    assert is_heavy_text(text, read_sql(text).mention.words, TABLES) == (text in HEAVY)


def test_no_function_that_makes_much_of_little_is_overlooked(session: Session) -> None:
    # Each is tried with a small text and a large number: what comes out must be small, or known.
    context = session._context
    names = {
        name
        for name in context.udfs()
        if name not in EXPANDING and not name.startswith(("arrow_", "to_"))
    }
    assert "upper" in names
    grown = set()
    for name in names:
        for arguments in ("'abc', 100000", "'abc', 100000, 'x'", "[1], 100000", "1, 100000"):
            try:
                rows = context.sql(f"SELECT {name}({arguments}) AS v").to_arrow_table()
            except Exception:  # noqa: BLE001, S112 - it takes other arguments
                continue
            if rows.nbytes > 10_000:
                grown.add(name)
    assert not grown
