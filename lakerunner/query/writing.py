"""Rows on their way out, batch by batch: as text or as columns, compressed or not."""

from __future__ import annotations

import os
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from lakerunner.errors import ConfigurationError, LakerunnerError
from lakerunner.limits import MIB
from lakerunner.model.report import ProgressEvent
from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakerunner.model.report import Progress

# Arrow columns as plain text columns: for a terminal, for CSV, for JSON lines.

CELL_CHARACTERS = 160
"""Characters of a cell on the terminal; the rest of a longer text is cut off."""

_ENCODER = msgspec.json.Encoder(enc_hook=str)


def flat(column: Any) -> Any:
    """The column without dictionary or view encoding; nested values become JSON text."""
    kind = column.type
    if isinstance(kind, pa.DictionaryType):
        return flat(column.cast(kind.value_type))
    if kind in {pa.string_view(), pa.large_string(), pa.null()}:
        return column.cast(pa.string())
    if kind in {pa.binary_view(), pa.large_binary()}:
        return column.cast(pa.binary())
    if pa.types.is_nested(kind):
        # Nested values are rare and have no Arrow kernel: they are written one by one.
        return pa.array(
            [
                None if value is None else _ENCODER.encode(value).decode()
                for value in column.to_pylist()
            ],
            pa.string(),
        )
    return column


def flat_batch(batch: Any) -> Any:
    """A record batch whose columns are all flat, with times as text in RFC 3339."""
    columns = (
        text(column) if pa.types.is_timestamp(column.type) else flat(column)
        for column in batch.columns
    )
    return pa.RecordBatch.from_arrays(list(columns), batch.schema.names)


def text(column: Any) -> Any:
    """The column as text, with times in RFC 3339, to the s, ms, µs or ns; NULL stays NULL."""
    column = flat(column)
    if pa.types.is_binary(column.type):
        return pa.array([v if v is None else v.hex() for v in column.to_pylist()], pa.string())
    if not pa.types.is_timestamp(column.type):
        return column.cast(pa.string())
    texts = pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1)
    texts = pc.replace_substring_regex(texts, r"(\.\d*?)(?:000)+(Z?)$", r"\1\2")
    return pc.replace_substring_regex(texts, r"\.(Z?)$", r"\1")


def cells(column: Any) -> list[str]:
    """What a terminal shows: one line each, bounded in length, and nothing that steers it."""
    texts = text(column)
    longer = pc.fill_null(pc.greater(pc.utf8_length(texts), CELL_CHARACTERS), fill_value=False)
    texts = pc.utf8_slice_codeunits(texts, 0, CELL_CHARACTERS)
    texts = pc.if_else(longer, pc.binary_join_element_wise(texts, "…", ""), texts)
    return [printable(shown) for shown in pc.fill_null(texts, "NULL").to_pylist()]


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BARE = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_floating, pa.types.is_decimal)


def json_values(column: Any) -> Any:
    """Each value as JSON: numbers and booleans bare, NULL and NaN as `null`, the rest quoted."""
    nested = pa.types.is_nested(column.type)
    column = flat(column)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
    bare = nested or any(is_kind(column.type) for is_kind in _BARE)
    texts = text(column)
    if not bare:
        for plain, escaped in _ESCAPES.items():
            texts = pc.replace_substring(texts, plain, escaped)
        if pc.any(pc.match_substring_regex(texts, r"[\x00-\x1f]")).as_py():
            rare = [
                v if v is None else _ENCODER.encode(v).decode() for v in text(column).to_pylist()
            ]
            return pc.fill_null(pa.array(rare, pa.string()), "null")
        texts = pc.binary_join_element_wise('"', texts, '"', "")
    return pc.fill_null(texts, "null")


def json_lines(batch: Any) -> bytes:
    """A record batch as JSON lines: one object a row."""
    if not batch.num_rows:
        return b""
    parts: list[Any] = []
    for position, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
        opening = "{" if position == 0 else ","
        parts += [f"{opening}{_ENCODER.encode(name).decode()}:", json_values(column)]
    lines = pc.binary_join_element_wise(*parts, "}\n", "")
    return b"".join(lines.cast(pa.binary()).to_pylist())


Target: TypeAlias = "str | os.PathLike[str] | BinaryIO"
"""Where rows go: a path, or something that takes bytes."""

_GROUP_ROWS, _GROUP_BYTES = 128 * 1024, 64 * MIB
"""A row group is written when it has so many rows, or takes so many bytes in memory."""

_STREAMS = {"gzip": ".gz", "zstd": ".zst", "bz2": ".bz2", "lz4": ".lz4"}
_CODECS = ("zstd", "snappy", "gzip", "lz4", "brotli", "none")


class Form(StrEnum):
    """What rows are written as."""

    CSV = "csv"
    JSON = "json"
    LIST = "list"
    MARKDOWN = "markdown"
    PARQUET = "parquet"
    ARROW = "arrow"


def write_rows(
    batches: Iterable[Any],
    schema: Any,
    target: Target,
    form: Form,
    *,
    compression: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Write batches as they come; never more than a row group of them is in memory.

    A path has either all rows, or what it had before: they are written beside it first.

    Args:
        batches: Arrow record batches.
        schema: Their schema; it is needed where there are no batches.
        target: A path, or something with a `write` for bytes, which is left open.
        form: As what: `json` is JSON lines, `list` one JSON list, `arrow` a stream of Arrow's IPC.
            Nested values become JSON text in CSV and Markdown, and JSON in JSON.
        compression: Of Parquet, `zstd` if not said, else `snappy`, `gzip`, `lz4`, `brotli` or
            `none`. Of the others, `gzip`, `zstd`, `bz2` or `lz4`; if not said, what the path ends
            with (`.gz`, `.zst`, `.bz2`, `.lz4`), or else none.
        progress: Called after each batch: batches, rows, and bytes as written.

    Returns:
        Rows written.

    Raises:
        ConfigurationError: There is no such compression, or the path cannot be written.
    """
    codec = _codec(target, form, compression)
    with _sink(target) as sink, _compressed(sink, form, codec) as stream:
        counted = _Counted(batches, sink, progress)
        if form is Form.PARQUET:
            _write_parquet(counted, schema, stream, codec)
        else:
            _WRITERS[form](counted, schema, stream)
    return counted.rows


class _Counted:
    """Batches that are counted as they are taken."""

    def __init__(self, batches: Iterable[Any], sink: Any, progress: Progress | None) -> None:
        self._batches = batches
        self._sink = sink
        self._progress = progress
        self.rows = 0

    def __iter__(self) -> Iterator[Any]:
        for done, batch in enumerate(self._batches, start=1):
            yield batch
            self.rows += batch.num_rows
            if self._progress is not None:
                size = self._sink.tell()
                self._progress(ProgressEvent("write", done, rows=self.rows, bytes=size))


def _codec(target: Target, form: Form, compression: str | None) -> str | None:
    said = None if compression is None else compression.lower()
    if form is Form.PARQUET:
        known: Iterable[str] = _CODECS
        said = said or "zstd"
    else:
        known = (*_STREAMS, "none")
        name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
        said = said or next((one for one, end in _STREAMS.items() if name.endswith(end)), "none")
    if said not in known:
        raise ConfigurationError(
            f"compression {compression!r} is not known for {form}; there are {', '.join(known)}",
            setting="compression",
        )
    return said


@contextmanager
def _sink(target: Target) -> Iterator[Any]:
    if not isinstance(target, str | os.PathLike):
        yield pa.PythonFile(_LeftOpen(target), "w")
        target.flush()
        return
    path = Path(target)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            with pa.OSFile(str(partial), "wb") as file:
                yield file
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except LakerunnerError:
        raise  # some are of a store, and an OSError
    except OSError as error:
        said = error.strerror or str(error)
        raise ConfigurationError(f"cannot write {path}: {said}", file=str(path)) from error


class _LeftOpen:
    """What somebody else opened, and closes: Arrow closes all that it has written to."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.closed = False

    def write(self, data: bytes) -> int:
        return self._target.write(data)

    def flush(self) -> None:
        self._target.flush()

    def close(self) -> None:
        self.closed = True


@contextmanager
def _compressed(sink: Any, form: Form, codec: str | None) -> Iterator[Any]:
    if form is Form.PARQUET or codec == "none":
        yield sink
        return
    with pa.CompressedOutputStream(sink, codec) as stream:
        yield stream


def _write_csv(batches: Iterable[Any], schema: Any, sink: Any) -> None:
    flat_schema = flat_batch(_empty(schema)).schema
    with pa.csv.CSVWriter(sink, flat_schema) as writer:
        for batch in batches:
            writer.write_batch(flat_batch(batch).cast(flat_schema))


def _write_json(batches: Iterable[Any], _: Any, sink: Any) -> None:
    for batch in batches:
        sink.write(json_lines(batch))


def _write_list(batches: Iterable[Any], _: Any, sink: Any) -> None:
    """One JSON list, with an object a line."""
    before = b"["
    for batch in batches:
        if batch.num_rows:
            sink.write(before + b"\n" + json_lines(batch).rstrip(b"\n").replace(b"\n", b",\n"))
            before = b","
    sink.write(b"[]\n" if before == b"[" else b"\n]\n")


def _write_markdown(batches: Iterable[Any], schema: Any, sink: Any) -> None:
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    right = [any(is_number(field.type) for is_number in numbers) for field in schema]
    names = [one.replace("|", "\\|").replace("\n", " ") for one in schema.names]
    rules = ["---:" if number else "---" for number in right]
    for line in (names, rules) if names else ():
        sink.write(f"| {' | '.join(line)} |\n".encode())
    for batch in batches:
        if batch.num_rows and names:
            sink.write(_markdown(batch))


def _markdown(batch: Any) -> bytes:
    parts: list[Any] = ["| "]
    for position, column in enumerate(batch.columns):
        cells = pc.fill_null(text(column), "")
        for plain, escaped in (("\\", "\\\\"), ("|", "\\|"), ("\r", " "), ("\n", "<br>")):
            cells = pc.replace_substring(cells, plain, escaped)
        parts += [" | ", cells] if position else [cells]
    lines = pc.binary_join_element_wise(*parts, " |\n", "")
    return b"".join(lines.cast(pa.binary()).to_pylist())


def _write_arrow(batches: Iterable[Any], schema: Any, sink: Any) -> None:
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


_WRITERS = {
    Form.CSV: _write_csv,
    Form.JSON: _write_json,
    Form.LIST: _write_list,
    Form.MARKDOWN: _write_markdown,
    Form.ARROW: _write_arrow,
}


def _write_parquet(batches: Iterable[Any], schema: Any, sink: Any, codec: str | None) -> None:
    with pq.ParquetWriter(sink, schema, compression=codec) as writer:
        for group in _groups(batches, schema):
            writer.write_table(group)


def _groups(batches: Iterable[Any], schema: Any) -> Iterator[Any]:
    """Batches put together, for a row group of a few rows costs as much as one of many."""
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        rows, size = sum(one.num_rows for one in held), sum(one.nbytes for one in held)
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.Table.from_batches(held, schema)
            held = []
    if held:
        yield pa.Table.from_batches(held, schema)


def _empty(schema: Any) -> Any:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
