"""What a query sees under one table name: columns, files, and how they are scanned."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lakerunner.model.times import TimeRange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakerunner.compute.hidden import Hidden

NAMED_FIRST, NAMED_LAST = "__own_names", "__own_names_end"
"""Columns around those of `Table.named`. A `*` returns them all in a row, which is left out of the
result: only what a query names is shown under that name."""

READ_OPTIONS: Final[dict[str, Any]] = {
    # Any name will do; a file of another extension would be left out in silence.
    "file_extension": "",
    # No order is declared. Left to itself, DataFusion (seen in 55.2) takes it from the footer, and
    # where a column is read as another type than its own it believes that files which overlap
    # follow one another: ORDER BY then returns rows out of order.
    "file_sort_order": [[]],
}
"""Options of `SessionContext.read_parquet`, whichever road takes it there."""


class ScanMode(StrEnum):
    """How a scan treats its filters.

    A needle evaluates them while it decodes, and decodes the other columns only for rows that are
    left: right for few rows. A sweep decodes every page that statistics leave and filters then:
    right for many.
    """

    NEEDLE = "needle"
    SWEEP = "sweep"


TALLY_ROWS = "__rows"
"""What the number of rows is called in a table of `Table.tally`."""


class Tally(NamedTuple):
    """How many rows have which value of a column, of files that are not read for it.

    Attributes:
        column: Which column.
        rows: Values, None for NULL, with their rows.
    """

    column: str
    rows: tuple[tuple[str | None, int], ...]


class Recast(NamedTuple):
    """Files that hold some columns as numbers where the table has text, or rows that are not seen.

    They are scanned as they are, and cast above the scan. A scan that casts would also cast what it
    knows of a file's bounds, and 96 < 100 while '100' < '96': it would skip files that matter.

    Attributes:
        files: URLs of the files.
        types: Arrow type of the columns concerned, by name.
        named: As `Table.named_from`, for these files.
        hidden: Rows of these files that nobody sees.
    """

    files: tuple[str, ...]
    types: Mapping[str, Any]
    named: Mapping[str, str] = MappingProxyType({})
    hidden: tuple[Hidden, ...] = ()


class Table(NamedTuple):
    """A table of one query.

    Attributes:
        name: What the query calls it.
        schema: Arrow schema under which every file is read. A column that a file lacks is NULL
            there. One of another type is cast, which must keep the order of its values: from an
            integer to a float, from a dictionary to text.
        files: URLs of the files; none makes an empty table.
        mode: How they are scanned.
        computed: SQL expression by column name, for columns whose value is not simply that of the
            file. A name that is also in the schema hides the column of the file.
        recast: Further files, of other types than the schema has.
        named: Arrow type by name, for columns that are another column in one file than in the next.
        named_from: SQL expression by name: what these columns are in `files`.
        aliases: What the query may call it as well.
        numbers: Columns of doubles of which no file has a NaN.
        times: Rows of other times are not in it.
        within: A condition in SQL, over columns of `files`, that is true of all rows that the query
            needs of them; the engine skips parts of files by it.
        tally: Further rows, of which no more is known than a number by value: then the table has
            that column alone, and `TALLY_ROWS`.
    """

    name: str
    schema: Any
    files: tuple[str, ...]
    mode: ScanMode
    computed: Mapping[str, str]
    recast: tuple[Recast, ...] = ()
    named: Mapping[str, Any] = MappingProxyType({})
    named_from: Mapping[str, str] = MappingProxyType({})
    aliases: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()
    times: TimeRange = TimeRange()
    within: str = ""
    tally: Tally | None = None
