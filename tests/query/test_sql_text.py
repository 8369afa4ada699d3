"""What is known of a text before it is parsed."""

from __future__ import annotations

import pytest

from lakerunner.errors import UnsupportedQueryError
from lakerunner.query.sql.query import read_sql

HIDDEN_EXPLAINS = [
    "; EXPLAIN SELECT 1",
    ";;\n;EXPLAIN ANALYZE SELECT 1",
    "/*/**/*/EXPLAIN SELECT 1",
    "/* ; /* -- */ */ ; explain verbose select 1",
    "--\n(EXPLAIN SELECT 1)",
    "/* EXPLAIN */ ( ; ( Explain SELECT 1",
]


def test_words_are_found_wherever_they_stand() -> None:
    text = """
        -- attr_comment
        SELECT "attr_quoted", t.attr_dotted, 'attr_literal' AS Alias /* attr_block */
        FROM LOGS t WHERE Attr_Upper=1 AND x>attr_tight-1"""
    words = read_sql(text).mention.words
    names = {f"attr_{one}" for one in ("quoted", "dotted", "literal", "comment", "block", "upper")}
    assert names | {"attr_tight", "logs", "alias"} <= words


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("SELECT now()", True),
        ("SELECT CURRENT_TIMESTAMP", True),
        ("SELECT current_date", True),
        ("SELECT today()", True),
        ("SELECT knowledge FROM logs", False),
        ("SELECT timestamp FROM logs", False),
    ],
)
def test_the_clock_is_noticed(text: str, clock: bool) -> None:
    assert read_sql(text).mention.clock is clock


@pytest.mark.parametrize("text", ["DESCRIBE logs", " desc logs", "/* x */ (describe logs)"])
def test_describing_is_noticed(text: str) -> None:
    assert read_sql(text).mention.describes
    assert not read_sql("SELECT 'describe'").mention.describes


@pytest.mark.parametrize(
    "text",
    [
        "COPY logs TO 'x.parquet'",
        "\n\t copy (SELECT 1) to 'x'",
        "-- a comment\nDROP TABLE logs",
        "/* /* */ */ Insert INTO logs VALUES (1)",
        "SET datafusion.execution.batch_size = 1",
    ],
)
def test_statements_that_write_are_named(text: str) -> None:
    with pytest.raises(UnsupportedQueryError, match=r"a query may only read: [A-Z]+ is refused"):
        read_sql(text)


@pytest.mark.parametrize("text", ["EXPLAIN SELECT 1", "explain analyze select 1", *HIDDEN_EXPLAINS])
def test_explain_has_a_call_of_its_own(text: str) -> None:
    with pytest.raises(UnsupportedQueryError, match=r"explain\(\)"):
        read_sql(text)


def test_show_points_to_describe() -> None:
    with pytest.raises(UnsupportedQueryError, match="DESCRIBE"):
        read_sql("SHOW TABLES")


@pytest.mark.parametrize("text", ["", " ", "-- x", "/*", "'", "(", "42", "😀", "\x00"])
def test_what_is_no_statement_is_left_to_the_parser(text: str) -> None:
    assert not read_sql(text).mention.describes
