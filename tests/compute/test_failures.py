"""DataFusion's errors come out as ours, in words for the one who wrote the query."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakerunner.compute import ScanMode, Session, Table
from lakerunner.compute.failures import planning_failures, running_failures
from lakerunner.errors import (
    QueryError,
    QueryExecutionError,
    QuerySyntaxError,
    UnsupportedQueryError,
)

SCHEMA = pa.schema([("n", pa.int64()), ("body", pa.string_view())])
NOISE = ("DataFusion", "Error during planning", "Optimizer rule", "caused by", "ParserError", "\n")

FAILURES: dict[str, tuple[type[QueryError], str]] = {
    "": (QuerySyntaxError, "the query is empty"),
    "-- nothing": (QuerySyntaxError, "the query is empty"),
    "SELEC 1": (
        QuerySyntaxError,
        "the query cannot be parsed: Expected: an SQL statement, found: SELEC",
    ),
    "SELECT n FROM logs WHERE": (QuerySyntaxError, "the query cannot be parsed: Expected: an expr"),
    "SELECT 'a": (QuerySyntaxError, "the query cannot be parsed: Unterminated string"),
    "SELECT nope FROM logs": (QuerySyntaxError, "there is no column nope"),
    'SELECT x."No Pe" FROM logs x': (QuerySyntaxError, "there is no column x."),
    "SELECT * FROM nope": (QuerySyntaxError, "there is no table 'nope'"),
    "SELECT * FROM information_schema.tables": (
        QuerySyntaxError,
        "there is no table 'information_sch",
    ),
    "SELECT nope(1)": (QuerySyntaxError, "there is no function 'nope'"),
    "SELECT * FROM nope(1)": (QuerySyntaxError, "there is no function 'nope'"),
    "SELECT body + 1 FROM logs": (QuerySyntaxError, "Cannot coerce arithmetic expression"),
    "SELECT n FROM logs GROUP BY body": (QuerySyntaxError, "Column in SELECT must be in GROUP BY"),
    "SELECT n FROM logs LIMIT -1": (QuerySyntaxError, "LIMIT must be >= 0"),
    "SELECT 1; SELECT 2": (UnsupportedQueryError, "a query is one statement"),
    "SELECT n INTO x FROM logs": (
        UnsupportedQueryError,
        "a query may only read: CreateMemoryTable",
    ),
    "SELECT " + "(" * 60 + "1" + ")" * 60: (
        UnsupportedQueryError,
        "the query is nested too deeply",
    ),
    "SELECT CAST('a' AS INT)": (QueryExecutionError, "Cannot cast string 'a' to value of Int32"),
    "SELECT n FROM logs WHERE n = 'abc'": (
        QueryExecutionError,
        "Cannot cast string 'abc' to value",
    ),
    "SELECT 1 / 0": (QueryExecutionError, "Divide by zero"),
    "SELECT 1 / (n - 5) FROM logs": (QueryExecutionError, "Divide by zero"),
    "SELECT CAST(body AS INT) FROM logs": (QueryExecutionError, "Cannot cast string 'body 0'"),
}


@pytest.mark.parametrize("text", FAILURES)
def test_errors_are_ours_and_short(session: Session, files: tuple[str, ...], text: str) -> None:
    kind, start = FAILURES[text]
    table = Table("logs", SCHEMA, files, ScanMode.SWEEP, {})
    with pytest.raises(QueryError) as caught:
        session.plan(text, [table]).optimized().execute().read_all()
    error = caught.value
    assert type(error) is kind
    assert error.message.startswith(start)
    assert not [noise for noise in NOISE if noise in error.message]
    assert error.context["query"] == text
    assert error.__cause__ is not None


class PanicException(BaseException):
    pass


def test_a_panic_is_an_error_like_others() -> None:
    with pytest.raises(QueryExecutionError, match="called `Option::unwrap"), running_failures("q"):
        raise PanicException("called `Option::unwrap()` on a `None` value")
    with pytest.raises(QuerySyntaxError, match="entered unreachable"), planning_failures("q"):
        raise PanicException("entered unreachable code")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError("a bug of ours"), MemoryError()])
def test_what_is_not_from_datafusion_passes_through(error: BaseException) -> None:
    for wrapped in (planning_failures, running_failures):
        with pytest.raises(type(error)), wrapped("q"):
            raise error
