"""What a text alone shows to be too much."""

from __future__ import annotations

import pytest

from lakerunner.errors import QueryLimitError
from lakerunner.query.sql.query import read_sql

DOUBLED = "WITH a0 AS (SELECT * FROM logs)" + "".join(
    f", a{n} AS (SELECT x.body FROM a{n - 1} x, a{n - 1} y)" for n in range(1, 22)
)
REFUSED = {
    "SELECT repeat('x', 2000000000)": "QUERY_VALUE_SIZE",
    "SELECT REPEAT /* */ (body, 1e6) FROM logs": "QUERY_VALUE_SIZE",
    "SELECT lpad(body, 200_000_000, 'x') FROM logs": "QUERY_VALUE_SIZE",
    "SELECT array_repeat(array_repeat(1, 5), 1000000)": "QUERY_VALUE_SIZE",
    "SELECT 1 FROM logs GROUP BY CUBE (a, b, c, d, e, f, g, h, i)": "QUERY_GROUPING_SETS",
    "SELECT 1 FROM logs GROUP BY CUBE (a, b, c, d), CUBE (e, f, g, h, i)": "QUERY_GROUPING_SETS",
    f"SELECT 1 FROM logs GROUP BY GROUPING SETS ({','.join(['(a)'] * 300)})": "QUERY_GROUPING_SETS",
    f"{DOUBLED} SELECT count(*) FROM a21": "QUERY_SCANS",
    f"SELECT count(*) FROM {', '.join(['logs'] * 300)}": "QUERY_SCANS",
}
TAKEN = (
    "SELECT repeat(body, 100), lpad(body, 2000), repeat('x', attr_n), 'repeat(x, 1e9)' FROM logs",
    "SELECT 1 FROM logs GROUP BY CUBE (a, b), ROLLUP (c, d), GROUPING SETS ((e), (f, g))",
    "WITH a AS (SELECT * FROM logs), b AS (SELECT * FROM a, a AS x) SELECT * FROM b, b AS c",
    f"SELECT {', '.join(['logs.body'] * 500)} FROM logs",
    "SELECT cube, rollup, sets FROM logs",
)


@pytest.mark.parametrize("text", REFUSED)
def test_too_much_is_refused_by_name(text: str) -> None:
    with pytest.raises(QueryLimitError) as caught:
        read_sql(text)
    assert caught.value.context["limit"] == REFUSED[text]


@pytest.mark.parametrize("text", TAKEN)
def test_what_is_bounded_is_taken(text: str) -> None:
    assert read_sql(text).text == text
