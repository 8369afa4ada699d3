"""A query's answer on its way out: as a table, as CSV, as JSON lines or as a Parquet file."""

from __future__ import annotations

import sys
from codecs import getincrementaldecoder
from contextlib import contextmanager
from enum import StrEnum
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from lakerunner.cli.columns import cells, flat_batch, json_lines
from lakerunner.cli.screen import answers, messages
from lakerunner.errors import ConfigurationError, LakerunnerError
from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.console import Console

_LEAST_CUT = 24
"""Characters of the longest column that must be left for a table to be shown as a table."""


class Output(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def write(
    batches: Iterable[Any], schema: Any, output: Output, file: Path | None, limit: int
) -> None:
    """Write an answer, batch by batch: it is never in memory as a whole.

    Args:
        batches: Arrow record batches.
        schema: Their schema; it is needed where there are no batches.
        output: How.
        file: Where; None means stdout.
        limit: Rows of a table that are shown. The other forms are always complete.

    Raises:
        ConfigurationError: The file cannot be written, or is missing where one is needed.
    """
    if output is Output.TABLE:
        if file is not None:
            raise ConfigurationError("--file needs --output csv, json or parquet")
        _show(batches, schema, limit)
        return
    if output is Output.PARQUET and file is None:
        raise ConfigurationError("--output parquet needs --file FILE")
    with _sink(file) as sink:
        if output is Output.JSON:
            for batch in batches:
                sink.write(json_lines(batch))
        elif output is Output.CSV:
            _write_csv(batches, schema, sink)
        else:
            _write_parquet(batches, schema, sink)


@contextmanager
def _sink(file: Path | None) -> Iterator[BinaryIO]:
    """Where bytes go; a file that is not written to its end is removed."""
    if file is None:
        sys.stdout.flush()
        yield Screen(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer
        return
    opened = False
    try:
        with file.open("wb") as sink:
            opened = True
            yield sink
        opened = False
    except LakerunnerError:
        raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {file}: {error.strerror}", file=str(file)
        ) from error
    finally:
        if opened:
            file.unlink(missing_ok=True)


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


def _write_csv(batches: Iterable[Any], schema: Any, sink: BinaryIO) -> None:
    flat_schema = flat_batch(_empty(schema)).schema
    with pa.csv.CSVWriter(sink, flat_schema) as writer:
        for batch in batches:
            writer.write_batch(flat_batch(batch).cast(flat_schema))


def _write_parquet(batches: Iterable[Any], schema: Any, sink: BinaryIO) -> None:
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _empty(schema: Any) -> Any:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _show(batches: Iterable[Any], schema: Any, limit: int) -> None:
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
        messages().print(f"only the first {limit:,} rows are shown; --limit-rows shows more")


def show_table(table: Any, console: Console) -> None:
    """Print a small Arrow table; one that is too wide for the terminal is printed row by row."""
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
    label = max(map(len, names))
    for number, row in enumerate(zip(*columns, strict=True), start=1):
        console.print(f"── row {number} ".ljust(min(console.width, 60), "─"), style="dim")
        for name, cell in zip(names, row, strict=True):
            if cell != "NULL":
                console.print(
                    Text(f"{name:<{label}}  ", style="cyan").append(cell, style="default")
                )
