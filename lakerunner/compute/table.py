"""What a query sees under one table name: columns, files, and how they are scanned."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class ScanMode(StrEnum):
    """How a scan treats its filters.

    A needle evaluates them while it decodes, and decodes the other columns only for rows that are
    left: right for few rows. A sweep decodes every page that statistics leave and filters then:
    right for many.
    """

    NEEDLE = "needle"
    SWEEP = "sweep"


class Recast(NamedTuple):
    """Files that hold some columns as numbers where the table has text.

    They are scanned as they are, and cast above the scan. A scan that casts would also cast what it
    knows of a file's bounds, and 96 < 100 while '100' < '96': it would skip files that matter.

    Attributes:
        files: URLs of the files.
        types: Arrow type of the columns concerned, by name.
    """

    files: tuple[str, ...]
    types: Mapping[str, Any]


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
    """

    name: str
    schema: Any
    files: tuple[str, ...]
    mode: ScanMode
    computed: Mapping[str, str]
    recast: tuple[Recast, ...] = ()
