"""Columns that an engine gives the same name are answered, each under another."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import lakerunner
from lakerunner.errors import QueryExecutionError, QuerySyntaxError
from lakerunner.query.sql.same_names import cast_edits, name_edits
from lakerunner.query.sql.tokens import Rewritten, rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES: list[tuple[str, dict[str, object]]] = [
    (
        "SELECT min(attr_a), min(CAST(attr_a AS DOUBLE)) FROM logs",
        {"min(attr_a)": 1.0, "min(CAST(attr_a AS DOUBLE))": 1.0},
    ),
    (
        "SELECT max(attr_b) AS x, max(attr_b::BIGINT) y, max(TRY_CAST(attr_b AS DOUBLE)) FROM logs",
        {"x": 7, "y": 7, "max(TRY_CAST(attr_b AS DOUBLE))": 7.0},
    ),
    (
        "SELECT sum(a), sum(CAST(a AS INT)), sum(a) FROM (SELECT attr_a AS a FROM logs) AS q",
        {"sum(a)": 7.5, "sum(CAST(a AS INT))": 7, "sum(a)_1": 7.5},
    ),
    (
        "SELECT body, body, CAST(body AS VARCHAR) FROM logs WHERE body = 'b'",
        {"body": "b", "body_1": "b", "CAST(body AS VARCHAR)": "b"},
    ),
    (
        """SELECT q.* FROM
            (SELECT count(attr_a) FILTER (WHERE body = 'a'), count(*), count(*) FROM logs) q""",
        {"count(attr_a) FILTER (WHERE body = 'a')": 2, "count(*)": 4, "count(*)_1": 4},
    ),
    (
        """SELECT max(CASE WHEN attr_b > 3 THEN CAST(attr_b AS INT) END),
            max(CASE WHEN attr_b > 3 THEN attr_b END), 1, 1
            FROM logs GROUP BY body HAVING body = 'c' ORDER BY 1""",
        {
            "max(CASE WHEN attr_b > 3 THEN CAST(attr_b AS INT) END)": 7,
            "max(CASE WHEN attr_b > 3 THEN attr_b END)": 7,
            "1": 1,
            "1_1": 1,
        },
    ),
]


@pytest.fixture(scope="module")
def lake() -> Iterator[lakerunner.Lake]:
    with lakerunner.open("memory://") as lake:
        lake.ingest(b'{"message": "a", "a": 1}\n{"message": "b", "a": 5}')
        lake.ingest(b'{"message": "a", "a": 1.5}')
        lake.ingest(b'{"message": "c", "b": 7}')
        yield lake


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_same_names_are_told_apart(
    lake: lakerunner.Lake, text: str, expected: dict[str, object]
) -> None:
    assert lake.sql(text).to_arrow().to_pylist() == [expected]


def test_what_cannot_be_told_apart_is_refused_in_our_words(lake: lakerunner.Lake) -> None:
    text = "SELECT min(attr_b), min((attr_b + 0)::BIGINT), min(attr_b + 0) FROM logs"
    with pytest.raises(QuerySyntaxError, match="another name with AS") as caught:
        lake.sql(text).to_arrow()
    assert caught.value.context["query"] == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT DISTINCT a, b FROM t", "SELECT DISTINCT a, b FROM t"),
        ("SELECT *, t.*, a AS b, c d, e IS NULL", "SELECT *, t.*, a AS b, c d, {e IS NULL}"),
        ("SELECT CASE a WHEN 1 THEN 2 END", "SELECT {CASE a WHEN 1 THEN 2 END}"),
        ("SELECT f(x,  y) -- , y\n, 2;", 'SELECT f(x,  y) AS "f(x, y)" -- , y\n, {2};'),
        ("SELECT f('\"')", 'SELECT f(\'"\') AS "f(\'""\')"'),
        ("SELECT", "SELECT"),
        ("SELECT a,", "SELECT a,"),
        ("SELECT f(a", "SELECT {f(a}"),
    ],
)
def test_only_columns_without_a_name_are_named(text: str, expected: str) -> None:
    expected = re.sub(r"\{(.*?)\}", r'\1 AS "\1"', expected)
    assert rewrite(text, name_edits(Rewritten(text, text))).text == expected


@pytest.mark.parametrize(
    "text", ["SELECT CAST(a", "SELECT (a)::INT", "SELECT a::", "::INT", "'CAST(a)'"]
)
def test_other_casts_are_left_alone(text: str) -> None:
    assert cast_edits(text) == []


def test_where_the_engine_panics_it_is_an_error_of_ours() -> None:
    """It does so while it merges the states of several threads."""
    with lakerunner.open("memory://") as lake:
        for number in range(3):
            lines = (f'{{"message": "own {number} {row}"}}' for row in range(100))
            lake.ingest("\n".join(lines).encode(), signal="logs")
        with suppress(QueryExecutionError):
            lake.sql("SELECT nth_value([[body]], 2 ORDER BY [[body]]) FROM logs").to_arrow()
        assert lake.sql("SELECT body FROM logs").to_arrow().num_rows == 300
