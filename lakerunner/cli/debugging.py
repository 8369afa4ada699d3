"""Debugging by hand: `lakerunner show`, `replay`, `unpublish`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakerunner.cli.ingest import SET_ASIDE_EXIT
from lakerunner.cli.options import Connection, Content, Rules, Shown
from lakerunner.cli.output import Output, show_table, write
from lakerunner.cli.screen import answers, messages
from lakerunner.errors import ConfigurationError
from lakerunner.printable import counted, printable

if TYPE_CHECKING:
    from lakerunner.lake import Lake
    from lakerunner.model.segment import Segment

SegmentName = Annotated[
    str,
    typer.Argument(
        metavar="SEGMENT",
        help="Its id or its key, or how one of them begins or ends.",
        show_default=False,
    ),
]
Rows = Annotated[int, typer.Option("--rows", min=0, help="How many of its rows are shown.")]


def show(connection: Connection, segment: SegmentName, *, rows: Rows = 5, shown: Shown) -> None:
    """Show one segment: what its footer says, its columns, and its first rows.

    With an output that is no table, only the rows are written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lakerunner.segments.codec import read_description

    with connection.open() as opened:
        known = find_segment(opened, segment)
        data = opened.store.get(known.key).data
    buffer = pa.BufferReader(data)
    file = pq.ParquetFile(buffer)
    batches = file.iter_batches(batch_size=max(rows, 1))
    first = next(batches, None) if rows else None
    head = pa.Table.from_batches([] if first is None else [first], file.schema_arrow)
    if shown.output is not Output.TABLE:
        write(head.to_batches(), head.schema, shown.output, shown.file, rows)
        return
    described = read_description(pa.BufferReader(data), key=known.key, size=len(data))
    _show_description(described)
    groups = counted(file.metadata.num_row_groups, "row group")
    answers().print(f"\n{groups}; columns, as they lie in the file:\n", markup=False)
    show_table(_columns(described, file), answers())
    if rows:
        answers().print(f"\nthe first {counted(head.num_rows, 'row')}:\n", markup=False)
        show_table(head, answers())


def find_segment(lake: "Lake", name: str) -> "Segment":
    """The live segment of a lake's organization that somebody names, in whatever table.

    Raises:
        ConfigurationError: There is none, or there are several.
    """
    from lakerunner.schema.tables import TABLES

    found = {
        each.id: each
        for table in TABLES
        for each in lake.segments(table)
        if each.id.startswith(name) or each.key == name or each.key.endswith(name)
    }
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        some = ", ".join(sorted(found)[:5])
        raise ConfigurationError(f"{name!r} is not one segment but {len(found):,}: {some}, …")
    raise ConfigurationError(
        f"no live segment of '{lake.organization}' is called {name!r}; "
        "`lakerunner segments LAKE -o csv` lists them all"
    )


def _show_description(segment: "Segment") -> None:
    import pyarrow as pa
    from msgspec import json, structs

    aside = ("columns", "sources", "checksums", "filters")
    said = {
        name: value
        for name, value in structs.asdict(segment).items()
        if name not in aside and value not in ((), "", 0)
    }
    said |= {"sources": [one.url for one in segment.sources], "filters": len(segment.filters)}
    texts = {
        name: value if isinstance(value, str) else json.encode(value, enc_hook=str).decode()
        for name, value in said.items()
    }
    pair = pa.table({"in the footer": list(texts), "is": list(texts.values())})
    show_table(pair, answers())


def _columns(segment: "Segment", file: Any) -> Any:
    import pyarrow as pa

    sizes: dict[str, int] = {}
    for group in range(file.metadata.num_row_groups):
        one = file.metadata.row_group(group)
        for number in range(one.num_columns):
            chunk = one.column(number)
            name = chunk.path_in_schema.split(".")[0]
            sizes[name] = sizes.get(name, 0) + chunk.total_compressed_size
    names = file.schema_arrow.names
    stats = [segment.columns.get(name) for name in names]
    return pa.table(
        {
            "column": names,
            "type": [str(field.type) for field in file.schema_arrow],
            "nulls": pa.array([None if one is None else one.nulls for one in stats], pa.int64()),
            "min": [None if one is None or one.min is None else str(one.min) for one in stats],
            "max": [None if one is None or one.max is None else str(one.max) for one in stats],
            "bytes": pa.array([sizes.get(name, 0) for name in names], pa.int64()),
        }
    )


def unpublish(
    connection: Connection,
    segment: Annotated[
        list[str],
        typer.Argument(metavar="SEGMENT…", help="Ids or keys, or how they begin or end."),
    ],
    *,
    reason: Annotated[str, typer.Option(help="Why; `rejected` lists it.")] = "unpublished by hand",
) -> None:
    """Take segments out of all answers; their files stay, and so does a note of them.

    `lakerunner rejected` lists them, and their objects count as taken. The files are collected
    when those of other removed segments are.
    """
    with connection.open(read_only=False) as opened:
        for found in [find_segment(opened, name) for name in segment]:
            listed = opened.set_aside(found.id, reason=reason)
            rows = counted(listed.rows or 0, "row")
            messages().print(f"unpublished {found.key}: {rows}", markup=False)


def replay(
    connection: Connection,
    source: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="Objects, prefixes or globs; - is stdin."),
    ],
    *,
    content: Content,
    table: Annotated[str | None, typer.Option("--table", help="Whose rows are shown.")] = None,
    rows: Rows = 10,
    shown: Shown,
    rules: Rules,
) -> None:
    """Read input as an ingest would, and show what becomes of it; nothing is taken.

    It does not matter whether it was taken before. The rows go to a lake in memory that ends with
    the command. The exit code is 3 if some of the input cannot be taken.
    """
    import lakerunner
    from lakerunner.cli.options import read_storage_options
    from lakerunner.model.report import IngestReport
    from lakerunner.schema.tables import TABLES

    said, report = rules.fields(), IngestReport()
    options = read_storage_options(connection.storage_option)
    with lakerunner.open("memory://", storage_options=options) as tried:
        for each in source:
            report += tried.ingest(
                sys.stdin.buffer if each == "-" else each,
                signal=content.signal,
                format=content.input_format,
                mapping=said,
            )
        messages().print(f"{report}, of which nothing was taken", markup=False)
        for one in (*report.rejected, *report.failed):
            messages().print(printable(f"{one.source.url}: {one.reason}"), markup=False)
        names = [table] if table is not None else [one for one in TABLES if tried.segments(one)]
        for name in names:
            found = tried.sql(f'SELECT * FROM "{name}"', limit=rows).to_arrow()  # noqa: S608 - one of our names
            seen = [one for one in found.schema.names if found[one].null_count < found.num_rows]
            found = found.select(seen) if shown.output is Output.TABLE else found
            messages().print(f"{name}:", markup=False)
            write(found.to_batches(), found.schema, shown.output, shown.file, rows)
    if report.rejected or report.failed:
        raise typer.Exit(SET_ASIDE_EXIT)
