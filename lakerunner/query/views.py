"""The columns a query sees: names, types, and where the value of each is found."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pyarrow as pa

from lakerunner.compute.table import NAMED_FIRST, NAMED_LAST, Recast, Table
from lakerunner.model.commit import ColumnSummary
from lakerunner.query.query import own_columns
from lakerunner.schema.arrays import TYPES, common_type, type_name
from lakerunner.schema.attribute import OVERFLOW, RESOURCE, SCOPE
from lakerunner.schema.tables import SERVICE, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lakerunner.compute.hidden import Hidden
    from lakerunner.compute.segment_files import SegmentFiles
    from lakerunner.compute.table import ScanMode
    from lakerunner.model.commit import Snapshot
    from lakerunner.model.segment import ColumnStats, Segment
    from lakerunner.query.query import Mention, OwnColumn
    from lakerunner.schema.tables import TableSpec

WITNESS = "__every_column__"
"""A column that no file has and no query names: a plan that reads it has a `*` in it."""

DICTIONARY = pa.dictionary(pa.int32(), pa.string())

_Items: TypeAlias = "tuple[tuple[str, Any], ...]"

_CASTS = {"int64": "Int64", "double": "Float64", "bool": "Boolean"}


class View(NamedTuple):
    """A table as one query sees it.

    Attributes:
        schema: Arrow schema under which files are read.
        computed: SQL expression by name of each column that is not simply read.
        mixed: Type under which a column is read, by name, where some segments have another.
        own: Attributes by their own names, which are further columns.
        named: Arrow type by name of these columns, and of two more that stand around them.
    """

    schema: Any
    computed: Mapping[str, str]
    mixed: Mapping[str, str]
    own: tuple[OwnColumn, ...] = ()
    named: Mapping[str, Any] = MappingProxyType({})

    def with_names(self) -> Any:
        """The schema with the columns of own names in it, as if files had them."""
        named = [pa.field(name, dtype) for name, dtype in self.named.items()]
        return pa.schema([*self.schema, *named])

    def own_expressions(self, segment: Segment) -> dict[str, str]:
        """SQL expressions of the columns of own names, for the rows of one segment."""
        if not self.own:
            return {}
        texts = {one.name: self._own_expression(one, segment) for one in self.own}
        return {NAMED_FIRST: "true", **texts, NAMED_LAST: "true"}

    def _own_expression(self, own: OwnColumn, segment: Segment) -> str:
        held = own.held_in(segment)
        texts = [self.computed.get(column, f'"{column}"') for column in held]
        if len(texts) < 2:  # noqa: PLR2004 - coalesce() needs two
            return texts[0] if texts else "NULL"
        return f"coalesce({', '.join(texts)})"

    def own_types(self, segment: Segment) -> dict[str, Any]:
        """Arrow types of the mixed columns that a segment has as something else."""
        stats = {name: segment.columns.get(name) for name in self.mixed}
        return {
            name: TYPES[one.type]
            for name, one in sorted(stats.items())
            if one is not None and not one.overflow and one.type != self.mixed[name]
        }

    def table(
        self,
        name: str,
        segments: Sequence[Segment],
        files: SegmentFiles,
        mode: ScanMode,
        hidden: Callable[[Segment], tuple[Hidden, ...]],
        within: str,
    ) -> Table:
        """The table over some segments, as it is scanned.

        Args:
            name: Which table.
            segments: All of it that is read.
            files: Where they are.
            mode: How they are scanned.
            hidden: What is not seen of the rows of a segment.
            within: As `Table.within`.
        """
        # One scan reads from one store: those of a bucket, and copies of them on the disk, are two.
        distant = {one.id for one in segments if files.is_distant(one)}
        alike: dict[tuple[_Items, _Items, tuple[Hidden, ...], bool], list[str]] = {}
        for segment in segments:
            types, named = self.own_types(segment), self.own_expressions(segment)
            own = tuple(types.items()), tuple(named.items()), hidden(segment)
            alike.setdefault((*own, segment.id in distant), []).append(files.url(segment))
        plain = next((key for key in alike if not key[0] and not key[2]), ((), (), (), False))
        urls = tuple(alike.pop(plain, ()))
        recast = tuple(
            Recast(tuple(others), dict(types), dict(named), unseen)
            for (types, named, unseen, _), others in alike.items()
        )
        return Table(
            name,
            self.schema,
            urls,
            mode,
            self.computed,
            recast,
            self.named,
            dict(plain[1]),
            TABLES[name].aliases,
            self.numbers(segments),
            # Of files of other types it might be read otherwise than it is meant.
            within="" if recast else within,
        )

    def numbers(self, segments: Sequence[Segment]) -> frozenset[str]:
        """Columns of doubles of which no segment has a NaN: these have bounds everywhere."""
        doubles = [one.name for one in self.schema if pa.types.is_floating(one.type)]
        return frozenset(
            name
            for name in doubles
            if name not in self.computed
            and all(_is_number(segment.columns.get(name)) for segment in segments)
        )


def table_view(spec: TableSpec, snapshot: Snapshot, mention: Mention, *, every: bool) -> View:
    """The view of a table for one query.

    The canonical columns are always in it, and those attributes that the query mentions; others
    would only make planning slow. Types are those over all live segments, so that a query has the
    same types whatever its time range. An attribute that overflowed in some segments is read from
    their overflow map where it has no column.

    Args:
        spec: The table.
        snapshot: Its current state.
        mention: What the query speaks of.
        every: Whether all attributes that are columns somewhere are wanted, as `*` does. Attributes
            that are nowhere a column are only seen where they are mentioned.

    Returns:
        The view; unless every attribute is in it, it also has the column `WITNESS`.
    """
    canonical = spec.schema
    own = own_columns(spec, snapshot.columns, mention.names)
    wanted = mention.words.union(*(one.columns for one in own))
    attributes = {
        name: summary
        for name, summary in sorted(snapshot.columns.items())
        if name not in canonical.names and ((every and summary.physical) or name in wanted)
    }
    # A canonical column that is an attribute overflows like any other.
    service = snapshot.columns.get(SERVICE, ColumnSummary(("string",), 1, 0))
    overflown = {SERVICE: service} if service.overflow else {}
    encoded = "approx_distinct" not in mention.words  # it takes no dictionaries
    dictionaries = spec.repeating - overflown.keys() if encoded else frozenset()
    fields = [
        pa.field(one.name, _read_type(one.type, encoded=one.name in dictionaries))
        for one in canonical
        if one.name != OVERFLOW
    ]
    for name, summary in attributes.items():
        if summary.physical:
            repeats = name.startswith((RESOURCE, SCOPE)) and summary.types == ("string",)
            dtype = TYPES[common_type(summary.types)]
            read = _read_type(dtype, encoded=encoded and repeats and not summary.overflow)
            fields.append(pa.field(name, read))
    fields.append(pa.field(OVERFLOW, canonical.field(OVERFLOW).type))
    if not every:
        fields.append(pa.field(WITNESS, pa.bool_()))
    read = {field.name: field.type for field in fields}
    computed = {
        name: _overflow_expression(name, read.get(name), summary)
        for name, summary in (attributes | overflown).items()
        if summary.overflow
    }
    schema = pa.schema(fields)
    named = {one.name: _own_type(one, schema, computed, attributes) for one in own}
    if named:
        named = {NAMED_FIRST: pa.bool_(), **named, NAMED_LAST: pa.bool_()}
    return View(schema, computed, _mixed(attributes | {SERVICE: service}), own, named)


def _mixed(attributes: Mapping[str, ColumnSummary]) -> dict[str, str]:
    mixed = {name: common_type(one.types) for name, one in attributes.items() if one.types[1:]}
    if attributes[SERVICE].types != ("string",):
        mixed[SERVICE] = "string"  # whatever was sent: it is a canonical column
    return mixed


def _own_type(
    own: OwnColumn,
    schema: Any,
    computed: Mapping[str, str],
    attributes: Mapping[str, ColumnSummary],
) -> Any:
    if len(own.columns) == 1 and own.columns[0] not in computed:
        return schema.field(own.columns[0]).type
    # What is no attribute and has an own name all the same is text.
    types = {
        each
        for column in own.columns
        for each in (attributes[column].types if column in attributes else ("string",))
    }
    return _read_type(TYPES[common_type(types)], encoded=False)


def _is_number(stats: ColumnStats | None) -> bool:
    return stats is None or stats.type != "double" or stats.min is not None


def without_witness(view: View) -> View:
    """The same view with nothing in it but what the query reads."""
    kept = [field for field in view.schema if field.name != WITNESS]
    return view._replace(schema=pa.schema(kept))


def _read_type(dtype: Any, *, encoded: bool) -> Any:
    """The type under which a column is read; text has three.

    Measured on 2 million rows: what is stored as a dictionary is filtered up to 3 times faster as
    one, and other text is grouped up to 30 % faster as views than as plain strings.
    """
    if not pa.types.is_string(dtype):
        return dtype
    return DICTIONARY if encoded else pa.string_view()


def _overflow_expression(name: str, read: Any, summary: ColumnSummary) -> str:
    """Where a value is: in the column, if it is read from anywhere, or else in the map."""
    value = f"map_extract({OVERFLOW}, '{name}')[1]"
    kind = common_type(summary.types) if read is None else type_name(read)
    if kind in _CASTS:
        value = f"arrow_cast({value}, '{_CASTS[kind]}')"
    return value if read is None else f'coalesce("{name}", {value})'
