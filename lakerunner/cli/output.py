"""A query's answer on its way out: as a table on the screen, or in any of the forms of a file."""

from __future__ import annotations

import sys
from codecs import getincrementaldecoder
from enum import StrEnum
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

from lakerunner.cli.screen import answers, messages, size
from lakerunner.errors import ConfigurationError
from lakerunner.printable import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from lakerunner.query import QueryStats

_LEAST_CUT = 24
"""Characters of the longest column that must be left for a table to be shown as a table."""


class Output(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    MARKDOWN = "markdown"
    PARQUET = "parquet"
    ARROW = "arrow"


_BINARY = (Output.PARQUET, Output.ARROW)


def write(
    batches: Iterable[Any], schema: Any, output: Output, file: Path | None, limit: int
) -> None:
    """Write an answer, batch by batch: it is never in memory as a whole.

    Args:
        batches: Arrow record batches.
        schema: Their schema; it is needed where there are no batches.
        output: How.
        file: Where; None and `-` mean stdout.
        limit: Rows of a table that are shown. The other forms are always complete.

    Raises:
        ConfigurationError: The file cannot be written, or the terminal is to show what is no text.
    """
    to_stdout = file is None or str(file) == "-"
    if output is Output.TABLE:
        if not to_stdout:
            forms = ", ".join(one for one in Output if one is not Output.TABLE)
            raise ConfigurationError(f"--file needs another --output: {forms}")
        _show(batches, schema, limit)
        return
    from lakerunner.query.writing import Form, write_rows

    form = {Output.JSON: Form.LIST, Output.JSONL: Form.JSON}.get(output) or Form(output.value)
    if not to_stdout:
        write_rows(batches, schema, str(file), form)
        return
    if output in _BINARY and sys.stdout.isatty():
        raise ConfigurationError(
            f"--output {output} is no text for a terminal: add --file FILE, or pipe it on"
        )
    sys.stdout.flush()
    stdout = Screen(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer
    write_rows(batches, schema, stdout, form)


def tell(stats: QueryStats) -> None:
    """Say what a query took, beside its answer."""
    messages().print(described(stats), style="dim")


def described(stats: QueryStats) -> str:
    """One line on what a query took."""
    took = (
        f"{stats.seconds:.2f} s; {stats.segments - stats.pruned:,} of "
        f"{counted(stats.segments, 'segment')} ({stats.pruned:,} pruned), "
        f"{size(stats.bytes_read)} and {counted(stats.rows_scanned, 'row')} read"
    )
    return "; ".join(filter(None, [took, stats.remarks]))


class Screen(BytesIO):
    """A terminal that takes the bytes of a text file: what would steer it is written as an escape.

    A text is cut into pieces anywhere, so what is no whole character yet waits for the next piece.

    Args:
        terminal: Where it is shown.
    """

    def __init__(self, terminal: BinaryIO) -> None:
        super().__init__()
        self._terminal = terminal
        self._decoder = getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: Any, /) -> int:
        """Show a piece."""
        piece = bytes(data)
        self._terminal.write(printable(self._decoder.decode(piece), lines=True).encode())
        return len(piece)


def _show(batches: Iterable[Any], schema: Any, limit: int) -> None:
    import pyarrow as pa

    shown = []
    missing = limit
    more = False
    for batch in batches:
        more = batch.num_rows > missing
        shown.append(batch.slice(0, missing))
        missing -= shown[-1].num_rows
        if more:
            break
    show_table(pa.Table.from_batches(shown, schema), answers())
    if more:
        said = counted(limit, "row")
        verb = "is" if limit == 1 else "are"
        messages().print(f"only the first {said} {verb} shown; --limit-rows shows more")


def show_table(table: Any, console: Console) -> None:
    """Print a small Arrow table; one that is too wide for the terminal is printed row by row."""
    import pyarrow as pa
    from rich.table import Table
    from rich.text import Text

    from lakerunner.query.writing import cells

    names = [printable(name) for name in table.schema.names]
    columns = [cells(column.combine_chunks()) for column in table.columns]
    widths = _widths(names, columns, console.width)
    if widths is None and table.num_rows:
        _show_rows(names, columns, console)
        return
    grid = Table()
    for position, field in enumerate(table.schema):
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        grid.add_column(
            Text(names[position]),
            justify="right" if numeric else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=widths[position] if widths else None,
        )
    for row in zip(*columns, strict=True):
        grid.add_row(*map(Text, row))
    console.print(grid, soft_wrap=False)


def _widths(names: list[str], columns: list[list[str]], available: int) -> list[int] | None:
    """Width of each column, with the widest one cut to what is left; None if that is too little."""
    from rich.cells import cell_len

    if not names:
        return []
    widths = [
        max(map(cell_len, [name, *column])) for name, column in zip(names, columns, strict=True)
    ]
    excess = sum(widths) + 3 * len(widths) + 1 - available  # a rule and two blanks for each column
    if excess > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        widths[widest] -= excess
        if widths[widest] < max(_LEAST_CUT, cell_len(names[widest])):
            return None
    return widths


def _show_rows(names: list[str], columns: list[list[str]], console: Console) -> None:
    from rich.text import Text

    label = max(map(len, names))
    for number, row in enumerate(zip(*columns, strict=True), start=1):
        console.print(f"── row {number} ".ljust(min(console.width, 60), "─"), style="dim")
        for name, cell in zip(names, row, strict=True):
            if cell != "NULL":
                console.print(
                    Text(f"{name:<{label}}  ", style="cyan").append(cell, style="default")
                )
