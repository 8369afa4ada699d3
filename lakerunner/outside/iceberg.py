"""A lake as tables of Iceberg: the same files, registered by metadata alone.

The catalog of the lake stays the truth. What is registered follows it when it is told to, and never
the other way round: an engine that writes to these tables writes to nothing of the lake.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from lakerunner.errors import CommitConflictError, ConfigurationError, MissingExtraError
from lakerunner.model.times import TimeRange
from lakerunner.outside.reach import file_urls
from lakerunner.outside.table import pinned
from lakerunner.schema.arrays import TYPES
from lakerunner.schema.tables import TABLES, table_spec

try:
    from pyiceberg.catalog import load_catalog
    from pyiceberg.conversions import to_bytes
    from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import DayTransform, HourTransform
    from pyiceberg.typedef import Record
    from pyiceberg.types import (
        BooleanType,
        DoubleType,
        IcebergType,
        IntegerType,
        ListType,
        LongType,
        MapType,
        NestedField,
        PrimitiveType,
        StringType,
        StructType,
        TimestamptzType,
    )
except ImportError as error:
    raise MissingExtraError(
        "tables of Iceberg need pyiceberg: pip install 'lakerunner[iceberg]'", missing="iceberg"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table, Transaction

    from lakerunner.model.commit import LakeSnapshot
    from lakerunner.model.segment import ColumnStats, Segment, StatValue
    from lakerunner.outside.table import OutsideTable
    from lakerunner.scope import Scope

_HOUR_NS, _DAY_NS = 3600 * 10**9, 86400 * 10**9
_MANIFEST_FILES = 500
"""Files in one manifest of those that are registered together: what a removal has to rewrite."""
_ATTEMPTS = 5
_UNSEEN = 1_000_000
"""From here on ids of columns that files have and the table has not."""
_OWNER, _STATE = "lakerunner.lake", "lakerunner.snapshot"
_MAPPING = "schema.name-mapping.default"
_BOUND_BYTES = 64
_BOUNDED = ("timestamp", "resource_service_name", "level", "metric_name", "resolution_ns")
"""Columns whose bounds are told, so that readers leave files out by them."""


class IcebergReport(NamedTuple):
    """What was brought up to date.

    Attributes:
        snapshot: The state of the lake that the tables show now.
        added: Files that were registered, by table.
        removed: Files that are no longer part of it, by table.
        left_out: Columns that Iceberg has no type for, or that files have under several, by table.
    """

    snapshot: LakeSnapshot
    added: Mapping[str, int]
    removed: Mapping[str, int]
    left_out: Mapping[str, tuple[str, ...]]


class IcebergTables:
    """The tables of one organization in a catalog of Iceberg. To be used by one thread at a time.

    Args:
        catalog: Of pyiceberg, or the properties of one.
        namespace: Where the tables are made.
        owner: Which lake they are of.
        unsigned: Whether unsigned 64-bit integers are registered, as `long`; Polars reads no table
            that has any.
        state: Says which state of the lake is the current one, and how it is read.

    Raises:
        MissingExtraError: pyiceberg is not installed.
    """

    def __init__(
        self,
        catalog: Catalog | Mapping[str, str],
        namespace: str,
        owner: str,
        state: Callable[[], tuple[LakeSnapshot, Scope]],
        *,
        unsigned: bool = True,
    ) -> None:
        given: Any = catalog
        self.catalog: Catalog = (
            load_catalog("lakerunner", **given) if isinstance(given, dict) else given
        )
        self.namespace = namespace
        self._owner, self._state, self._unsigned = owner, state, unsigned
        self._known: dict[str, tuple[int | None, dict[str, DataFile]]] = {}
        self.catalog.create_namespace_if_not_exists(namespace)

    def sync(self, *tables: str) -> IcebergReport:
        """Register what came, and forget what went; for one table it is one step.

        Args:
            tables: Only these; otherwise all that have segments.

        Raises:
            ConfigurationError: There is no such table; one of that name is not this lake's; rows
                are to be deleted and not gone yet: run `retain` first.
            CommitConflictError: Others changed the tables all the while.
        """
        snapshot, scope = self._state()
        added, removed, left_out = {}, {}, {}
        for name in [table_spec(one).name for one in tables] or list(TABLES):
            table = pinned(scope, name, TimeRange(), time.time_ns())
            if table.segments or self.catalog.table_exists((self.namespace, name)):
                one = self._sync(table, scope, snapshot)
                added[name], removed[name], left_out[name] = one
        return IcebergReport(snapshot, added, removed, left_out)

    def table(self, name: str) -> Table:
        """A table as it is registered now, for a reader.

        Raises:
            ConfigurationError: It is not registered.
        """
        try:
            return self.catalog.load_table((self.namespace, name))
        except NoSuchTableError:
            raise ConfigurationError(f"{name} is not registered yet: sync() does it") from None

    def _sync(
        self, told: OutsideTable, scope: Scope, snapshot: LakeSnapshot
    ) -> tuple[int, int, tuple[str, ...]]:
        columns, left_out = self._columns(told)
        urls = file_urls(scope.store, told.segments)
        wanted = dict(zip(urls, told.segments, strict=True))
        for _ in range(_ATTEMPTS):
            table = self._open(told, columns)
            known = self._files(told.name, table)
            come = {url: one for url, one in wanted.items() if url not in known}
            gone = [file for url, file in known.items() if url not in wanted]
            if not come and not gone:
                return 0, 0, left_out
            try:
                return self._commit(told, table, columns, come, gone, snapshot, known, left_out)
            except CommitFailedException:
                self._known.pop(told.name, None)  # somebody else was faster: look again
        raise CommitConflictError(f"others change {self.namespace}.{told.name} all the while")

    def _commit(
        self,
        told: OutsideTable,
        table: Table,
        columns: Mapping[str, pa.DataType],
        come: Mapping[str, Segment],
        gone: Sequence[DataFile],
        snapshot: LakeSnapshot,
        known: dict[str, DataFile],
        left_out: tuple[str, ...],
    ) -> tuple[int, int, tuple[str, ...]]:
        state = {_STATE: str(snapshot)}
        with table.transaction() as change:
            _fit_schema(change, columns, left_out, told)
            made = _Files(change.table_metadata.schema(), change.table_metadata.spec())
            files = {url: made.of(url, one) for url, one in come.items()}
            batches = _batched(list(files.values()))
            if gone:
                with change.update_snapshot(snapshot_properties=state).overwrite() as step:
                    for file in gone:
                        step.delete_data_file(file)
                    for file in next(batches, []):
                        step.append_data_file(file)
            for batch in batches:
                with change.update_snapshot(snapshot_properties=state).fast_append() as step:
                    for file in batch:
                        step.append_data_file(file)
        for file in gone:
            del known[file.file_path]
        known |= files
        current = table.current_snapshot()
        self._known[told.name] = (current.snapshot_id if current else None, known)
        return len(files), len(gone), left_out

    def _columns(self, told: OutsideTable) -> tuple[dict[str, pa.DataType], tuple[str, ...]]:
        """What can be registered, with its types, and what cannot."""
        kinds: dict[str, set[str]] = {}
        for segment in told.segments:
            for name, stats in segment.columns.items():
                if not stats.overflow:
                    kinds.setdefault(name, set()).add(stats.type)
        mixed = {
            name
            for name, types in kinds.items()
            if len(types) > 1 and not types <= {"int32", "uint32", "int64"}
        }
        fixed = set(table_spec(told.name).schema.names)
        columns = {
            name: dtype
            for name, dtype in told.columns.items()
            if name not in mixed
            and (name in fixed or name in kinds)
            and (self._unsigned or not _is_unsigned(dtype))
        }
        return columns, tuple(sorted((mixed | set(kinds)) - set(columns)))

    def _open(self, told: OutsideTable, columns: Mapping[str, pa.DataType]) -> Table:
        name = (self.namespace, told.name)
        try:
            table = self.catalog.load_table(name)
        except NoSuchTableError:
            counter = itertools.count(1)
            schema = Schema(
                *(
                    NestedField(next(counter), one, _type(dtype, counter))
                    for one, dtype in columns.items()
                )
            )
            return self.catalog.create_table(
                name,
                schema,
                partition_spec=_partition(schema, told.segments),
                properties={
                    "format-version": "2",
                    "gc.enabled": "false",  # the files are the lake's: nobody else deletes them
                    "commit.manifest-merge.enabled": "false",
                    _OWNER: self._owner,
                },
            )
        owner = table.properties.get(_OWNER)
        if owner != self._owner:
            raise ConfigurationError(
                f"{self.namespace}.{told.name} is a table of {owner or 'somebody else'} and not of "
                f"{self._owner}: name another namespace",
                table=told.name,
            )
        return table

    def _files(self, name: str, table: Table) -> dict[str, DataFile]:
        """What is registered, by URL; remembered for as long as nobody else changes it."""
        current = table.current_snapshot()
        number = current.snapshot_id if current else None
        before = self._known.get(name)
        if before is not None and before[0] == number:
            return before[1]
        known: dict[str, DataFile] = {}
        for manifest in current.manifests(table.io) if current else ():
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                entry.data_file.spec_id = manifest.partition_spec_id
                known[entry.data_file.file_path] = entry.data_file
        self._known[name] = (number, known)
        return known


class _Files:
    """Describes segments as data files, from what the lake's catalog knows of them."""

    def __init__(self, schema: Schema, spec: PartitionSpec) -> None:
        self._spec = spec
        self._bounded = [
            (field.name, field.field_id, field.field_type)
            for field in schema.fields
            if field.name in _BOUNDED and isinstance(field.field_type, PrimitiveType)
        ]

    def of(self, url: str, segment: Segment) -> DataFile:
        nulls, lower, upper = {}, {}, {}
        for name, number, kind in self._bounded:
            stats = segment.columns.get(name)
            nulls[number] = segment.rows if stats is None else stats.nulls
            if stats is not None and not stats.overflow:
                low, high = _bounds(name, segment, stats)
                if low is not None and high is not None:
                    lower[number], upper[number] = to_bytes(kind, low), to_bytes(kind, high)
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=url,
            file_format=FileFormat.PARQUET,
            partition=Record(*self._partition(segment)),
            record_count=segment.rows,
            file_size_in_bytes=segment.bytes,
            column_sizes={},
            value_counts=dict.fromkeys(nulls, segment.rows),
            null_value_counts=nulls,
            nan_value_counts={},
            lower_bounds=lower,
            upper_bounds=upper,
            split_offsets=None,
            equality_ids=None,
            sort_order_id=None,
            key_metadata=None,
        )
        file.spec_id = self._spec.spec_id
        return file

    def _partition(self, segment: Segment) -> Iterator[int]:
        for field in self._spec.fields:
            length = _HOUR_NS if isinstance(field.transform, HourTransform) else _DAY_NS
            part = segment.window_start_ns // length
            if (segment.window_start_ns + segment.window_ns - 1) // length != part:
                raise ConfigurationError(
                    f"segment {segment.id!r} spans several partitions of {field.name}: its window "
                    "is longer than those there were; drop the table, and register it again",
                    segment=segment.id,
                )
            yield part


def _bounds(
    name: str, segment: Segment, stats: ColumnStats
) -> tuple[StatValue | None, StatValue | None]:
    if name == "timestamp":
        return segment.min_timestamp_ns // 1000, segment.max_timestamp_ns // 1000
    high = stats.max
    if isinstance(high, str) and len(high.encode()) > _BOUND_BYTES:
        return None, None
    return stats.min, high


def _fit_schema(
    change: Transaction,
    columns: Mapping[str, pa.DataType],
    left_out: Sequence[str],
    told: OutsideTable,
) -> None:
    """Add columns that came, drop those that have no type any more, and name them all by id."""
    there = set(change.table_metadata.schema().column_names)
    top = {field.name for field in change.table_metadata.schema().fields}
    come = [name for name in columns if name not in there]
    gone = [name for name in left_out if name in top]
    if come or gone:
        with change.update_schema(allow_incompatible_changes=True) as schema:
            counter = itertools.count(1)  # of nested fields; they are given others
            for name in come:
                schema.add_column((name,), _type(columns[name], counter))
            for name in gone:
                schema.delete_column((name,))
    counter = itertools.count(_UNSEEN)
    unseen = [
        NestedField(next(counter), name, _type(told.columns.get(name, TYPES["string"]), counter))
        for name in left_out
    ]
    named = Schema(*change.table_metadata.schema().fields, *unseen).name_mapping.model_dump_json()
    if change.table_metadata.properties.get(_MAPPING) != named:
        change.set_properties({_MAPPING: named})


def _partition(schema: Schema, segments: Sequence[Segment]) -> PartitionSpec:
    longest = max((one.window_ns for one in segments), default=_HOUR_NS)
    source = schema.find_field("timestamp").field_id
    if longest <= _HOUR_NS:
        return PartitionSpec(PartitionField(source, 1000, HourTransform(), "timestamp_hour"))
    if longest <= _DAY_NS:
        return PartitionSpec(PartitionField(source, 1000, DayTransform(), "timestamp_day"))
    return UNPARTITIONED_PARTITION_SPEC


def _type(dtype: pa.DataType, ids: Iterator[int]) -> IcebergType:
    if pa.types.is_timestamp(dtype):
        return TimestamptzType()
    if pa.types.is_list(dtype):
        return ListType(next(ids), _type(dtype.value_type, ids), element_required=False)
    if pa.types.is_map(dtype):
        key, value = _type(dtype.key_type, ids), _type(dtype.item_type, ids)
        return MapType(next(ids), key, next(ids), value, value_required=False)
    if pa.types.is_struct(dtype):
        return StructType(
            *(NestedField(next(ids), one.name, _type(one.type, ids)) for one in dtype)
        )
    return _SCALARS[dtype]


_SCALARS: dict[pa.DataType, IcebergType] = {
    pa.string(): StringType(),
    pa.bool_(): BooleanType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.uint32(): LongType(),
    pa.uint64(): LongType(),
    pa.float64(): DoubleType(),
}


def _is_unsigned(dtype: pa.DataType) -> bool:
    if pa.types.is_list(dtype):
        return _is_unsigned(dtype.value_type)
    if pa.types.is_struct(dtype):
        return any(_is_unsigned(one.type) for one in dtype)
    return bool(pa.types.is_uint64(dtype))


def _batched(files: list[DataFile]) -> Iterator[list[DataFile]]:
    for start in range(0, len(files), _MANIFEST_FILES):
        yield files[start : start + _MANIFEST_FILES]
