"""What a rule asks of logs or spans, and how its answer becomes points of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakerunner.schema.arrays import TIMESTAMP, numbers, one_chunk
from lakerunner.schema.attribute import RECORD, RESOURCE, SCOPE, AttributeColumn, attribute_field
from lakerunner.schema.series import series_ids
from lakerunner.tiers.exponential import Buckets, exponential_columns
from lakerunner.tiers.numbers import run_starts, sum_runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lakerunner.model.aggregate import AggregateRule
    from lakerunner.model.times import TimeRange

SCALE = 4
"""Of the histograms: a bucket ends 4.4 % above its start."""

_TIME = "arrow_cast({}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"


def question(rule: AggregateRule, span: TimeRange) -> str:
    """The rule as SQL over a time range: counts by step, labels and bucket of a histogram.

    Example:
        >>> from lakerunner.model.aggregate import AggregateRule
        >>> from lakerunner.model.times import TimeRange
        >>> text = question(AggregateRule(metric="lines", by=("level",)), TimeRange(0, 10))
        >>> text[-33:]
        'GROUP BY "by0", step, side, place'
    """
    measured = {
        "count": "CAST(1 AS DOUBLE)",
        "bytes": "CAST(octet_length(body) AS DOUBLE)",
        "values": f"CAST({_quoted(rule.value)} AS DOUBLE)",
        "requests": "duration_ns / CAST(1000000000 AS DOUBLE)",
    }[rule.measure]
    spread = rule.measure in {"values", "requests"}
    place = f"CAST(ceil(log2(abs(v)) * {2**SCALE}) AS BIGINT) - 1" if spread else "0"
    labels = [
        f'CAST({_quoted(name)} AS VARCHAR) AS "by{number}"' for number, name in enumerate(rule.by)
    ]
    keys = [f'"by{number}"' for number in range(len(rule.by))]
    failed = "status_code = 'ERROR'" if rule.measure == "requests" else "FALSE"
    columns = [
        *labels,
        f"arrow_cast(timestamp, 'Int64') / {rule.every_ns} AS step",
        f"{measured} AS v",
        f"CASE WHEN {failed} THEN 1 ELSE 0 END AS failed",
    ]
    within = f"timestamp >= {_TIME.format(span.start_ns)}"
    within += f" AND timestamp < {_TIME.format(span.end_ns)}"
    # On lines of its own: a condition may end in a comment.
    condition = f" AND (\n{rule.where}\n)" if rule.where else ""
    rows = _select(columns, rule.table, "WHERE", within + condition)
    side = "CASE WHEN v > 0 THEN 1 WHEN v < 0 THEN -1 ELSE 0 END" if spread else "0"
    buckets = ["*", f"{side} AS side", f"CASE WHEN v = 0 THEN 0 ELSE {place} END AS place"]
    finite = "v IS NOT NULL AND NOT isnan(v) AND abs(v) < CAST('inf' AS DOUBLE)"
    placed = _select(buckets, f"({rows}) AS measured", "WHERE", finite)
    grouped = [*keys, "step", "side", "place"]
    sums = ["count(v) AS n", "sum(v) AS total", "min(v) AS least", "max(v) AS most"]
    source = f"({placed}) AS placed"
    return _select(
        [*grouped, *sums, "sum(failed) AS failed"], source, "GROUP BY", ", ".join(grouped)
    )


def _select(columns: Sequence[str], source: str, *clauses: str) -> str:
    return " ".join(("SELECT", ", ".join(columns), "FROM", source, *clauses))


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def points_of(answer: pa.Table, rule: AggregateRule, keys: Mapping[str, str]) -> pa.Table:
    """Points of metrics, of what was answered to the question.

    Args:
        answer: The rows.
        rule: Whose.
        keys: The key of each attribute column as it was sent, by its name.

    Returns:
        Rows of the metrics table without `organization`, in no order.
    """
    if not answer.num_rows:
        return answer
    codes = [_codes(answer[f"by{number}"]) for number in range(len(rule.by))]
    step, side, place = (numbers(answer[name], np.int64) for name in ("step", "side", "place"))
    order = np.lexsort((place, side, step, *codes))
    answer = answer.take(pa.array(order)).combine_chunks()
    step, side, place = step[order], side[order], place[order]
    starts = run_starts(step, *(each[order] for each in codes))
    rows = answer.take(pa.array(starts))
    amount = numbers(answer["n"], np.int64)
    total = sum_runs(numbers(answer["total"], np.float64), starts).total
    tables = []
    if rule.measure in {"count", "bytes"}:
        tables.append(_counts(rows, rule, keys, rule.metric, total))
    elif rule.measure == "requests":
        calls = np.add.reduceat(amount, starts).astype(np.float64)
        failed = np.add.reduceat(numbers(answer["failed"], np.float64), starts)
        tables.append(_counts(rows, rule, keys, f"{rule.metric}.calls", calls))
        tables.append(_counts(rows, rule, keys, f"{rule.metric}.errors", failed))
    if rule.measure in {"values", "requests"}:
        what = (rule.metric, rule.unit)
        if rule.measure == "requests":
            what = (f"{rule.metric}.duration", "s")
        measured = {"sum": pa.array(total), **_spread(answer, starts, side, place)}
        kind = ("exponential_histogram", what[1])
        tables.append(_identified(rows, rule, keys, what[0], kind, measured))
    whole = pa.concat_tables(tables, promote_options="default").combine_chunks()
    return whole.append_column("series_id", series_ids(whole))


def _spread(
    answer: pa.Table,
    starts: NDArray[np.int64],
    side: NDArray[np.int64],
    place: NDArray[np.int64],
) -> dict[str, Any]:
    """Histograms of runs of rows, each of which counts one bucket."""
    groups = len(starts)
    amount = numbers(answer["n"], np.int64)
    group = np.repeat(np.arange(groups), np.diff(np.append(starts, len(amount))))
    zero = np.bincount(group, np.where(side == 0, amount, 0), groups).astype(np.int64)
    full = side != 0
    owner = group[full] * 2 + (side[full] < 0)
    order = np.lexsort((place[full], owner))
    buckets = Buckets(owner[order], place[full][order], amount[full][order])
    least, most = (numbers(answer[each], np.float64) for each in ("least", "most"))
    return {
        "count": pa.array(np.add.reduceat(amount, starts).astype(np.uint64)),
        "min": pa.array(np.minimum.reduceat(least, starts)),
        "max": pa.array(np.maximum.reduceat(most, starts)),
        **exponential_columns(
            buckets,
            np.full(groups, SCALE),
            zero,
            np.zeros(groups),
            np.zeros(groups, np.bool_),
        ),
    }


def _codes(column: Any) -> NDArray[np.int64]:
    encoded = one_chunk(column).cast(pa.string()).dictionary_encode()
    return numbers(encoded.indices, np.int64, -1)


def _counts(
    rows: pa.Table,
    rule: AggregateRule,
    keys: Mapping[str, str],
    name: str,
    values: NDArray[np.float64],
) -> pa.Table:
    whole = pa.array(np.round(values).astype(np.int64))
    measured = {"value": pa.array(values), "value_int": whole}
    unit = "By" if rule.measure == "bytes" else rule.unit
    return _identified(rows, rule, keys, name, ("sum", unit), measured)


def _identified(
    rows: pa.Table,
    rule: AggregateRule,
    keys: Mapping[str, str],
    name: str,
    what: Sequence[str],
    measured: Mapping[str, Any],
) -> pa.Table:
    """Points with name, labels and times. A point stands for the time up to its own."""
    size = rows.num_rows
    begin = numbers(rows["step"], np.int64) * rule.every_ns
    said = {
        "metric_name": name,
        "metric_type": what[0],
        "unit": what[1] or None,
        "description": rule.description or None,
        "temporality": "delta",
    }
    columns: dict[str, Any] = {
        "timestamp": pa.array(begin + rule.every_ns - 1).cast(TIMESTAMP),
        "start_timestamp": pa.array(begin).cast(TIMESTAMP),
        **{
            key: pa.array([text] * size, pa.string()).dictionary_encode()
            for key, text in said.items()
        },
        **measured,
    }
    if what[0] == "sum":
        columns["is_monotonic"] = pa.array(np.ones(size, np.bool_))
    table = pa.table(columns)
    for number, column in enumerate(rule.by):
        values = one_chunk(rows[f"by{number}"]).cast(pa.string()).dictionary_encode()
        own = column.startswith((RESOURCE, SCOPE, RECORD))
        field_name = column if own else f"{RECORD}{column}"
        key = keys.get(column) or (column.partition("_")[2] if own else column)
        field = attribute_field(field_name, AttributeColumn(values, key, ("string",)))
        table = table.append_column(field, values)
    return table
