"""Arrow columns as plain text columns: for a terminal, for CSV, for JSON lines."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.printable import printable

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
