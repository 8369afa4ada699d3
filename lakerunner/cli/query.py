"""`lakerunner sql`, `explain` and `trace`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lakerunner.cli.options import Connection, LimitRows, Range, Shown, read_params
from lakerunner.cli.output import Output, tell, write
from lakerunner.cli.screen import answers
from lakerunner.errors import ConfigurationError

Query = Annotated[
    str,
    typer.Argument(
        metavar="SQL",
        help="The query; - reads it from stdin, @FILE from a file.",
        show_default=False,
    ),
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


def read_query(text: str) -> str:
    """The text of a query, which may lie in a file or come from stdin.

    Raises:
        ConfigurationError: There is no such file, or it is no text.
    """
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{text[1:]}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{text[1:]} is no text: {error}") from error


def sql(
    connection: Connection,
    query: Query,
    *,
    times: Range,
    shown: Shown,
    param: Params = None,
    limit_rows: LimitRows = 40,
) -> None:
    """Answer a SQL query over a lake: tables logs, spans, metrics.

    The answer goes to stdout, what it took to find it to stderr.
    """
    text = read_query(query)
    with connection.open() as opened:
        result = opened.sql(text, params=read_params(param), start=times.start, end=times.end)
        write(result, result.schema, shown.output, shown.file, limit_rows)
        tell(result.stats)


def explain(
    connection: Connection,
    query: Query,
    *,
    param: Params = None,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run it, too, and say what it took.")
    ] = False,
) -> None:
    """Say how a SQL query would be answered: each segment kept or dropped, and why."""
    text = read_query(query)
    with connection.open() as opened:
        said = opened.explain(text, params=read_params(param), analyze=analyze)
        answers().print(str(said), markup=False)


def trace(
    connection: Connection,
    trace_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    *,
    times: Range,
    logs: Annotated[bool, typer.Option("--logs", help="Its log records, too.")] = False,
    shown: Shown,
) -> None:
    """Show all spans of a trace as a waterfall, or write them as rows.

    With --logs and an output that is no table, only the log records are written.
    """
    with connection.open() as opened:
        found = opened.trace(trace_id, start=times.start, end=times.end)
        if shown.output is Output.TABLE:
            answers().print(repr(found), markup=False, soft_wrap=True)
            if logs:
                names = ["timestamp", "resource_service_name", "level", "body"]
                said = found.logs().arrow().select(names)
                write(said.to_batches(), said.schema, shown.output, shown.file, said.num_rows)
        else:
            rows: Any = found.logs() if logs else found
            write(rows, rows.schema, shown.output, shown.file, 0)
        tell(found.stats)
