"""Count what payloads of records hold, at memory speed, before they are decoded."""

from __future__ import annotations

import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.base import Measure
from lakerunner.formats.records.delimited import sniff_delimiter
from lakerunner.formats.records.rare_keys import JSON_KEY, MOST_COLUMNS, RARITY

_RARE_PAIR = 120  # times what a pair of a usual key takes
_SAMPLES, _SAMPLE_BYTES = 4, 8192
_LOGFMT_KEY = re.compile(rb"(?:^|\s)([^\s=\"]{1,256})=")
_HEADER_BYTES = 1024 * 1024
_SNIFFED = 64 * 1024
_LINES = 20  # comments may stand above the header


def measure_text(payload: bytes) -> Measure:
    r"""Lines.

    Example:
        >>> measure_text(b"a\nb").rows
        2
    """
    return Measure(len(payload), payload.count(b"\n") + 1)


def measure_json(payload: bytes) -> Measure:
    r"""Lines, the pairs and elements in them, and keys that stand in some of them.

    Example:
        >>> found = measure_json(b'{"a": [1, 2], "b": 1}\n')
        >>> found.rows, found.values, sorted(found.columns)
        (2, 2, [b'a', b'b'])
    """
    return _keyed(payload, payload.count(b","), JSON_KEY)


def measure_logfmt(payload: bytes) -> Measure:
    r"""Lines, the pairs in them, and keys that stand in some of them.

    Example:
        >>> found = measure_logfmt(b"a=1 b=2\n")
        >>> found.rows, found.values, sorted(found.columns)
        (2, 2, [b'a', b'b'])
    """
    return _keyed(payload, payload.count(b"="), _LOGFMT_KEY)


def _keyed(payload: bytes, pairs: int, key: re.Pattern[bytes]) -> Measure:
    """Keys are looked for in some places only: those that are nowhere else get no column."""
    step = max((len(payload) - _SAMPLE_BYTES) // (_SAMPLES - 1), _SAMPLE_BYTES)
    keys: Counter[bytes] = Counter()
    rows = 0
    for start in range(0, len(payload), step):
        keys.update(key.findall(payload, start, start + _SAMPLE_BYTES))
        rows += payload.count(b"\n", start, start + _SAMPLE_BYTES)
    if len(keys) > MOST_COLUMNS:
        common = [name for name, count in keys.most_common(MOST_COLUMNS) if count * RARITY >= rows]
        pairs *= _RARE_PAIR  # each key is held as a text of its own
    else:
        common = list(keys)
    return Measure(len(payload), payload.count(b"\n") + 1, pairs, frozenset(common))


def measure_csv(payload: bytes) -> Measure:
    r"""Rows, and the columns that the header names.

    Example:
        >>> found = measure_csv(b"a;b;c\n1;2;3\n")
        >>> found.rows, sorted(found.columns)
        (3, [b'a', b'b', b'c'])
    """
    return measure_delimited(payload, sniff_delimiter(payload[:_SNIFFED]))


def measure_delimited(payload: bytes, delimiter: str) -> Measure:
    """Rows, and the columns that the header names."""
    mark = delimiter.encode()
    first = payload[:_HEADER_BYTES].split(b"\n", _LINES)[:_LINES]
    names = frozenset(max(first, key=lambda line: line.count(mark)).split(mark))
    return Measure(len(payload), payload.count(b"\n") + 1, 0, names)


def measure_parquet(payload: bytes) -> Measure:
    """Rows, columns, and the bytes they have when they are unpacked; also of an Arrow stream.

    Raises:
        CorruptObjectError: The file is broken.
    """
    source = pa.BufferReader(payload)
    try:
        if payload[:4] == b"PAR1":
            found = pq.read_metadata(source)
            groups = range(found.num_row_groups)
            size = sum(found.row_group(place).total_byte_size for place in groups)
            rows, names = found.num_rows, found.schema.names
        else:
            table = pa.ipc.open_stream(source).read_all()
            size, rows, names = table.nbytes, table.num_rows, table.column_names
    except (pa.ArrowException, OSError) as error:
        raise CorruptObjectError(f"not a whole Parquet file: {error}") from error
    return Measure(max(size, len(payload)), rows, 0, frozenset(name.encode() for name in names))
