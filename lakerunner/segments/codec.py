"""A segment as Parquet bytes, and its description in the footer.

The file is ordinary Parquet: any reader opens it. The footer's key-value metadata holds the
segment's description as JSON under `lakerunner.segment`, so that a lost catalog can be rebuilt from
the bucket.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakerunner.errors import SegmentError
from lakerunner.limits import (
    BLOOM_FALSE_SHARE,
    PAGE_ROWS,
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    SEGMENT_FORMAT_VERSION,
    ZSTD_LEVEL,
)
from lakerunner.model.segment import FilterSection, Segment, decode_segment, encode_segment
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.schema.tables import table_spec
from lakerunner.segments.stats import TableStats
from lakerunner.segments.token_filter import TokenFilterWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from lakerunner.schema.tables import TableSpec

    Later: TypeAlias = Callable[[Callable[[], None], int], Callable[[], None]]
    """Begins a function, which holds so many bytes, in another thread; what it returns waits."""

FOOTER_KEY = b"lakerunner.segment"


def order_columns(table: pa.Table, spec: TableSpec) -> pa.Table:
    """Put the columns into their documented order: canonical first, attributes by name."""
    canonical = [name for name in spec.schema.names if name in table.schema.names]
    # The overflow map stands last, behind the attributes it completes.
    last = [OVERFLOW] if OVERFLOW in canonical else []
    first = [name for name in canonical if name != OVERFLOW]
    rest = sorted(set(table.schema.names) - set(canonical))
    return table.select([*first, *rest, *last])


class Forecast(NamedTuple):
    """What holds for all rows of a segment, and must be known before the first one is written.

    Attributes:
        without_nan: Columns of floating-point numbers none of which is NaN. Parquet's bounds leave
            NaN out, so an engine that sorts NaN above all numbers, as SQL does, would skip rows by
            them; all other such columns get no bounds.
        distinct: By column of ids, how many distinct ones a row group holds at most. A Bloom filter
            is made as large as they need.
        few: Columns of text with few values. Their pages are run lengths of a few bits each, so to
            compress them costs more time than all else about them, and saves nothing.
    """

    without_nan: frozenset[str] = frozenset()
    distinct: Mapping[str, int] = MappingProxyType({})
    few: frozenset[str] = frozenset()


_FEW = 16
"""Values of a column that is not compressed."""


def forecast_table(table: pa.Table, ids: Collection[str]) -> Forecast:
    """What holds for rows that are there as a whole."""
    return Forecast(
        frozenset(
            field.name
            for field in table.schema
            if pa.types.is_floating(field.type) and not pc.any(pc.is_nan(table[field.name])).as_py()
        ),
        {
            name: pc.count_distinct(table[name].cast(pa.string())).as_py()
            for name in ids
            if name in table.schema.names
        },
        frozenset(
            field.name
            for field, column in zip(table.schema, table.columns, strict=True)
            if pa.types.is_dictionary(field.type)
            and all(len(chunk.dictionary) <= _FEW for chunk in column.chunks)
        ),
    )


def forecast_merge(segments: Iterable[Segment], ids: Collection[str]) -> Forecast:
    """What holds for the rows of some segments together, judged by their statistics alone.

    A column of numbers without bounds may hold NaN; one whose bounds are known holds none.

    Example:
        >>> from lakerunner.model.segment import ColumnStats
        >>> from lakerunner.testing.values import make_segment
        >>> one = make_segment("s", columns={"value": ColumnStats("double", min=1.0, max=2.0)})
        >>> forecast_merge([one], ["trace_id"])
        Forecast(without_nan=frozenset({'value'}), distinct={'trace_id': 0}, few=frozenset())
    """
    unsure: set[str] = set()
    sure: set[str] = set()
    distinct = dict.fromkeys(ids, 0)
    values: dict[str, set[str] | None] = {}
    for segment in segments:
        for name, stats in segment.columns.items():
            held = values.setdefault(name, set())
            if held is not None and len(held) <= _FEW:
                values[name] = None if stats.values is None else held.union(stats.values)
            known = stats.min is not None or stats.nulls == segment.rows
            (sure if known else unsure).add(name)
            if name in distinct:
                distinct[name] += segment.rows - stats.nulls
    few = frozenset(name for name, held in values.items() if held and len(held) <= _FEW)
    return Forecast(frozenset(sure - unsure), distinct, few)


_NOTHING_KNOWN = Forecast()


class Sink(Protocol):
    """Where the bytes of a file go: `pa.BufferOutputStream`, or a file that has `getvalue`."""

    def write(self, data: Any, /) -> Any:
        """Take further bytes."""

    def getvalue(self) -> pa.Buffer:
        """All bytes."""


class OpenSegment:
    """A segment file that is being written, and whose description is not known yet.

    Beside the compressed file it holds one row group of rows at most, and the statistics of those
    written. Not safe to use from several threads at once.

    Args:
        schema: Of all rows. Columns without any value cost little and are in no description.
        sort: The declared order: columns of the schema.
        ids: Columns that get filters of their own.
        forecast: What is known of the rows beforehand.
        sink: Where the file goes; memory if not given.
        texts: Columns whose words a token filter tells; None makes none.

    Attributes:
        stats: Statistics of the rows written so far.
    """

    def __init__(
        self,
        schema: pa.Schema,
        sort: Sequence[str],
        ids: Collection[str] = (),
        forecast: Forecast = _NOTHING_KNOWN,
        sink: Sink | None = None,
        texts: Collection[str] | None = None,
    ) -> None:
        self.stats = TableStats(ids)
        self._filter = None if texts is None else TokenFilterWriter(texts, sort)
        self._schema = schema
        self._without_nan = sorted(forecast.without_nan)
        self._pending: list[pa.Table] = []
        self._encoded: Callable[[], None] = lambda: None  # waits for what is encoded elsewhere
        self._sink: Any = pa.BufferOutputStream() if sink is None else sink
        # Arrow counts what it writes to a file of Python: filters have to go the same way.
        self._file: Any = self._sink if sink is None else pa.PythonFile(sink, mode="w")
        few = forecast.few.intersection(schema.names)
        leaves = [
            leaf
            for field in schema
            if field.name not in few
            for leaf in _leaves(field.name, field.type)
        ]
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression=dict.fromkeys(leaves, "zstd") | dict.fromkeys(few, "none"),
            compression_level=dict.fromkeys(leaves, ZSTD_LEVEL),
            use_dictionary=[field.name for field in schema if _repeats(field)],
            column_encoding=_encodings(schema),
            sorting_columns=[
                pq.SortingColumn(schema.names.index(name), nulls_first=False) for name in sort
            ],
            write_page_index=True,
            write_page_checksum=True,
            max_rows_per_page=PAGE_ROWS,
            write_statistics=bounded_columns(schema, forecast.without_nan),
            bloom_filter_options={
                name: {
                    "ndv": max(1, min(forecast.distinct.get(name, ROW_GROUP_ROWS), ROW_GROUP_ROWS)),
                    "fpp": BLOOM_FALSE_SHARE,
                }
                # A token filter has the same ids, for smaller parts and in half the bytes.
                for name in (ids if texts is None else ())
                if name in schema.names
            },
            version="2.6",
        )

    def write(self, table: pa.Table) -> None:
        """Add rows, which follow the earlier ones in the declared order.

        Every NaN in a column of numbers becomes the same one: engines sort by its sign.

        Args:
            table: Columns of the schema; those it lacks are NULL.

        Raises:
            SegmentError: A column that was said to hold no NaN holds one: its bounds, which are
                written already, would be wrong.
            pa.ArrowInvalid: A column has another type than the schema says.
        """
        table = _with_one_nan(_conformed(table, self._schema), self._without_nan)
        self.stats.add(table)
        if wrong := self.stats.hold_nan(self._without_nan):
            raise SegmentError(f"column '{wrong[0]}' was said to hold no NaN, and holds one")
        if self._filter is not None:
            self._filter.add(table, self._file)
        width = max(1, table.nbytes // max(1, table.num_rows))
        most = max(PAGE_ROWS, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES // width))
        start = 0
        while start < table.num_rows:
            room = most - sum(each.num_rows for each in self._pending)
            if room <= 0:
                self._write_group()
                continue
            self._pending.append(table.slice(start, room))
            start += room

    def _write_group(self) -> None:
        if self._pending:
            group = pa.concat_tables(self._pending)
            if len(self._pending) > 1:
                group = group.unify_dictionaries()
            self._pending.clear()
            self._writer.write_table(group, row_group_size=max(1, group.num_rows))

    def filters(self, later: Later | None = None) -> tuple[FilterSection, ...]:
        """Write what is left of the rows, and their token filter; to be called before the end.

        Args:
            later: Runs a function in another thread, which may encode the last row group while
                nobody but `finish` touches this segment.

        Returns:
            What the description says of the filter.
        """
        # Before the last rows: what lies behind all columns is read whenever a file is opened.
        sections = () if self._filter is None else self._filter.finish(self._file)
        if later is not None and self._pending:
            rows = sum(part.nbytes for part in self._pending)
            self._encoded = later(self._write_group, rows)
        else:
            self._write_group()
        return sections

    def finish(self, segment: Segment) -> pa.Buffer:
        """Write the description and return the file; to be called once."""
        self._encoded()
        self._write_group()
        self._writer.add_key_value_metadata({FOOTER_KEY.decode(): encode_segment(segment).decode()})
        self._writer.close()
        self._file.flush()
        data: pa.Buffer = self._sink.getvalue()
        return data


def encode(table: pa.Table, segment: Segment) -> pa.Buffer:
    """Write a sorted table as a segment file, without a token filter.

    Args:
        table: Rows in the order `segment.sort` declares.
        segment: Its description; `bytes` is not known yet and stays 0 in the footer.

    Returns:
        The file. Its size is what `segment.bytes` must be.
    """
    ids = table_spec(segment.table).ids
    file = OpenSegment(table.schema, segment.sort, ids, forecast_table(table, ids))
    file.write(table)
    return file.finish(segment)


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same rows with all columns of a schema, in its order."""
    if table.schema.names == schema.names:
        return table.cast(schema) if table.schema != schema else table
    columns = [
        table[field.name] if field.name in table.schema.names else _nulls(table.num_rows, field)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, names=schema.names).cast(schema)


def _nulls(rows: int, field: pa.Field) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(rows, field.type)])


def _with_one_nan(table: pa.Table, without_nan: Collection[str]) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type) and field.name not in without_nan:
            values = table[place]
            unified = pc.if_else(pc.is_nan(values), pa.scalar(math.nan, field.type), values)
            table = table.set_column(place, field, unified)
    return table


def bounded_columns(schema: pa.Schema, without_nan: Collection[str]) -> list[str] | bool:
    """Columns whose Parquet bounds hold for every value."""
    hiding = {
        field.name
        for field in schema
        if pa.types.is_floating(field.type) and field.name not in without_nan
    }
    if not hiding:
        return True  # nested columns have bounds too, and a list would have to name their leaves
    return [name for name in schema.names if name not in hiding]


def _repeats(field: pa.Field) -> bool:
    """Whether a column has few distinct values, so that Parquet should list them once."""
    return bool(pa.types.is_dictionary(field.type)) or field.name == "fingerprint"


def _leaves(name: str, dtype: pa.DataType) -> Iterator[str]:
    """The columns of Parquet that a column becomes."""
    if pa.types.is_map(dtype):
        yield from _leaves(f"{name}.key_value.key", dtype.key_type)
        yield from _leaves(f"{name}.key_value.value", dtype.item_type)
    elif pa.types.is_list(dtype):
        yield from _leaves(f"{name}.list.element", dtype.value_type)
    elif pa.types.is_struct(dtype):
        for field in dtype:
            yield from _leaves(f"{name}.{field.name}", field.type)
    else:
        yield name


def _encodings(schema: pa.Schema) -> dict[str, str]:
    """Encodings for plain columns: differences for times and counts, lengths apart for text."""
    encodings = {}
    for field in schema:
        if _repeats(field):
            continue
        if pa.types.is_timestamp(field.type) or pa.types.is_integer(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_string(field.type):
            encodings[field.name] = "DELTA_LENGTH_BYTE_ARRAY"
    return encodings


def read_description(file: Any, *, key: str, size: int) -> Segment:
    """Read a segment's description from the footer of its file.

    Args:
        file: Anything `pyarrow.parquet` opens: bytes in a `pa.BufferReader`, a path.
        key: The key of the object; it becomes `Segment.key` wherever the file has been moved to.
        size: Size of the object in bytes.

    Raises:
        SegmentError: It is no Parquet file, no segment, or of a newer format version.
    """
    try:
        metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise SegmentError(f"'{key}' is not a Parquet file: {error}", key=key) from error
    written = metadata.get(FOOTER_KEY)
    if written is None:
        raise SegmentError(f"'{key}' is Parquet, but not a segment of a lake", key=key)
    try:
        segment = decode_segment(written)
    except msgspec.ValidationError as error:
        raise SegmentError(f"the footer of '{key}' cannot be read: {error}", key=key) from error
    if segment.format_version > SEGMENT_FORMAT_VERSION:
        raise SegmentError(
            f"'{key}' has format {segment.format_version}; this version reads up to "
            f"{SEGMENT_FORMAT_VERSION}: upgrade lakerunner",
            key=key,
        )
    return msgspec.structs.replace(segment, key=key, bytes=size)
