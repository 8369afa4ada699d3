"""Formats of records, each a splitter and a reader, as the rest of the library knows formats."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakerunner.errors import ConfigurationError, CorruptObjectError
from lakerunner.formats.base import Measure
from lakerunner.formats.records.adopt import adopt, signal_of
from lakerunner.formats.records.delimited import sniff_delimiter
from lakerunner.formats.records.grouping import alike, grouped
from lakerunner.formats.records.json_lines import rows_between, without_text
from lakerunner.formats.records.json_read import JSON_KEY, MOST_COLUMNS, RARITY
from lakerunner.formats.records.platforms import may_be_wrapped, wrapper_of
from lakerunner.formats.records.text import apply_pattern
from lakerunner.limits import OBJECT_BYTES
from lakerunner.model.signal import Signal
from lakerunner.schema.tables import TABLE_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lakerunner.formats.base import Format, Part
    from lakerunner.formats.records.json_lines import TextRows
    from lakerunner.formats.records.lines import Records
    from lakerunner.model.profile import SourceMapping
    from lakerunner.schema.tables import Decoded

# Count what payloads of records hold, at memory speed, before they are decoded.

_RARE_PAIR = 120  # times what a pair of a usual key takes
_SAMPLES, _SAMPLE_BYTES = 4, 8192
_LOGFMT_KEY = re.compile(rb"(?:^|\s)([^\s=\"]{1,256})=")
_HEADER_BYTES = 1024 * 1024
_SNIFFED = 64 * 1024


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


# Take records out of the lists that objects wrap them in.


def unwrap(records: Records, key: str) -> Records:
    """Records out of a list inside of an object; what stands beside the list is kept for each.

    An object without the list, among others that have it, is a record itself. One whose list is
    empty holds no record. A field that stands in and beside the list is `name#2` of the two.

    Args:
        records: Objects of one payload.
        key: The field that holds the list.

    Raises:
        CorruptObjectError: There are objects and none of these lists.

    Example:
        >>> from lakerunner.formats.records.lines import Records
        >>> objects = pa.table({"a": ["x", "y"], "all": [[{"b": 1}, {"b": 2}], None]})
        >>> unwrap(Records(objects, np.zeros(2, np.int32)), "all").table.to_pylist()
        [{'b': 1, 'a': 'x'}, {'b': 2, 'a': 'x'}, {'b': None, 'a': 'y'}]
    """
    table = records.table
    if not table.num_rows:
        return records
    said = f"field {key!r}, which the mapping names for 'rows',"
    if key not in table.column_names:
        raise CorruptObjectError(f"{said} is not there")
    lists = table[key].combine_chunks()
    if not pa.types.is_list(lists.type) or not pa.types.is_struct(lists.type.value_type):
        raise CorruptObjectError(f"{said} is no list of objects")
    present = np.asarray(lists.is_valid())
    if not present.any():
        raise CorruptObjectError(f"{said} is not there")
    lengths = np.where(present, pc.fill_null(pc.list_value_length(lists), 0), 1)
    owners = np.repeat(np.arange(len(lists)), lengths)
    elements = pc.list_flatten(lists)
    places = np.cumsum(present[owners]) - 1
    indices = pa.array(places, pa.int64(), mask=~present[owners])
    inner = pa.Table.from_struct_array(elements.take(indices))
    outer = table.drop_columns([key]).take(pa.array(owners))
    for name in outer.column_names:
        unique, turn = name, 1
        while unique in inner.column_names or (turn > 1 and unique in outer.column_names):
            turn += 1
            unique = f"{name}#{turn}"
        inner = inner.append_column(outer.schema.field(name).with_name(unique), outer[name])
    return records._replace(table=inner.combine_chunks(), payload=records.payload[owners])


_HEAD_BYTES = 64 * 1024
_COLUMNS = frozenset(name for table in TABLE_OF.values() for name in table.schema.names)


@dataclass(frozen=True, eq=False)
class RecordFormat:
    """A format whose objects are records of named fields.

    Attributes:
        name: What users call it.
        splitter: Cuts objects; see `Format.split`.
        reader: Reads payloads.
        recognise: Whether the beginning of an object, which is not empty, looks like this format.
        measurer: Counts what a payload holds; see `Format.measure`.
        sample: Reads a few records of a payload, to tell the signal.
        certain: Names of fields tell the signal, which is not beyond doubt.
        lines: Records are lines of text, to be taken apart by patterns.
        apart: Each payload is read by itself in any case.
        mapping: What the user says of the records.
        splitter_again: Cuts parts once more, where these are not cut as objects are.
    """

    name: str
    splitter: Callable[[Iterable[bytes], int, int], Iterator[Part]]
    reader: Callable[[Sequence[bytes]], Records]
    recognise: Callable[[bytes], bool]
    sample: Callable[[bytes], pa.Table]
    measurer: Callable[[bytes], Measure] = measure_text
    certain: bool = False
    lines: bool = False
    apart: bool = False
    mapping: SourceMapping | None = None
    splitter_again: Callable[[Iterable[bytes], int, int], Iterator[Part]] | None = None

    def mapped(self, mapping: SourceMapping) -> RecordFormat:
        """The same format, reading by a mapping; see `Format.mapped`.

        Raises:
            ConfigurationError: No table has a column that the mapping fills.
        """
        unknown = mapping.columns.keys() - _COLUMNS
        if unknown:
            raise ConfigurationError(
                f"mapping: there is no column {min(unknown)!r} in logs, spans or metrics; "
                "'attributes' gives fields names of their own",
                columns=sorted(unknown),
            )
        return replace(self, mapping=mapping)

    def recognises(self, head: bytes) -> bool:
        """Whether the beginning of an object is of this format; see `Format.recognises`."""
        return bool(head) and self.recognise(head)

    def split(
        self, blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut an object between records; see `Format.split`."""
        return self.splitter(blocks, limit, longest)

    def measure(self, payload: bytes, signal: Signal) -> Measure:
        """Count records and their fields; see `Format.measure`."""
        del signal
        found = self.measurer(payload)
        wrapped = self.mapping is not None and self.mapping.rows is not None
        if wrapped or may_be_wrapped(payload):
            return found._replace(rows=found.rows + found.values)  # elements become rows
        return found

    def split_again(
        self, payload: bytes, limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut the data of a part once more; see `Format.split_again`."""
        return (self.splitter_again or self.splitter)([payload], limit, longest)

    def signal(self, payload: bytes) -> Signal | None:
        """Judge by the names of the fields; see `Format.signal`."""
        sample = self.sample(payload)
        if self.mapping is None and wrapper_of(sample) is not None:
            return Signal.LOGS
        return signal_of(sample, self.mapping)

    def by_signal(self, payload: bytes, signal: Signal) -> dict[Signal, Format]:
        """One signal, as all of an object is of one; see `Format.by_signal`."""
        del payload
        return {signal: self}

    def decode(self, payloads: Sequence[bytes], signal: Signal, fallback_ns: Any) -> Decoded:
        """Decode records; see `Format.decode`."""
        groups, texts = self._groups(payloads, signal)
        return adopt(groups, signal, fallback_ns, self.mapping, texts)

    def _groups(
        self, payloads: Sequence[bytes], signal: Signal
    ) -> tuple[list[Records], list[TextRows]]:
        """Read payloads in one go where none of them changes how another is read, or apart."""
        said = self.mapping
        plain = said is None or said.rows is None
        mixed = plain and signal is Signal.LOGS  # lines of text are records of logs
        if not self.apart and plain:
            records = self._read(payloads)
            wrapped = wrapper_of(records.table) is not None
            if not wrapped and records.alike and alike(records, len(payloads), signal):
                parts, texts = _texts_apart([records], mixed=mixed)
                return parts, texts
        parts = [_moved(self._read([payload]), at) for at, payload in enumerate(payloads)]
        parts, texts = _texts_apart(parts, mixed=mixed)
        if said is not None and said.rows is not None:
            parts = [unwrap(part, said.rows) for part in parts]
        else:
            found = [(part, wrapper_of(part.table)) for part in parts]
            parts = [part if key is None else unwrap(part, key) for part, key in found]
        return grouped(parts, {} if said is None else said.attributes), texts

    def _read(self, payloads: Sequence[bytes]) -> Records:
        records = self.reader(payloads)
        return apply_pattern(records, self.mapping) if self.lines else records


def _texts_apart(parts: list[Records], *, mixed: bool) -> tuple[list[Records], list[TextRows]]:
    """Records without the text among them, which is made records of its own or set aside."""
    if not mixed:
        return list(map(without_text, parts)), []
    found = [rows_between(part.between) for part in parts if part.between is not None]
    return [part._replace(between=None) for part in parts], found


def _moved(records: Records, place: int) -> Records:
    """The records of a payload that is not the first of its batch."""
    aside = tuple(each._replace(payload=place) for each in records.set_aside)
    text = records.between
    if text is not None:
        lines = text.lines._replace(payload=text.lines.payload + np.int32(place))
        text = text._replace(lines=lines)
    payload = records.payload + np.int32(place)
    return records._replace(payload=payload, set_aside=aside, between=text)


def head_of(payload: bytes) -> bytes:
    """The first lines of a payload, or all of it where its first line is long."""
    if len(payload) <= _HEAD_BYTES:
        return payload
    end = payload.rfind(b"\n", 0, _HEAD_BYTES)
    return payload[: end + 1] if end >= 0 else payload


# Whether the beginning of an object looks like a format of records.

_LINES = 20
_UTF8 = codecs.getincrementaldecoder("utf-8")
_PARQUET_MAGIC, _ARROW_MAGIC = b"PAR1", b"ARROW1"
_JSON_START = re.compile(rb"^(?:\xef\xbb\xbf)?\s*(?:\[\s*)?[{\]]")
_JSON_OBJECT = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:.*\}\s*\Z')
_INDENTED = {b"", b" ", b"\t", b"\r"}
_BANNER = 20  # lines of text before the first object, for each object in the head
# Control characters other than white space and the escape of terminal colours.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def looks_like_parquet(head: bytes) -> bool:
    """Parquet files begin with a magic number.

    Example:
        >>> looks_like_parquet(b"PAR1..."), looks_like_parquet(b"{}")
        (True, False)
    """
    return head.startswith((_PARQUET_MAGIC, _ARROW_MAGIC))


def looks_like_json(head: bytes) -> bool:
    r"""JSON records begin with an object, or an array of objects; text may stand among their lines.

    Text counts as JSON with something before it if a third of the lines are objects from the
    first object on, and not many stand before that.

    Example:
        >>> looks_like_json(b' [{"a": 1}]'), looks_like_json(b"[Sun Dec 04] error")
        (True, False)
        >>> looks_like_json(b'starting\n{"a": 1}\n{"a": 2}\n'), looks_like_json(b"in {} of {}\n")
        (True, False)
    """
    if _JSON_START.match(head) is not None:
        return True
    if b"\n{" not in head[:_HEAD_BYTES]:
        return False
    lines = [line for line in head[:_HEAD_BYTES].split(b"\n") if line[:1] not in _INDENTED]
    objects = [place for place, line in enumerate(lines) if _JSON_OBJECT.match(line)]
    if not objects:
        return False
    behind = len(lines) - objects[0] - (len(head) > _HEAD_BYTES)  # the last one is cut
    return 3 * len(objects) >= behind and _BANNER * len(objects) >= objects[0]


def looks_like_text(head: bytes) -> bool:
    r"""Text is UTF-8 without control characters. The head may end within a character.

    Example:
        >>> looks_like_text(b"a line"), looks_like_text(bytes(range(32))), looks_like_text(b"\xff")
        (True, False, False)
    """
    try:
        _UTF8(errors="strict").decode(head)
    except UnicodeDecodeError:
        return False
    return _BINARY.search(head) is None


def looks_like_tsv(head: bytes) -> bool:
    """Several lines, each with as many tabs."""
    return _delimiter(head) == "\t"


def looks_like_csv(head: bytes) -> bool:
    r"""Several lines, each with as many commas, semicolons or bars, below a header of names.

    Example:
        >>> looks_like_csv(b"time,level\n1,info\n"), looks_like_csv(b"Hello, world.\n")
        (True, False)
    """
    return _delimiter(head) not in {None, "\t"}


def _delimiter(head: bytes) -> str | None:
    lines = [line for line in head.splitlines()[:_LINES] if line.strip()]
    if not looks_like_text(head) or len(lines) < 2:  # noqa: PLR2004 - a header and a row
        return None
    delimiter = sniff_delimiter(head)
    return delimiter if _is_header(lines[0], delimiter) else None


def _is_header(line: bytes, delimiter: str) -> bool:
    """Names, of which none is a number, empty or a sentence."""
    cells = [cell.strip().strip(b'"') for cell in line.split(delimiter.encode())]
    return len(cells) > 1 and all(_is_name(cell) for cell in cells)


def _is_name(cell: bytes) -> bool:
    try:
        msgspec.json.decode(cell)
    except msgspec.DecodeError:
        return 0 < len(cell) <= 64 and cell.count(b" ") <= 2  # noqa: PLR2004 - names are short
    return False
