"""What a lake holds and what it does not: tables, columns, values, segments, what is set aside."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakerunner.cli.ingest import SET_ASIDE_EXIT, show_report
from lakerunner.cli.options import Connection, Range, Rules, Shown
from lakerunner.cli.output import Output, tell, write
from lakerunner.cli.screen import ProgressDisplay, messages, size
from lakerunner.printable import counted, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.damage import DamagedSegment
    from lakerunner.model.segment import Rejection, Segment
    from lakerunner.query import Result

TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help="logs, spans or metrics.", show_default=False)
]

_SHOWN = 1000
_EVERYTHING = 1_000_000


def _show(found: "Result", shown: Shown) -> None:
    write(found, found.schema, shown.output, shown.file, _SHOWN)
    tell(found.stats)


def tables(connection: Connection, *, shown: Shown) -> None:
    """List the tables, with what lies in them."""
    with connection.open() as opened:
        _show(opened.tables(), shown)


def describe(connection: Connection, table: TableName, *, shown: Shown) -> None:
    """List the columns of a table, with their types and the attributes that they hold."""
    with connection.open() as opened:
        _show(opened.describe(table), shown)


def attributes(connection: Connection, table: TableName, *, shown: Shown) -> None:
    """List the attributes of a table, as they were sent and as SQL has them."""
    with connection.open() as opened:
        _show(opened.attributes(table), shown)


def services(connection: Connection, *, times: Range, shown: Shown) -> None:
    """List the services that sent logs, spans or metrics."""
    with connection.open() as opened:
        _show(opened.services(times.start, times.end), shown)


def values(
    connection: Connection,
    column: Annotated[
        str, typer.Argument(metavar="COLUMN", help="A column, or the key of an attribute.")
    ],
    *,
    prefix: Annotated[
        str | None, typer.Option(help="Only those that begin so.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 1000,
    times: Range,
    shown: Shown,
) -> None:
    """List the distinct values of a column, in order."""
    with connection.open() as opened:
        found = opened.values(column, prefix=prefix, limit=limit, start=times.start, end=times.end)
        _show(found, shown)


def metrics(connection: Connection, *, times: Range, shown: Shown) -> None:
    """List the metrics: names in PromQL and as sent, types, units, descriptions."""
    with connection.open() as opened:
        _show(opened.metrics(times.start, times.end), shown)


def segments(
    connection: Connection,
    *,
    table: Annotated[str, typer.Option(help="Which table.")] = "logs",
    times: Range,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read them all, and list those that are damaged.")
    ] = False,
    set_aside: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Leave this damaged one out of all answers."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why it is set aside; told from its file if not given.")
    ] = None,
    shown: Shown,
) -> None:
    """List the segments of a table.

    Times are RFC 3339, epoch numbers, or relative such as now-15m. With --verify, the exit code is
    3 if any is damaged.
    """
    if reason and not set_aside:
        raise typer.BadParameter("--reason goes with --set-aside")
    with connection.open(read_only=set_aside is None) as opened:
        if set_aside:
            listed = opened.set_aside(set_aside, reason=reason)
            messages().print(f"set aside: {printable(listed.source.key)}: ", end="", markup=False)
            lost = counted(listed.rows or 0, "row")
            messages().print(f"{printable(listed.reason)}, {lost}", markup=False)
            return
        if verify:
            with ProgressDisplay("verify") as progress:
                damaged = opened.verify(table, times.start, times.end, progress=progress)
            _write(damage_table(damaged), shown)
            messages().print(f"{len(damaged):,} damaged", style="dim")
            raise typer.Exit(SET_ASIDE_EXIT if damaged else 0)
        found = opened.segments(table, times.start, times.end)
    listing = segment_table(found)
    if shown.output is Output.TABLE:  # as much as fits a line
        listing = _shortened(listing.select(["first", "last", "rows", "bytes", "level", "key"]))
    _write(listing, shown)
    rows, stored = sum(each.rows for each in found), sum(each.bytes for each in found)
    said = f"{counted(len(found), 'segment')}, {counted(rows, 'row')}, {size(stored)}"
    messages().print(said, style="dim")


def _write(table: Any, shown: Shown) -> None:
    write(table.to_batches(), table.schema, shown.output, shown.file, _EVERYTHING)


def _shortened(table: Any) -> Any:
    """Times to the millisecond."""
    import pyarrow as pa

    short = pa.timestamp("ms", "UTC")
    fields = [
        one.with_type(short) if pa.types.is_timestamp(one.type) else one for one in table.schema
    ]
    return table.cast(pa.schema(fields), safe=False)


def segment_table(segments: "Sequence[Segment]") -> Any:
    """Segments as an Arrow table, one a row."""
    import pyarrow as pa

    time = pa.timestamp("ns", "UTC")
    columns = {
        "window": pa.array([each.window_start_ns for each in segments], time),
        "first": pa.array([each.min_timestamp_ns for each in segments], time),
        "last": pa.array([each.max_timestamp_ns for each in segments], time),
        "rows": pa.array([each.rows for each in segments], pa.int64()),
        "bytes": pa.array([each.bytes for each in segments], pa.int64()),
        "level": pa.array([each.level for each in segments], pa.int32()),
        "id": pa.array([each.id for each in segments], pa.string()),
        "key": pa.array([each.key for each in segments], pa.string()),
    }
    return pa.table(columns)


def damage_table(damaged: "Sequence[DamagedSegment]") -> Any:
    """Damaged segments as an Arrow table, one a row."""
    import pyarrow as pa

    columns = {
        "id": pa.array([each.segment.id for each in damaged], pa.string()),
        "rows": pa.array([each.segment.rows for each in damaged], pa.int64()),
        "reason": pa.array([each.reason for each in damaged], pa.string()),
        "key": pa.array([each.segment.key for each in damaged], pa.string()),
    }
    return pa.table(columns)


def rejected(
    connection: Connection,
    *,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again to take what is set aside.")
    ] = False,
    lines: Annotated[
        bool, typer.Option("--lines", help="List each line that is set aside, with its text.")
    ] = False,
    shown: Shown,
    rules: Rules,
) -> None:
    """List the input that was set aside, with reasons.

    With --retry, try to take it again, for instance after an upgrade or under new rules; the exit
    code is 3 if some of it was set aside once more.
    """
    ownership, said = rules.ownership, rules.fields()
    if not retry and (ownership or said):
        raise typer.BadParameter("--profiles, --prefix-mapping and --mapping go with --retry")
    with connection.open(read_only=not retry, ownership=ownership) as opened:
        if retry:
            with ProgressDisplay("retry") as progress:
                report = opened.retry_rejected(mapping=said, progress=progress)
            show_report(report)
            if report.rejected or report.failed:
                raise typer.Exit(SET_ASIDE_EXIT)
            return
        table = opened.rejected_lines() if lines else rejection_table(opened.rejected())
    _write(table, shown)
    messages().print(f"{table.num_rows:,} set aside", style="dim")


def rejection_table(rejections: "Sequence[Rejection]") -> Any:
    """Rejections as an Arrow table, one a row."""
    import pyarrow as pa

    columns = {
        "at": pa.array([each.rejected_at_ns for each in rejections], pa.timestamp("ns", "UTC")),
        "code": pa.array([each.code for each in rejections], pa.string()),
        "rows": pa.array([each.rows for each in rejections], pa.int64()),
        "reason": pa.array([each.reason for each in rejections], pa.string()),
        "source": pa.array([each.source.url for each in rejections], pa.string()),
    }
    return pa.table(columns)
