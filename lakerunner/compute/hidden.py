"""Rows that lie in files and that a query does not see: expired, deleted, of other times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from datafusion import col

from lakerunner.model.times import MAX_NS, MIN_NS
from lakerunner.schema.arrays import TYPES
from lakerunner.schema.attribute import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datafusion import DataFrame, Expr

    from lakerunner.model.deletion import Deletion
    from lakerunner.model.segment import Segment

_SQL_TYPES = {
    "string": "VARCHAR",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMP",
    "int32": "INT",
    "uint32": "INT UNSIGNED",
    "uint64": "BIGINT UNSIGNED",
}
_TIME = '"timestamp" {} arrow_cast({}, \'Timestamp(Nanosecond, Some("UTC"))\')'


class Hidden(NamedTuple):
    """Rows of some files that are not seen: those for which a condition is true.

    Attributes:
        condition: In SQL, over `columns`.
        columns: What the condition calls a column, and what that is in the files, in SQL.
        reads: Columns of the files that this needs beside the canonical ones, with the names of
            their types in `lakerunner.schema.arrays`.
    """

    condition: str
    columns: tuple[tuple[str, str], ...] = ()
    reads: tuple[tuple[str, str], ...] = ()


def expired_in(bound_ns: int, segment: Segment) -> Hidden | None:
    """Rows of a segment from before a time, if it has any.

    Args:
        bound_ns: The first nanosecond of what is kept.
        segment: Which.
    """
    if segment.min_timestamp_ns >= bound_ns:
        return None
    return Hidden(_TIME.format("<", bound_ns))


def later_in(end_ns: int, segment: Segment) -> Hidden | None:
    """Rows of a segment from a time on, if it has any.

    Args:
        end_ns: The first nanosecond that is not seen.
        segment: Which.
    """
    if segment.max_timestamp_ns < end_ns:
        return None
    return Hidden(_TIME.format(">=", end_ns))


def deleted_in(deletion: Deletion, segment: Segment) -> Hidden:
    """Rows of a segment that a deletion concerns; it applies to the segment.

    The condition sees columns under the types that they had when it was asked for, whatever types
    other segments have by now, and however this one holds them.

    Example:
        >>> from lakerunner.model.deletion import Deletion
        >>> from lakerunner.model.segment import Segment
        >>> segment = Segment("s1", "acme", "logs", "k", 0, 9, 0, 8, 1, 1, (), {}, 0, "c1")
        >>> deletion = Deletion("d1", "logs", "attr_x = 'a'", columns={"attr_x": "string"})
        >>> deleted_in(deletion, segment).columns
        (('attr_x', 'CAST(NULL AS VARCHAR)'),)
    """
    condition = f"({deletion.where})"
    if segment.min_timestamp_ns < deletion.start_ns and deletion.start_ns > MIN_NS:
        condition += f" AND {_TIME.format('>=', deletion.start_ns)}"
    if segment.max_timestamp_ns >= deletion.end_ns and deletion.end_ns < MAX_NS:
        condition += f" AND {_TIME.format('<', deletion.end_ns)}"
    columns, reads = [], []
    for name, kind in sorted(deletion.columns.items()):
        stats, escaped = segment.columns.get(name), name.replace("'", "''")
        target = _SQL_TYPES[kind]
        if stats is None:
            columns.append((name, f"CAST(NULL AS {target})"))
        elif stats.overflow:
            value = f"map_extract({OVERFLOW}, '{escaped}')[1]"
            columns.append((name, value if kind == "string" else f"TRY_CAST({value} AS {target})"))
        else:
            reads.append((name, stats.type))
            if stats.type != kind:
                columns.append((name, f"TRY_CAST({_quoted(name)} AS {target})"))
    return Hidden(condition, tuple(columns), tuple(reads))


def with_reads(schema: Any, hidden: Sequence[Hidden]) -> Any:
    """A schema with the columns that conditions need, too."""
    more = {name: kind for one in hidden for name, kind in one.reads}
    fields = [pa.field(name, TYPES[kind]) for name, kind in more.items()]
    return pa.schema([*schema, *(one for one in fields if one.name not in schema.names)])


def without(frame: DataFrame, hidden: Sequence[Hidden]) -> DataFrame:
    """The rows of files that are seen, with the same columns."""
    for one in hidden:
        frame = _judged(frame, one, keep=True)
    return frame


def marked(frame: DataFrame, hidden: Sequence[Hidden]) -> DataFrame:
    """For each row, in their order, whether each condition is true: columns of booleans."""
    for number, one in enumerate(hidden):
        frame = _judged(frame, one, keep=False, mark=_mark(number))
    return frame.select(*(col(_mark(number)) for number in range(len(hidden))))


def _judged(frame: DataFrame, one: Hidden, *, keep: bool, mark: str = "") -> DataFrame:
    names = list(frame.schema().names)
    own = dict(one.columns)
    if own:
        # What the condition calls by a name may be something else in the file.
        plain = [_column(name) for name in names if name not in own]
        aside = [_column(name).alias(_aside(name)) for name in names if name in own]
        made = [frame.parse_sql_expr(text).alias(name) for name, text in own.items()]
        frame = frame.select(*plain, *aside, *made)
    frame.parse_sql_expr(one.condition)  # alone first: parentheses around it might lend it sense
    if keep:
        frame = frame.filter(frame.parse_sql_expr(f"({one.condition}) IS NOT TRUE"))
    marks = [] if keep else [frame.parse_sql_expr(f"({one.condition}) IS TRUE").alias(mark)]
    if not own and not marks:
        return frame
    back = [_column(_aside(name)).alias(name) if name in own else _column(name) for name in names]
    return frame.select(*back, *marks)


def _mark(number: int) -> str:
    return f"__gone_{number}"


def _aside(name: str) -> str:
    return f"__file_{name}"


def _column(name: str) -> Expr:
    return col(_quoted(name))


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
