"""`lakerunner promql`."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakerunner.cli.options import Connection, LimitRows, Shown
from lakerunner.cli.output import tell, write
from lakerunner.cli.query import read_query
from lakerunner.cli.screen import answers, messages
from lakerunner.printable import printable

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.text import Text

_MARKS = "abcdefghijkl"
"""One for each line; as many are drawn at most."""

_WIDTH, _HEIGHT = 100, 22
_TICKS = 6


def promql(  # noqa: PLR0913 - each is an option of the command
    connection: Connection,
    query: Annotated[
        str,
        typer.Argument(
            metavar="PROMQL",
            help="The expression; - reads it from stdin, @FILE from a file.",
            show_default=False,
        ),
    ],
    *,
    at: Annotated[
        str | None,
        typer.Option("--time", "-t", help="Evaluate at this time only; now by default."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", "-s", help="Evaluate from here, such as now-1h.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--end", "-e", help="To here; now where --start is given.")
    ] = None,
    step: Annotated[
        str | None,
        typer.Option("--step", help="So often, such as 30s; a hundredth of the range by default."),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw the answer of a range in the terminal.")
    ] = False,
    shown: Shown,
    limit_rows: LimitRows = 40,
) -> None:
    """Answer a PromQL expression over the metrics of a lake.

    The answer goes to stdout; warnings and what it took to find it go to stderr.
    """
    times: dict[str, Any] = {"time": at}
    if start is not None or end is not None or step is not None:
        times |= {"start": start, "end": end or "now", "step": step}
    query = read_query(query)
    with connection.open() as opened:
        if start is not None and step is None:
            times["step"] = _step(start, end or "now")
        result = opened.promql(query, **times)
        if plot:
            answers().print(draw(result.to_arrow(), query))
        else:
            write(result, result.schema, shown.output, shown.file, limit_rows)
        for note in (*result.warnings, *result.infos):
            messages().print(note, markup=False, style="yellow")
        tell(result.stats)


def _step(start: str, end: str) -> float:
    """A step that gives about a hundred samples: whole seconds, at least one."""
    from lakerunner.model.times import to_nanoseconds

    now_ns = time.time_ns()
    span = to_nanoseconds(end, now_ns=now_ns) - to_nanoseconds(start, now_ns=now_ns)
    return float(max(1, span // 100_000_000_000))


def draw(table: "pa.Table", title: str) -> "Text":
    """A line for each series of a range, at most a dozen of them.

    Args:
        table: Rows as `Lake.promql` returns them.
        title: What stands above.
    """
    import plotext
    import pyarrow as pa
    import pyarrow.compute as pc
    from rich.text import Text

    if "histogram" in table.schema.names:
        table = table.filter(pc.is_null(table["histogram"]))
    if not table.num_rows:
        return Text("nothing to draw")
    labels = _labels(table)
    names = labels.unique().to_pylist()
    seconds = pc.divide(pc.divide(table["timestamp"].cast(pa.int64()), 1_000_000), 1000.0)
    figure = plotext.figure
    figure.clear()  # plotext keeps one figure for the whole process
    figure.theme("colorless")
    for mark, name in zip(_MARKS, names, strict=False):
        mine = pc.equal(labels, name)
        x, y = seconds.filter(mine).to_pylist(), table["value"].filter(mine).to_pylist()
        line = figure.signal(x, y, marker=mark)
        line.lines()
        line.label(printable(name))
        figure.draw(line)
    figure.plot_size(min(answers().width, _WIDTH), _HEIGHT)
    more = len(names) - len(_MARKS)
    figure.title(printable(title) + (f" (and {more} more series)" if more > 0 else ""))
    low, high = pc.min(seconds).as_py(), pc.max(seconds).as_py()
    places = [low + (high - low) * tick / (_TICKS - 1) for tick in range(_TICKS)]
    stamps = pa.array([round(one) for one in places]).cast(pa.timestamp("s"))
    clock = pc.utf8_slice_codeunits(stamps.cast(pa.string()), 11)
    figure.ruler("x").ticks(places, clock.to_pylist())
    drawn = Text.from_ansi(str(figure.build()))
    figure.clear()
    return drawn


def _labels(table: "pa.Table") -> "pa.ChunkedArray":
    """The labels of each row as one text; of a row without labels, an empty one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    names = [one for one in table.schema.names if one not in ("timestamp", "value", "histogram")]
    for name in names:
        part = pc.binary_join_element_wise(name, table[name], "=")
        # Not with `null_handling="skip"`, which leaves out rows where all parts are NULL.
        texts = pc.coalesce(pc.binary_join_element_wise(texts, part, " "), texts, part)
    return texts.fill_null("" if names else "value")
