"""Read text in rows of delimited fields, with a header: CSV, TSV and the like."""

from __future__ import annotations

import csv
import io
import re
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv

from lakerunner.errors import CorruptObjectError, ErrorCode
from lakerunner.formats.records.delimited_split import (
    PREAMBLE,
    above_header,
    header_of,
    quoted_columns,
    row_ends,
    split_delimited,
)
from lakerunner.formats.records.lake_rows import distinct
from lakerunner.formats.records.lines import Records, valid_text
from lakerunner.formats.records.plain_types import tables_together
from lakerunner.formats.records.text_types import typed_columns
from lakerunner.limits import OBJECT_BYTES
from lakerunner.schema.tables import SetAside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.formats.base import Part

_DELIMITERS = ",\t;|"
_LOOKED_AT = 20
_SNIFFED = 64 * 1024  # less than what the csv module takes for one field
_NAME, _SPACES = 64, 2  # characters of a name, and spaces in it, at most
_SEPARATOR = re.compile(rb"\s*(?:#[^\n]*\n\s*)*+sep=(.)\r?(?:\n|$)")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?|\d{1,2}/\d{1,2}/\d{2,4}(?: .*)?|\d{9,}(?:\.\d+)?")
_YEAR = re.compile(r"(?:19|20)\d{2}")
_FIGURE = re.compile(r"[+-]?\d+(?:\.\d+)?")
_UNCLOSED = "a quote is not closed"
_NEWLINE, _RETURN = b"\n\r"


def sniff_delimiter(head: bytes) -> str:
    r"""Tell which of comma, tab, semicolon and pipe separates the fields.

    It is the one that stands equally often in each of the first lines, and most often; a comma
    where none does.

    Args:
        head: The first bytes of an object.

    Example:
        >>> sniff_delimiter(b"time;value\n1,5;2,5\n"), sniff_delimiter(b"message\n")
        (';', ',')
    """
    counts: dict[str, list[int]] = {}
    head = head[:_SNIFFED].removeprefix(b"\xef\xbb\xbf")
    said = _SEPARATOR.match(head)
    if said:
        return said[1].decode(errors="replace")
    above = PREAMBLE.match(head)
    text = head[above.end() if above else 0 :].decode(errors="replace")
    whole, _, _ = text.rpartition("\n")
    for delimiter in _DELIMITERS:
        rows = csv.reader(io.StringIO(whole or text, newline=None), delimiter=delimiter)
        counts[delimiter] = [len(row) for row in islice(rows, _LOOKED_AT) if row]
    widths = {delimiter: sizes[0] if sizes else 1 for delimiter, sizes in counts.items()}
    alike = [mark for mark, sizes in counts.items() if len(set(sizes)) == 1 and widths[mark] > 1]
    return max(alike or widths, key=lambda delimiter: widths[delimiter])


class _Table(NamedTuple):
    table: pa.Table
    wrong: list[tuple[int, str]]
    """Numbers of lines, and what is wrong with them."""

    quoted: frozenset[str] = frozenset()
    """Names of columns in which a value stands in quotes."""


def read_delimited(payloads: Sequence[bytes], delimiter: str = ",") -> Records:
    r"""Read rows of delimited fields; the first row of each payload names the columns.

    Columns are int64, double or bool (`true`, `false`) where all their values are written as these
    are, and text otherwise; text that looks like a time, `007`, `+1`, `1.10` and what stands in
    quotes stay text. Empty
    fields are NULL. The second column of a name is `name#2`; a third column without a name is
    `column_3`. Payloads may have different headers.

    Args:
        payloads: Text; blank rows are passed over.
        delimiter: One ASCII character.

    Returns:
        The rows. Rows with another number of fields than the header are set aside.

    Raises:
        CorruptObjectError: The first row is a record: one of its fields is a time or a number.
        ObjectTooLargeError: A payload takes more than 2 GiB.

    Example:
        >>> records = read_delimited([b"a,b\n1,x\n2\n", b"b,c\n,true\n"])
        >>> records.table.to_pylist()
        [{'a': 1, 'b': 'x', 'c': None}, {'a': None, 'b': None, 'c': True}]
        >>> records.set_aside[0].lines, records.set_aside[0].reason
        ((3,), '1 field where the header has 2')
    """
    parts = [_read_texts(valid_text(payload), delimiter) for payload in payloads]
    rows = [part.table.num_rows for part in parts]
    tables = [part.table for part in parts] or [pa.table({})]
    whole = pa.concat_tables(tables, promote_options="default")
    payload = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
    table, alike = typed_columns(
        {name: _one_chunk(whole.column(name)) for name in whole.column_names},
        payload,
        frozenset(name for part in parts for name in part.quoted),
        empty=False,
    )
    asides = (aside for place, part in enumerate(parts) for aside in _asides(place, part.wrong))
    return Records(table, payload, tuple(asides), alike)


def _one_chunk(column: Any) -> Any:
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks or [pa.array([], pa.string())])
    )


def _asides(payload: int, wrong: list[tuple[int, str]]) -> Iterator[SetAside]:
    by_reason: dict[str, list[int]] = {}
    for line, reason in sorted(wrong):
        by_reason.setdefault(reason, []).append(line)
    for reason, lines in by_reason.items():
        yield SetAside(payload, tuple(lines), len(lines), ErrorCode.CORRUPT_OBJECT, reason)


def column_names(header: bytes, delimiter: str) -> list[str]:
    """Name the columns, each differently.

    Example:
        >>> column_names(b"a,,a", ",")
        ['a', 'column_2', 'a#2']
    """
    text = header.decode()
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:  # a name of more than 128 KiB
        rows = [text.split(delimiter)]
    given = [name.strip() for row in rows for name in row]
    return distinct([name or f"column_{place}" for place, name in enumerate(given, start=1)])


def _read_texts(data: bytes, delimiter: str) -> _Table:
    """Read one payload with all columns as text."""
    written, data = data, _one_kind_of_newline(data, delimiter)
    header = header_of(data, delimiter, whole=True)
    if not header:
        header = data
    body = data[len(header) :]
    titles = header[above_header(data, delimiter) :].strip(b"\r\n").removeprefix(b"#")
    names = column_names(titles, delimiter)
    empty = pa.table({name: pa.array([], pa.string()) for name in names})
    if not body.strip(b"\r\n " if delimiter == "\t" else None):
        _check_header(names, [])
        return _Table(empty, [])
    wrong: list[tuple[int, str]] = []
    quoted: frozenset[str] = frozenset()
    if b'"' in body:
        body, unclosed = _without_unclosed(body, delimiter)
        places = np.array(unclosed, np.int64) + len(header)
        wrong += [(line, _UNCLOSED) for line in _lines_at(written, places)]
        quoted = frozenset(names[place] for place in quoted_columns(body, delimiter, len(names)))
    ragged: list[tuple[int, int]] = []

    def note(row: pv.InvalidRow) -> str:
        ragged.append((row.number, row.actual_columns))
        return "skip"

    table = pv.read_csv(
        pa.BufferReader(body),
        read_options=pv.ReadOptions(
            use_threads=False, block_size=len(body) + 1, column_names=names
        ),
        parse_options=pv.ParseOptions(
            delimiter=delimiter, newlines_in_values=b'"' in body, invalid_row_handler=note
        ),
        convert_options=pv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            check_utf8=False,
        ),
    )
    if ragged:
        places = _row_starts(body, delimiter, [number for number, _ in ragged])
        lines = _lines_at(written, places + len(header))
        for line, (_, fields) in zip(lines, ragged, strict=True):
            count = "1 field" if fields == 1 else f"{fields} fields"
            wrong.append((line, f"{count} where the header has {len(names)}"))
    _check_header(names, [column[0].as_py() for column in table.columns if table.num_rows])
    return _Table(table, wrong, quoted)


def _check_header(names: list[str], first: list[str | None]) -> None:
    """Raise an error where the first line is a record: it would be lost as the names of columns."""
    kinds = [_kind(name) for name in names]
    if "time" in kinds:
        said = f"{names[kinds.index('time')]!r} is a time"
    elif "figure" in kinds and (not first or kinds == [_kind(cell or "") for cell in first]):
        said = f"{names[kinds.index('figure')]!r} is a number"
    elif not first and any(len(name) > _NAME or name.count(" ") > _SPACES for name in names):
        said = "it is the only one, and reads like a record"
    else:
        return
    raise CorruptObjectError(
        f"the first line is no header: {said}. Put the names of the columns above it, or take "
        "the lines as they are with format='text'"
    )


def _kind(cell: str) -> str:
    """What a field of the first line looks like; years are names of columns, too."""
    if _TIME.fullmatch(cell):
        return "time"
    return "figure" if _FIGURE.fullmatch(cell) and not _YEAR.fullmatch(cell) else "word"


def _one_kind_of_newline(data: bytes, delimiter: str) -> bytes:
    """Put a newline for each carriage return that ends a row by itself, as Arrow reads it."""
    if b"\r" not in data:
        return data
    values = np.frombuffer(data, np.uint8)
    returns = np.flatnonzero(values == _RETURN)
    returns = returns[np.append(values, _NEWLINE)[returns + 1] != _NEWLINE]
    if not len(returns):
        return data
    ended = values.copy()
    ended[returns] = _NEWLINE
    text = ended.tobytes()
    ends = row_ends(text, delimiter).places if b'"' in data else returns
    ended = values.copy()
    ended[np.intersect1d(returns, ends)] = _NEWLINE
    return ended.tobytes()


def _row_starts(body: bytes, delimiter: str, rows: list[int]) -> Any:
    """Where some rows begin; they count from 1, and blank rows do not count."""
    values = np.frombuffer(body, np.uint8)
    ends = row_ends(body, delimiter).places
    starts = np.concatenate([[0], ends + 1])
    starts = starts[starts < len(body)]
    first = values[starts]
    blank = (first == _NEWLINE) | (first == _RETURN)
    return starts[~blank][np.array(rows) - 1]


def _lines_at(data: bytes, places: Any) -> list[int]:
    """The numbers of the lines in which some places lie."""
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
    return [int(line) for line in np.searchsorted(newlines, places) + 1]


def _without_unclosed(body: bytes, delimiter: str) -> tuple[bytes, list[int]]:
    """Blank out lines with a quote that nothing closes: it would swallow what comes behind.

    Returns:
        The text, and where these lines begin.
    """
    places = row_ends(body, delimiter).unclosed
    if not places:
        return body, []
    values = np.frombuffer(body, np.uint8).copy()
    newlines = np.flatnonzero(values == _NEWLINE)
    starts = np.concatenate([[0], newlines + 1])
    ends = np.concatenate([newlines, [len(body)]])
    lines = (np.searchsorted(starts, places, "right") - 1).tolist()
    for line in lines:
        values[starts[line] : ends[line]] = _RETURN  # an empty row to Arrow
    return values.tobytes(), [int(starts[line]) for line in lines]


# Delimited text of which the delimiter is not known: each object's own is told from its header.

_HEAD_BYTES = 64 * 1024


def split_sniffed(
    blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES
) -> Iterator[Part]:
    """Cut delimited text between rows; see `split_delimited`."""
    rest = iter(blocks)
    first = next(rest, b"")
    delimiter = sniff_delimiter(first[:_HEAD_BYTES])
    return split_delimited(chain([first], rest), limit, delimiter, longest)


def read_sniffed(payloads: Sequence[bytes]) -> Records:
    r"""Read rows of fields that are delimited in one way in each payload; see `read_delimited`.

    Example:
        >>> read_sniffed([b"a,b\n1,x\n", b"a;b\n2;y\n"]).table.to_pylist()
        [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]
    """
    delimiters = [sniff_delimiter(payload[:_HEAD_BYTES]) for payload in payloads]
    if len(set(delimiters)) <= 1:
        return read_delimited(payloads, delimiters[0] if delimiters else ",")
    read, asides, owners, begin = [], [], [], 0
    for delimiter, run in groupby(delimiters):
        count = len(list(run))
        part = read_delimited(payloads[begin : begin + count], delimiter)
        read.append(part.table)
        owners.append(part.payload + np.int32(begin))
        asides += [aside._replace(payload=aside.payload + begin) for aside in part.set_aside]
        begin += count
    return Records(tables_together(read), np.concatenate(owners), tuple(asides), alike=False)
