"""DataFusion's errors as ours: what went wrong, without the noise around it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.compute.expressions import is_text, kind_of, operands_of
from lakerunner.errors import (
    QueryError,
    QueryExecutionError,
    QueryLimitError,
    QuerySyntaxError,
    UnsupportedQueryError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from datafusion import Expr, LogicalPlan

    from lakerunner.compute.table import Table

_NAME = r"(?:\"[^\"]*\"|\w+)"
# What DataFusion says of a text, in the order in which it is looked for, and what we say.
_SYNTAX = (
    (re.compile(r"No SQL statements were provided"), "the query is empty"),
    (
        re.compile(rf"No field named (?P<field>(?:{_NAME}\.)*(?P<column>{_NAME}))"),
        "there is no column {field}",
    ),
    (
        re.compile(r"table '(?:datafusion\.)?(?:public\.)?(?P<table>.*)' not found"),
        "there is no table '{table}'",
    ),
    (
        re.compile(r"(?:Invalid function|table function) '(?P<function>[^']*)'"),
        "there is no function '{function}'",
    ),
    (
        re.compile(r'SQL error: (?:ParserError|TokenizerError)\("(?P<what>.*)"\)', re.DOTALL),
        "the query cannot be parsed: {what}",
    ),
)
_REFUSALS = (
    (re.compile(r"only supports a single SQL statement"), "a query is one statement"),
    (
        re.compile(r"(?:DDL|DML|Statement) not supported: (?P<what>\w+)"),
        "a query may only read: {what} is refused",
    ),
    (re.compile(r"RecursionLimitExceeded"), "the query is nested too deeply"),
    (
        re.compile(r"This feature is not implemented: (?P<what>.*)", re.DOTALL),
        "not supported: {what}",
    ),
)
# The last is of one text alone, of more than 2 GiB, which no memory would be enough for.
_MEMORY = re.compile(
    r"Resources exhausted|[Ff]ailed to allocate|memory allocation failed|string size overflow on"
)
_PREFIX = re.compile(
    r"^(?:DataFusion error|Error during planning|Execution error|Arrow error|Schema error|"
    r"External error|Internal error|Optimizer rule '\w+' failed|type_coercion|SQL error|"
    r"caused by|Cast error|Compute error|Parquet error|Object Store error|Context)[:\s]\s*"
)
_INTERNAL = re.compile(
    r"\.?\s*This issue was likely caused by a bug in DataFusion.*|\s*backtrace:.*", re.DOTALL
)
# What a query computes while it is being planned fails like what it computes while it runs.
_VALUES = re.compile(r"Cast error|Arrow error|Divide by zero|Parser error: Error parsing")


@contextmanager
def planning_failures(text: str) -> Iterator[None]:
    """Turn what DataFusion raises while it plans into our errors.

    Raises:
        QuerySyntaxError: The text cannot be parsed, or names something that is not there.
        UnsupportedQueryError: The query is understood and refused.
        QueryExecutionError: A constant in it cannot be computed.
    """
    try:
        yield
    except RecursionError as error:
        raise UnsupportedQueryError("the query is nested too deeply", query=text) from error
    except BaseException as error:
        if not _is_from_datafusion(error):
            raise
        raise planning_error(str(error), text) from error


@contextmanager
def running_failures(text: str) -> Iterator[None]:
    """Turn what DataFusion raises while it runs into our errors.

    Raises:
        QueryExecutionError: Always, for any of DataFusion's errors.
    """
    try:
        yield
    except BaseException as error:
        if not _is_from_datafusion(error):
            raise
        raise running_error(str(error), text) from error


def _is_from_datafusion(error: BaseException) -> bool:
    """Whether an exception comes from DataFusion: as plain as this, or a panic of Rust's."""
    return (
        type(error) in (Exception, ValueError, RuntimeError, UnicodeEncodeError)
        or isinstance(error, pa.ArrowException)
        or type(error).__name__ in {"PanicException", "RustPanic"}  # while planning, while running
    )


def planning_error(message: str, text: str) -> QueryError:
    """The error for what DataFusion said about a plan.

    Example:
        >>> planning_error("Error during planning: DDL not supported: DropTable", "x").message
        'a query may only read: DropTable is refused'
    """
    for pattern, ours in _SYNTAX:
        if match := pattern.search(message):
            names = {name: value.strip('"') for name, value in match.groupdict().items()}
            return QuerySyntaxError(ours.format(**names), query=text, **names)
    for pattern, ours in _REFUSALS:
        if match := pattern.search(message):
            return UnsupportedQueryError(ours.format(**match.groupdict()), query=text)
    if _VALUES.search(message):
        return running_error(message, text)
    return QuerySyntaxError(clean(message), query=text)


def running_error(message: str, text: str) -> QueryExecutionError:
    """The error for what DataFusion said while a query ran.

    Example:
        >>> running_error("DataFusion error: Arrow error: Divide by zero error", "x").message
        'Divide by zero error'
        >>> running_error("rust future panicked: unknown error", "x").message
        'the query engine gave up on this query, by a defect of its own; ask otherwise'
    """
    if _MEMORY.search(message):
        return QueryLimitError(
            "the query needs more memory than query_memory_bytes allows: raise it, or ask for less",
            query=text,
            limit="query_memory_bytes",
            detail=clean(message),
        )
    if message.startswith("rust future panicked"):  # it says no more than that
        message = "the query engine gave up on this query, by a defect of its own; ask otherwise"
    return QueryExecutionError(clean(message), query=text)


def clean(message: str) -> str:
    r"""Strip the prefixes of nested errors and advice that is not meant for our users.

    Example:
        >>> clean("Optimizer rule 'x' failed\ncaused by\nArrow error: Cast error: a")
        'a'
    """
    message = _INTERNAL.sub("", message).strip()
    while (shorter := _PREFIX.sub("", message, count=1).strip()) != message:
        message = shorter
    return message.rstrip(".") or "the query failed"


# Queries that DataFusion 55 answers wrongly: they are refused, with a way to write them rightly.
#
# Each is shown to be wrong by a test, which fails when a release of DataFusion has mended it; then
# its refusal can go.

_QUANTIFIED = re.compile(r"\b(ALL|ANY) \(<subquery>\)")
_BOUNDS = re.compile(r"\b(?:min|max)\(")
_CAST_TO = re.compile(r" AS (\w+)[^ ]*\)\)$")
# What is below one of these is known inexactly, and bounds of it are never taken for an answer.
_INEXACT = frozenset({"Filter", "Aggregate"})


def quantified_fault(plan: LogicalPlan) -> str | None:
    """A comparison with all or any rows of a subquery.

    Where the subquery reads the same table as the query around it, the two are taken for one.

    Args:
        plan: As it was parsed, not optimized.
    """
    if match := _QUANTIFIED.search(plan.display_indent()):
        return f"{match[1]} (SELECT …) is refused: compare with its max() or min(), or use IN"
    return None


def cast_bounds_fault(plan: LogicalPlan, tables: Sequence[Table]) -> str | None:
    """The min() or max() of a column that a subquery has cast between text and numbers.

    It is answered from the bounds of the files, which are cast: but as text, 100 < 96.

    Args:
        plan: An optimized plan.
        tables: What it reads.
    """
    if not _BOUNDS.search(plan.display_indent()):
        return None
    types = {field.name: field.type for table in tables for field in table.schema}
    return _cast_bounds_fault(plan, types)


def _cast_bounds_fault(plan: LogicalPlan, types: Mapping[str, Any]) -> str | None:
    node: Any = plan.to_variant()
    if type(node).__name__ == "Aggregate" and not node.group_by_exprs():
        wanted = any(_BOUNDS.search(str(one)) for one in node.aggregate_exprs())
        cast = next((found for one in plan.inputs() if (found := _cast_below(one, types))), None)
        if wanted and cast is not None:
            return (
                f"min() or max() of {cast}, cast in a subquery, is refused: "
                "cast inside min() or max(), or use TRY_CAST"
            )
    return next((why for one in plan.inputs() if (why := _cast_bounds_fault(one, types))), None)


def _cast_below(plan: LogicalPlan, types: Mapping[str, Any]) -> str | None:
    node: Any = plan.to_variant()
    kind = type(node).__name__
    if kind == "Projection":
        cast = next((one for one in node.projections() if _reorders(one, types)), None)
        if cast is not None and _is_bare(plan):
            return str(cast).removeprefix("Expr(").removesuffix(")")
    if kind in _INEXACT:
        return None
    return next((found for one in plan.inputs() if (found := _cast_below(one, types))), None)


def _is_bare(plan: LogicalPlan) -> bool:
    """Whether all rows of whole tables arrive: only then are their bounds known exactly."""
    kind = type(plan.to_variant()).__name__
    return kind not in _INEXACT and all(map(_is_bare, plan.inputs()))


def _reorders(expression: Expr, types: Mapping[str, Any]) -> bool:
    """Whether an expression is a column cast between text and something else."""
    if kind_of(expression) == "Alias":
        return _reorders(expression.to_variant().expr(), types)
    match = _CAST_TO.search(str(expression))
    if kind_of(expression) != "Cast" or match is None:
        return False
    (operand,) = operands_of(expression)
    source = types.get(operand.to_variant().name()) if kind_of(operand) == "Column" else None
    return source is not None and is_text(source) is not ("Utf8" in match[1])
