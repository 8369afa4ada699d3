"""Clauses that would be passed over are refused, and what looks like them is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.errors import UnsupportedQueryError

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
WIDE = 2**53

IGNORED = {
    "SELECT count(*) FROM logs TABLESAMPLE BERNOULLI (10)": "TABLESAMPLE",
    "SELECT count(*) FROM logs TABLESAMPLE (10 ROWS)": "TABLESAMPLE",
    "SELECT count(*) FROM logs SAMPLE (10)": "SAMPLE",
    "SELECT * ILIKE '%n%' FROM logs": r"\* ILIKE",
    "SELECT level, count(*) FROM logs GROUP BY level WITH ROLLUP": "WITH ROLLUP",
    "SELECT level, count(*) FROM logs GROUP BY level WITH CUBE": "WITH CUBE",
    "SELECT level, count(*) FROM logs GROUP BY level WITH TOTALS": "WITH TOTALS",
    "SELECT count(*) FROM logs WITH ORDINALITY": "WITH ORDINALITY",
    "SELECT body FROM logs WITH (NOLOCK)": "hints",
    "SELECT body FROM logs PREWHERE level = 'INFO'": "PREWHERE",
    "SELECT body FROM logs CONNECT BY body = 'a'": "CONNECT BY",
    "SELECT body FROM logs FOR UPDATE": "FOR UPDATE",
    "SELECT body FROM logs SETTINGS max_threads = 1": "SETTINGS",
}
LOOSE = [
    "attr_n IS NOT DISTINCT FROM 1 OR attr_k > 5",
    "attr_flag IS DISTINCT FROM true AND attr_k > 5",
    "attr_flag IS NOT DISTINCT FROM left('x', 1) = 'x' OR true",
    "attr_n IS DISTINCT FROM CASE WHEN attr_k = 1 AND true THEN 1 END OR true",
    "attr_n IS DISTINCT FROM attr_k BETWEEN 1 AND 2 AND true",
    "attr_flag IS DISTINCT FROM attr_k IS NULL",
    "attr_flag is  not /* a */ distinct\nfrom (true) and attr_k > 5",
    "(attr_flag IS DISTINCT FROM true AND true)",
]
FIRM = {
    "(attr_n IS NOT DISTINCT FROM 1) OR attr_k > 5": 5,
    "attr_k > 5 OR attr_n IS NOT DISTINCT FROM 1": 5,
    "NOT (attr_flag IS DISTINCT FROM true) OR attr_k > 5": 6,
    "attr_n IS NOT DISTINCT FROM (1)": 1,
    "attr_n IS DISTINCT FROM attr_k": 6,
    "attr_flag IS DISTINCT FROM (attr_k = 1 OR attr_k = 2)": 8,
    "body <> 'x IS DISTINCT FROM y AND z'": 10,
    "attr_n IS NOT DISTINCT FROM CASE WHEN attr_k = 1 AND true THEN 1 ELSE 7 END": 1,
}


@pytest.fixture
def numbers(make_lake: Callable[[], Any]) -> Any:
    lake = make_lake()
    lake.add(
        {
            "timestamp": [START + row for row in range(10)],
            "body": [f"m{row}" for row in range(10)],
            "attr_k": list(range(10)),
            "attr_n": [row if row < 4 else None for row in range(10)],
            "attr_flag": [row % 2 == 0 if row < 4 else None for row in range(10)],
        }
    )
    return lake


@pytest.mark.parametrize(("text", "named"), IGNORED.items())
def test_what_would_be_passed_over_is_refused(lake: Any, text: str, named: str) -> None:
    with pytest.raises(UnsupportedQueryError, match=f"^{named} .*(refused)"):
        lake.engine.sql(text)


@pytest.mark.parametrize(
    "text",
    [
        'SELECT \'TABLESAMPLE\' AS tablesample_, "prewhere" FROM (SELECT 1 AS "prewhere")',
        "SELECT count(*) FROM logs -- TABLESAMPLE (10)",
        "SELECT sample FROM (SELECT 1 AS sample)",
        "SELECT settings, connect FROM (SELECT 1 AS settings, 2 AS connect)",
        "SELECT count(*) FROM logs WHERE body ILIKE '%x%'",
        "WITH a AS (SELECT 1 AS b) SELECT * FROM a",
        "SELECT level, count(*) FROM logs GROUP BY ROLLUP (level)",
    ],
)
def test_what_only_looks_like_it_is_not(lake: Any, text: str) -> None:
    lake.engine.sql(text).to_arrow()


@pytest.mark.parametrize("condition", LOOSE)
def test_distinct_from_that_binds_loosely_is_refused(numbers: Any, condition: str) -> None:
    for text in (f"WHERE {condition}", f"WHERE attr_k > 0 AND ({condition})"):
        with pytest.raises(UnsupportedQueryError, match="put it into parentheses, as in"):
            numbers.engine.sql(f"SELECT count(*) FROM logs {text}")


@pytest.mark.parametrize(("condition", "count"), FIRM.items())
def test_distinct_from_that_binds_firmly_is_answered(
    numbers: Any, condition: str, count: int
) -> None:
    assert numbers.one(f"SELECT count(*) FROM logs WHERE {condition}") == count
    filtered = f"SELECT count(*) FILTER (WHERE {condition}) FROM logs"
    assert numbers.one(filtered) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "SELECT attr_n FROM logs WHERE TRY_CAST(attr_n AS INT) >= 0": [3],
        "SELECT attr_n FROM logs WHERE try_cast ( attr_n AS smallint ) <> 7": [3],
        "SELECT attr_n FROM logs WHERE NOT (TRY_CAST(attr_n AS INT) < 0)": [3],
        "SELECT attr_n FROM logs WHERE arrow_try_cast(attr_n, 'Int32') >= 0": [3],
        "SELECT attr_n FROM logs WHERE 0 <= TRY_CAST(attr_n AS INT)": [3],
        "SELECT attr_n FROM logs WHERE TRY_CAST(attr_n AS INT) IN (3, 4, 5, 6)": [3],
        "SELECT n FROM (SELECT TRY_CAST(attr_n AS INT) AS n FROM logs) WHERE n >= 0": [3],
        "SELECT TRY_CAST(attr_n AS INT) >= 0 FROM logs ORDER BY attr_n": [True, None],
        "SELECT count(TRY_CAST(attr_n AS INT)) FROM logs": [1],
    }.items(),
)
def test_numbers_that_do_not_fit_are_null_in_comparisons_too(
    lake: Any, text: str, expected: list[Any]
) -> None:
    lake.add({"timestamp": [START, START + 1], "attr_n": [WIDE + 1, 3]})
    assert [next(iter(row.values())) for row in lake.rows(text)] == expected


def test_an_answer_says_which_integers_are_rounded(lake: Any) -> None:
    hour = 3600 * 10**9
    lake.add({"timestamp": [START, START + 1], "attr_n": [WIDE + 1, 3], "attr_m": [WIDE + 1, 2]})
    exact = lake.engine.sql("SELECT attr_n, attr_m FROM logs")
    assert (exact.stats.rounded, "rounded" in repr(exact)) == ((), False)
    lake.add({"timestamp": [START + hour], "attr_n": [1.5], "attr_m": [7]})
    result = lake.engine.sql("SELECT * FROM logs")
    assert result.stats.rounded == ("attr_n",)
    assert repr(result).endswith("3 rows; integers beyond 2^53 are rounded in attr_n")
    assert sorted(result.to_arrow()["attr_m"].to_pylist()) == [2, 7, WIDE + 1]
    assert result.stats.rounded == lake.engine.sql("SELECT max(attr_n) FROM logs").stats.rounded
    for text in (
        "attr_m FROM logs",
        f"attr_n FROM logs WHERE timestamp > to_timestamp_nanos({START + 9})",
    ):
        assert lake.engine.sql(f"SELECT {text}").stats.rounded == ()


def test_a_double_that_is_several_integers_is_not_compared(lake: Any) -> None:
    lake.add({"timestamp": [START, START + 1], "attr_n": [WIDE + 1, 3], "attr_m": [1, 2]})
    assert lake.one(f"SELECT count(*) FROM logs WHERE attr_n = {WIDE}") == 0
    assert lake.one(f"SELECT count(*) FROM logs WHERE attr_n = {WIDE + 1}") == 1
    lake.add({"timestamp": [START, START + 1], "attr_n": [1.5, 1e300], "attr_m": [1.5, 1e300]})
    for condition in ("= {0}", "<> {0}", "> {0}", "IN (3, {0})", "BETWEEN 3 AND {0}"):
        with pytest.raises(UnsupportedQueryError, match=r"attr_n is read as double.* beyond 2\^53"):
            lake.engine.sql(f"SELECT * FROM logs WHERE attr_n {condition.format(WIDE)}")
        lake.rows(f"SELECT * FROM logs WHERE attr_m {condition.format(WIDE)}")
    assert lake.one("SELECT count(*) FROM logs WHERE attr_n > 2") == 3
    assert lake.one("SELECT count(*) FROM logs WHERE attr_n = 3") == 1
    assert lake.one("SELECT count(*) FROM logs WHERE attr_m >= 1e300") == 1


@pytest.mark.parametrize(
    ("condition", "expected"),
    {
        "attr_x NOT IN ('a', 'b') OR attr_x NOT IN ('c', 'd')": ["a", "c", "z"],
        "attr_x NOT IN ('a', 'b') OR attr_x NOT IN ('c', 'd') OR attr_x NOT IN ('z', 'y')": [
            "a", "c", "z",
        ],
        "NOT (attr_x IN ('a', 'b') AND attr_x IN ('c', 'd'))": ["a", "c", "z"],
        "(attr_x IN ('a', 'b') AND attr_x IN ('c', 'd')) IS NULL": [None],
        "upper(attr_x) NOT IN ('A', 'B') OR upper(attr_x) NOT IN ('C', 'D')": ["a", "c", "z"],
        "(attr_x) NOT IN ('a', 'b') OR (logs.attr_x) NOT IN ('c', 'd')": ["a", "c", "z"],
        "attributes['x'] NOT IN ('a', 'b') OR attributes['x'] NOT IN ('c', 'd')": ["a", "c", "z"],
        "attr_x || '' NOT IN ('a', 'b') OR attr_x || '' NOT IN ('c', 'd')": ["a", "c", "z"],
        "attr_x IN ('a', 'b') AND attr_x IN ('a', 'c')": ["a"],
        "attr_x IN ('a', 'b') OR attr_x IN ('c', 'b')": ["a", "c"],
    }.items(),
)  # fmt: skip
def test_lists_of_one_operand_leave_null_what_is_null(
    lake: Any, condition: str, expected: list[Any]
) -> None:
    lake.add({"timestamp": [START + n for n in range(4)], "attr_x": ["a", "c", None, "z"]})
    text = f"SELECT attr_x FROM logs WHERE {condition} ORDER BY 1"
    assert [row["attr_x"] for row in lake.rows(text)] == expected
    renamed = text.replace("FROM logs", "FROM (SELECT attr_x, attr_x AS y, attributes FROM logs)")
    if "attributes[" not in text and "logs.attr" not in text:
        second = renamed.replace("OR attr_x", "OR y")
        assert [row["attr_x"] for row in lake.rows(second.replace(", attributes", ""))] == expected
    grouped = f"SELECT {condition} AS f, count(*) AS n FROM logs GROUP BY {condition}"
    assert sum(row["n"] for row in lake.rows(grouped)) == 4
