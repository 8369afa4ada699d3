"""What DataFusion answers wrongly is refused, and nothing else is.

The first two tests show the faults in DataFusion itself. When one of them fails, a release has
mended the fault, and the refusal can be removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import SessionContext

from lakerunner.compute import ScanMode, Session, Table
from lakerunner.errors import UnsupportedQueryError

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = {"n": [9, 96, 100], "s": ["9", "96", "100"], "d": [9.0, 96.0, 100.0]}


@pytest.fixture
def context(tmp_path: Path) -> SessionContext:
    pq.write_table(pa.table(COLUMNS), tmp_path / "t.parquet")
    context = SessionContext()
    context.register_parquet("logs", tmp_path / "t.parquet")
    return context


@pytest.fixture(params=ScanMode)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    pq.write_table(pa.table(COLUMNS), tmp_path / "t.parquet")
    types = [("n", pa.int64()), ("s", pa.string_view()), ("d", pa.float64())]
    file = (tmp_path / "t.parquet").as_uri()
    return Table("logs", pa.schema(types), (file,), request.param, {})


def test_quantified_comparisons_are_wrong(context: SessionContext) -> None:
    text = "SELECT n FROM logs WHERE n > ALL (SELECT n FROM logs WHERE n < 50)"
    assert context.sql(text).to_pydict() != {"n": [96, 100]}


def test_bounds_of_casts_are_wrong(context: SessionContext) -> None:
    text = "SELECT max(t) AS m FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs)"
    assert context.sql(text).to_pydict() != {"m": ["96"]}
    text = "SELECT max(t) AS m FROM (SELECT CAST(s AS BIGINT) AS t FROM logs)"
    assert context.sql(text).to_pydict() != {"m": [100]}


REFUSED = [
    "SELECT n FROM logs WHERE n > ALL (SELECT n FROM logs)",
    "SELECT n FROM logs WHERE n = ANY (SELECT n FROM logs x)",
    "SELECT n FROM logs WHERE NOT n <> SOME (SELECT n FROM logs)",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs)",
    "SELECT count(*), min(t) FROM (SELECT s::BIGINT AS t, d FROM logs) x",
    "WITH x AS (SELECT d::TEXT AS t FROM logs) SELECT 1 WHERE 'a' > (SELECT min(t) FROM x)",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs UNION ALL SELECT 'a')",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs LIMIT 9)",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs ORDER BY n LIMIT 9)",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t, row_number() OVER () AS r FROM logs)",
    "SELECT max(t) FROM (SELECT CAST(x.n AS VARCHAR) AS t FROM logs x CROSS JOIN logs y)",
]


@pytest.mark.parametrize("text", REFUSED)
def test_they_are_refused(session: Session, table: Table, text: str) -> None:
    with pytest.raises(UnsupportedQueryError, match="is refused: c"):
        session.plan(text, [table]).optimized()


ANSWERED = {
    "SELECT count(*) FROM logs WHERE n = ANY(make_array(9, 10))": 1,
    "SELECT count(*) FROM logs WHERE n IN (SELECT n FROM logs WHERE n > 9)": 2,
    "SELECT max(CAST(n AS VARCHAR)) FROM logs": "96",
    "SELECT max(CAST(s AS BIGINT)) FROM logs": 100,
    "SELECT max(t) FROM (SELECT TRY_CAST(n AS VARCHAR) AS t FROM logs)": "96",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs WHERE n > 9)": "96",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs WHERE n > 0)": "96",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs WHERE n IS NOT NULL)": "96",
    "SELECT max(t) FROM (SELECT DISTINCT CAST(n AS VARCHAR) AS t FROM logs)": "96",
    "SELECT max(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs GROUP BY n)": "96",
    "SELECT max(t) FROM (SELECT CAST(n AS DOUBLE) AS t FROM logs)": 100.0,
    "SELECT max(t) FROM (SELECT CAST(s AS VARCHAR) AS t FROM logs)": "96",
    "SELECT count(t) FROM (SELECT CAST(n AS VARCHAR) AS t FROM logs)": 3,
    "SELECT max(c) FROM (SELECT CAST(n AS VARCHAR) AS t, count(*) AS c FROM logs GROUP BY 1)": 1,
    "SELECT max(t) FROM (SELECT CAST(n + 0 AS VARCHAR) AS t FROM logs)": "96",
}


@pytest.mark.parametrize("text", ANSWERED)
def test_what_is_like_them_is_answered(session: Session, table: Table, text: str) -> None:
    planned = session.plan(text, [table])
    planned.optimized()
    (row,) = planned.execute().read_all().to_pylist()
    assert list(row.values()) == [ANSWERED[text]]
