"""`lakerunner sql` and `lakerunner explain`."""

from pathlib import Path
from typing import Annotated

import typer

from lakerunner.cli.options import (
    CatalogUrl,
    LakeUrl,
    Organization,
    StorageOptions,
    open_lake,
    read_params,
)
from lakerunner.cli.output import Output, write
from lakerunner.cli.screen import answers, messages, size
from lakerunner.query import QueryStats, Result

Query = Annotated[str, typer.Argument(metavar="SQL", help="The query.", show_default=False)]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="How the answer is written; json is JSON lines.")
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="A value for $NAME in the query; give it once for each. JSON is read as such: 5, "
        '["a", "b"], null; anything else is text.',
        show_default=False,
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="Where it is written, if not to stdout.",
        show_default=False,
    ),
]


def sql(  # noqa: PLR0913 - each is an option of the command
    lake: LakeUrl,
    query: Query,
    *,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    param: Params = None,
    limit_rows: Annotated[
        int, typer.Option("--limit-rows", min=1, help="Rows of a table that are shown.")
    ] = 40,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Answer a SQL query over a lake: tables logs, spans, metrics.

    The answer goes to stdout, what it took to find it to stderr.
    """
    with open_lake(lake, catalog, organization, storage_option) as opened:
        result = opened.sql(query, params=read_params(param))
        write(result, result.schema, output, file, limit_rows)
        messages().print(describe(result.stats), style="dim")


def describe(stats: QueryStats) -> str:
    """One line on what a query took."""
    took = (
        f"{stats.seconds:.2f} s; {stats.segments - stats.pruned:,} of {stats.segments:,} segments "
        f"({stats.pruned:,} pruned), {size(stats.bytes_read)} and {stats.rows_scanned:,} rows read"
    )
    return "; ".join(filter(None, [took, stats.remarks]))


def explain(
    lake: LakeUrl,
    query: Query,
    *,
    param: Params = None,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run it, too, and say what it took.")
    ] = False,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Say how a SQL query would be answered: each segment kept or dropped, and why."""
    with open_lake(lake, catalog, organization, storage_option) as opened:
        said = opened.explain(query, params=read_params(param), analyze=analyze)
        answers().print(str(said), markup=False)


def trace(  # noqa: PLR0913 - each is an option of the command
    lake: LakeUrl,
    trace_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    *,
    start: Annotated[
        str | None, typer.Option(help="Only spans from this time on.", show_default=False)
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Only spans before this time.", show_default=False)
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Its log records, too.")] = False,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Show all spans of a trace as a waterfall, or write them as rows.

    With --logs and an output that is no table, only the log records are written.
    """
    with open_lake(lake, catalog, organization, storage_option) as opened:
        found = opened.trace(trace_id, start=start, end=end)
        if output is Output.TABLE:
            answers().print(repr(found), markup=False, soft_wrap=True)
            if logs:
                said = (
                    found.logs()
                    .arrow()
                    .select(["timestamp", "resource_service_name", "level", "body"])
                )
                write(said.to_batches(), said.schema, output, file, said.num_rows)
        else:
            rows: Result = found.logs() if logs else found
            write(rows, rows.schema, output, file, 0)
        messages().print(describe(found.stats), style="dim")
