"""All spans of one trace, as they hang together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.errors import ConfigurationError
from lakerunner.model.predicate import Compare
from lakerunner.query.result import TableResult
from lakerunner.query.traces.tree import tree_of
from lakerunner.query.traces.waterfall import waterfall_html, waterfall_text
from lakerunner.schema.ids import hex_ids
from lakerunner.schema.tables import TABLES, table_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lakerunner.model.commit import ColumnSummary
    from lakerunner.query.explanation import QueryStats
    from lakerunner.query.result import Result


class Trace(TableResult):
    """The spans of one trace in tree order: each before those below it, siblings by their start.

    Columns are those of the table `spans`, without attributes that no span of the trace has, and
    `depth`, which counts the spans above one. A span whose parent is not there has depth 0, and so
    has the first of spans that are each other's ancestors.

    It prints, and shows itself in a notebook, as a waterfall.

    Args:
        trace_id: Which trace.
        spans: Its spans, in any order.
        stats: What it took to find them.
        logs: Asks for its logs.

    Attributes:
        trace_id: As 32 digits, if it was given as such.
    """

    def __init__(
        self, trace_id: str, spans: Any, stats: QueryStats, logs: Callable[[], Result]
    ) -> None:
        super().__init__(in_tree_order(spans), stats)
        self.trace_id = trace_id
        self._logs = logs

    def logs(self) -> Result:
        """The log records of the trace, in order of time; of the same time range, if any."""
        return self._logs()

    def __repr__(self) -> str:
        return waterfall_text(self.trace_id, self._table)

    def _repr_html_(self) -> str:
        return waterfall_html(self.trace_id, self._table)


def in_tree_order(spans: Any) -> Any:
    """Spans as `Trace` has them.

    Args:
        spans: A `pyarrow.Table` with those columns of the table `spans` that anybody sent.
    """
    known = TABLES["spans"].schema
    for field in known:
        if field.name not in spans.schema.names:
            spans = spans.append_column(field, pa.nulls(spans.num_rows, field.type))
    sent = [
        name
        for name, column in zip(spans.schema.names, spans.columns, strict=True)
        if name not in known.names and column.null_count < len(column)
    ]
    kept = [*known.names, *sent]
    keys = [("timestamp", "ascending"), ("span_id", "ascending"), ("name", "ascending")]
    spans = spans.select(kept).sort_by(keys).combine_chunks()
    tree = tree_of(spans["span_id"], spans["parent_span_id"])
    depth = pa.array(tree.depth[tree.order], pa.int32())
    return spans.take(pa.array(tree.order, pa.int64())).append_column("depth", depth)


def find_trace(
    trace_id: str,
    known: Callable[[str], Mapping[str, ColumnSummary]],
    scan: Callable[..., Result],
) -> Trace:
    """Read the spans of a trace, and its logs when they are asked for.

    Args:
        trace_id: As hex digits, upper or lower case.
        known: Which columns a table has.
        scan: Reads columns of a table where a condition is true; takes an order, too.

    Raises:
        ConfigurationError: The id is empty.
    """
    wanted = read_trace_id(trace_id)

    def rows(table: str, order: Sequence[str], *, only_sent: bool) -> Result:
        columns = known(table)
        canonical = table_spec(table).schema.names
        kept = [name for name in canonical if name in columns or not only_sent]
        sent = (name for name in sorted(columns) if columns[name].physical)
        return scan(table, [*kept, *sent], Compare("trace_id", "=", wanted), order=order)

    found = rows("spans", (), only_sent=True)
    spans = found.to_arrow()
    return Trace(wanted, spans, found.stats, lambda: rows("logs", ["timestamp"], only_sent=False))


def read_trace_id(text: str) -> str:
    """A trace id as the lake has it: lower-case hex, or whatever was sent that is none.

    Raises:
        ConfigurationError: It is empty.

    Example:
        >>> read_trace_id(" D4CDA95B652F4A1592B449D5929FDA1B ")
        'd4cda95b652f4a1592b449d5929fda1b'
    """
    found: str | None = hex_ids(pa.array([text.strip()], pa.string()))[0].as_py()
    if found is None:
        raise ConfigurationError("a trace id cannot be empty", setting="trace_id")
    return found
