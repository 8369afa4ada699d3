"""What the catalog learns about the columns of a segment, gathered part by part."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.limits import STAT_TEXT, STAT_VALUES
from lakerunner.model.segment import ColumnStats, StatValue
from lakerunner.schema.arrays import counted_values, type_name
from lakerunner.schema.attribute import (
    OVERFLOW,
    field_key,
    field_types,
    overflow_column_type,
    overflow_types,
)
from lakerunner.schema.ids import IdFilter

if TYPE_CHECKING:
    from collections.abc import Collection


class TableStats:
    """Statistics of rows that come in parts. Holds no rows: a few values for each column.

    Bounds are kept for numbers, booleans, times and dictionary-encoded text. Other text, such as
    ids and bodies, has so many values that bounds would exclude nothing. What it says of all rows
    does not depend on how they were cut into parts, nor on the order of these. Not safe to change
    from several threads at once.

    Args:
        ids: Columns of ids, which get a filter of their values.

    Attributes:
        rows: Rows seen so far.

    Example:
        >>> stats = TableStats()
        >>> stats.add(pa.table({"n": [3, None]}))
        >>> stats.add(pa.table({"n": [1], "b": [True]}))
        >>> stats.columns()["n"]
        ColumnStats(type='int64', nulls=1, min=1, max=3, values=None, key='', types=(), \
overflow=False, filter='', counts=None)
        >>> stats.columns()["b"].nulls
        2
    """

    def __init__(self, ids: Collection[str] = ()) -> None:
        self._ids = ids
        self._columns: dict[str, _Column] = {}
        self._overflowed: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """See further rows. Columns that they lack are NULL in them."""
        self.rows += table.num_rows
        for field, column in zip(table.schema, table.columns, strict=True):
            mine = self._column(field)
            for chunk in column.chunks:
                mine.add(chunk)
                if field.name == OVERFLOW and len(chunk):
                    self._overflow(field, chunk)

    def _column(self, field: pa.Field) -> _Column:
        if field.name not in self._columns:
            self._columns[field.name] = _Column(field, searched=field.name in self._ids)
        return self._columns[field.name]

    def _overflow(self, field: pa.Field, maps: pa.MapArray) -> None:
        known = overflow_types(field)
        # Concatenated, a slice holds its own entries and no others.
        whole = pa.concat_arrays([maps, pa.array([], maps.type)])
        present = pc.unique(whole.keys).to_pylist()
        self._overflowed |= {name: known[name] for name in present if name in known}

    def merge(self, other: TableStats) -> None:
        """See all rows that others are the statistics of."""
        self.rows += other.rows
        self._overflowed |= other._overflowed
        for name, column in other._columns.items():
            if name in self._columns:
                self._columns[name].merge(column)
            else:
                self._columns[name] = column.copy()

    def hold_nan(self, names: Collection[str]) -> list[str]:
        """Those of some columns of floating-point numbers that hold NaN, in the order given."""
        return [name for name in names if name in self._columns and not self._columns[name].bounded]

    def columns(self) -> dict[str, ColumnStats]:
        """What is known of each column that has a value, and of each attribute that overflowed."""
        stats = {
            name: column.described(self.rows)
            for name, column in self._columns.items()
            if column.present and name != OVERFLOW
        }
        if OVERFLOW in self._columns and self._columns[OVERFLOW].present:
            stats[OVERFLOW] = self._columns[OVERFLOW].described(self.rows)
        for name, (key, types) in self._overflowed.items():
            # A column of that name holds the first values of a key that was sent twice.
            if name not in stats:
                stats[name] = ColumnStats(
                    overflow_column_type(types), key=key, types=types, overflow=True
                )
        return stats


def column_stats(table: pa.Table, ids: Collection[str] = ()) -> dict[str, ColumnStats]:
    """Describe every column of a table, and every attribute in its overflow map.

    Args:
        table: Any number of rows.
        ids: Columns of ids, which get a filter of their values.
    """
    stats = TableStats(ids)
    stats.add(table)
    return stats.columns()


class _Column:
    """What is known of one column so far.

    Attributes:
        present: Values that are not NULL.
        bounded: Whether the bounds hold for every value seen.
        low: Smallest of them, None if there is none yet.
        high: Largest of them.
        distinct: All of them, as long as they are texts, few and short, and rows of each.
        ids: The filter of a column of ids.
    """

    def __init__(self, field: pa.Field, *, searched: bool) -> None:
        self.field = field
        self.present = 0
        self.bounded = True
        self.low: StatValue | None = None
        self.high: StatValue | None = None
        self.distinct: Counter[str] | None = Counter()
        self.ids = IdFilter() if searched else None

    def add(self, values: pa.Array) -> None:
        present = len(values) - values.null_count
        self.present += present
        if not present:
            return
        if self.ids is not None:
            self.ids.add(values)
        if pa.types.is_dictionary(values.type):
            self._add_texts(values)
        else:
            self.distinct = None
            self._add_bounds(values)

    def _add_texts(self, values: pa.DictionaryArray) -> None:
        texts, rows = counted_values(values)
        bounds = pc.min_max(texts)
        self._widen(bounds["min"].as_py(), bounds["max"].as_py())
        if self.distinct is not None:
            few = len(texts) <= STAT_VALUES and pc.max(pc.utf8_length(texts)).as_py() <= STAT_TEXT
            found = Counter(dict(zip(texts.to_pylist(), rows.tolist(), strict=True)))
            self.distinct = _few(self.distinct + found) if few else None

    def _add_bounds(self, values: pa.Array) -> None:
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        elif pa.types.is_floating(values.type):
            # Engines disagree on where NaN sorts.
            self.bounded &= not pc.any(pc.is_nan(values)).as_py()
        elif not (pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
            self.bounded = False
        if self.bounded:
            bounds = pc.min_max(values)
            self._widen(bounds["min"].as_py(), bounds["max"].as_py())

    def _widen(self, low: StatValue, high: StatValue) -> None:
        # Python compares texts by code points, in which order their UTF-8 bytes are, too.
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def merge(self, other: _Column) -> None:
        self.present += other.present
        self.bounded &= other.bounded
        if self.ids is not None and other.ids is not None:
            self.ids.merge(other.ids)
        if other.low is not None and other.high is not None:
            self._widen(other.low, other.high)
        if self.distinct is not None:
            self.distinct = None if other.distinct is None else _few(self.distinct + other.distinct)

    def copy(self) -> _Column:
        made = _Column(self.field, searched=self.ids is not None)
        made.merge(self)
        return made

    def described(self, rows: int) -> ColumnStats:
        low, high = (self.low, self.high) if self.bounded else (None, None)
        if isinstance(low, str) and isinstance(high, str):
            low, high = low[:STAT_TEXT], high if len(high) <= STAT_TEXT else None
        known = sorted(self.distinct.items()) if self.distinct else None
        return ColumnStats(
            type=type_name(self.field.type),
            nulls=rows - self.present,
            min=low,
            max=high,
            values=None if known is None else tuple(value for value, _ in known),
            key=field_key(self.field),
            types=field_types(self.field),
            filter=self.ids.text() if self.ids is not None else "",
            counts=None if known is None else tuple(rows for _, rows in known),
        )


def _few(texts: Counter[str]) -> Counter[str] | None:
    return texts if len(texts) <= STAT_VALUES else None
