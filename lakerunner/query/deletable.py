"""The condition of a deletion: read once, and refused unless it means the same for ever."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from lakerunner.compute.hidden import Hidden
from lakerunner.compute.table import ScanMode, Table
from lakerunner.errors import QuerySyntaxError, UnsupportedQueryError
from lakerunner.schema.arrays import TYPES, common_type
from lakerunner.schema.tables import SERVICE

if TYPE_CHECKING:
    from lakerunner.compute.session import Session
    from lakerunner.model.commit import Snapshot
    from lakerunner.schema.tables import TableSpec

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_CHANGING = re.compile(
    r"\b(?:(?:now|random|uuid|today|rand)\s*\(|current_(?:date|time|timestamp)\b|select\b)",
    re.IGNORECASE,
)


def read_condition(
    session: Session, spec: TableSpec, snapshot: Snapshot, where: str
) -> dict[str, str]:
    """Make sure that a condition can be judged of each row, now and later.

    Args:
        session: Where it is tried.
        spec: The table whose rows it is about.
        snapshot: Its current state.
        where: The condition, in SQL, over the columns of the table.

    Returns:
        The types of the attributes that it speaks of, by column: what they are to it from now on.

    Raises:
        QuerySyntaxError: It cannot be read, is no condition, or names a column that nobody sent.
        UnsupportedQueryError: It asks other rows, or what it says changes with time.
    """
    plain = _QUOTED.sub("''", where)
    if not where.strip():
        raise QuerySyntaxError("a deletion needs a condition; where='true' is that of all rows")
    if found := _CHANGING.search(plain):
        raise UnsupportedQueryError(
            "the condition of a deletion must mean the same whenever it is judged, and of each row "
            f"by itself: {found[0].rstrip('( ')!r} does not; name times, or give start and end",
            query=where,
        )
    attributes = {
        name: common_type(one.types)
        for name, one in snapshot.columns.items()
        if name not in spec.schema.names
    }
    schema = pa.schema([*spec.schema, *((name, TYPES[kind]) for name, kind in attributes.items())])
    table = Table(spec.name, schema, (), ScanMode.SWEEP, {}, aliases=spec.aliases)
    text = " ".join(["SELECT 1 FROM", spec.name, f"WHERE ({where})"])
    scans = session.plan(text, [table]).optimized().scans()
    session.marks([], schema, [Hidden(where)])
    types = attributes | {SERVICE: "string"}
    read = {column for scan in scans for column in scan.columns}
    return {name: types[name] for name in sorted(read & types.keys())}
