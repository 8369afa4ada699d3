"""The table of all input formats: their names, file suffixes and content types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.formats.otlp.json import OtlpJson
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.formats.records.delimited import read_delimited, read_sniffed, split_sniffed
from lakerunner.formats.records.delimited_split import split_delimited
from lakerunner.formats.records.formats import (
    RecordFormat,
    head_of,
    looks_like_csv,
    looks_like_json,
    looks_like_parquet,
    looks_like_text,
    looks_like_tsv,
    measure_csv,
    measure_delimited,
    measure_json,
    measure_logfmt,
    measure_parquet,
    measure_text,
)
from lakerunner.formats.records.json_lines import read_json_lines
from lakerunner.formats.records.json_structure import split_json
from lakerunner.formats.records.lines import split_lines
from lakerunner.formats.records.logfmt import looks_like_logfmt, read_logfmt
from lakerunner.formats.records.parquet import parquet_sample, read_parquet, split_parquet
from lakerunner.formats.records.text import read_text, split_text
from lakerunner.formats.records.w3c import looks_like_w3c, measure_w3c, read_w3c, split_w3c

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from lakerunner.formats.base import Format, Measure, Part
    from lakerunner.formats.records.lines import Records


def _split_tsv(blocks: Iterable[bytes], limit: int, longest: int) -> Iterator[Part]:
    return split_delimited(blocks, limit, "\t", longest)


def _read_tsv(payloads: Sequence[bytes]) -> Records:
    return read_delimited(payloads, "\t")


def _never(head: bytes) -> bool:
    del head  # only named: an Arrow stream has no mark of its own
    return False


def _measure_tsv(payload: bytes) -> Measure:
    return measure_delimited(payload, "\t")


def _json_sample(payload: bytes) -> pa.Table:
    return read_json_lines([head_of(payload)]).table


def _csv_sample(payload: bytes) -> pa.Table:
    return read_sniffed([head_of(payload)]).table


def _tsv_sample(payload: bytes) -> pa.Table:
    return _read_tsv([head_of(payload)]).table


def _logfmt_sample(payload: bytes) -> pa.Table:
    return read_logfmt([head_of(payload)]).table


def _w3c_sample(payload: bytes) -> pa.Table:
    return read_w3c([head_of(payload)]).table


def _text_sample(payload: bytes) -> pa.Table:
    return read_text([head_of(payload)]).table


_JSON = RecordFormat(
    "json",
    split_json,
    read_json_lines,
    looks_like_json,
    _json_sample,
    measure_json,
    # Whatever the layout of an object, each record of a part has a line of its own: to look at a
    # part anew would take lines that are broken for a document without an end.
    splitter_again=split_lines,
)
_LOGFMT = RecordFormat(
    "logfmt", split_lines, read_logfmt, looks_like_logfmt, _logfmt_sample, measure_logfmt
)
_CSV = RecordFormat("csv", split_sniffed, read_sniffed, looks_like_csv, _csv_sample, measure_csv)
_TSV = RecordFormat("tsv", _split_tsv, _read_tsv, looks_like_tsv, _tsv_sample, _measure_tsv)
_W3C = RecordFormat("w3c", split_w3c, read_w3c, looks_like_w3c, _w3c_sample, measure_w3c)
_TEXT = RecordFormat(
    "text", split_text, read_text, looks_like_text, _text_sample, measure_text, lines=True
)
_PARQUET = RecordFormat(
    "parquet",
    split_parquet,
    read_parquet,
    looks_like_parquet,
    parquet_sample,
    measure_parquet,
    apart=True,
)
_ARROW = RecordFormat(
    "arrow", split_parquet, read_parquet, _never, parquet_sample, measure_parquet, apart=True
)

FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        _PARQUET,
        OtlpJson(),
        _JSON,
        OtlpProtobuf(),
        _W3C,
        _LOGFMT,
        _TSV,
        _CSV,
        _TEXT,
        _ARROW,
    )
}
"""Every input format by name, in the order in which content is tried against them."""

_JSONS = ("otlp-json", "json")
_TEXTS = (*_JSONS, "w3c", "logfmt", "text")
BY_SUFFIX: dict[str, tuple[str, ...]] = {
    "binpb": ("otlp-protobuf",),
    "pb": ("otlp-protobuf",),
    "proto": ("otlp-protobuf",),
    "otlp": ("otlp-protobuf", "otlp-json"),
    "json": _JSONS,
    "jsonl": _JSONS,
    "ndjson": _JSONS,
    "csv": (*_JSONS, "csv"),
    "tsv": (*_JSONS, "w3c", "tsv"),
    "tab": (*_JSONS, "tsv"),
    "parquet": ("parquet",),
    "arrows": ("arrow",),
    "logfmt": ("logfmt",),
    "log": _TEXTS,
    "txt": _TEXTS,
    "text": _TEXTS,
}
"""Formats that a suffix may mean; the last one if the content does not tell."""

BY_CONTENT_TYPE: dict[str, tuple[str, ...]] = {
    "application/x-protobuf": ("otlp-protobuf",),
    "application/protobuf": ("otlp-protobuf",),
    "application/json": _JSONS,
    "application/x-ndjson": _JSONS,
    "application/jsonl": _JSONS,
    "text/csv": ("csv",),
    "text/tab-separated-values": ("tsv",),
    "application/vnd.apache.parquet": ("parquet",),
    "application/vnd.apache.arrow.stream": ("arrow",),
    "text/plain": _TEXTS,
}
"""Formats that a media type may mean, as `BY_SUFFIX`."""
