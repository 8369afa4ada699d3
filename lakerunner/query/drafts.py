"""What a query asks of its tables, told by planning it over no files; kept for its next time.

A draft depends on the text and on the names and types of columns, not on rows: a dashboard that
asks again, or a page that goes on, is drafted once for as long as no column comes or goes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lakerunner.compute.table import ScanMode, Table
from lakerunner.limits import QUERY_DRAFTS
from lakerunner.query.views import WITNESS, View, table_view, without_witness
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from lakerunner.compute.first_rows import FirstRows
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.wire import Plan, QuerySession
    from lakerunner.model.commit import ColumnSummary, Snapshot
    from lakerunner.query.query import Mention, Query

_FEW_COLUMNS = 64
"""Up to so many columns are always in the view: cheaper than to look twice when there is a `*`."""

_Columns: TypeAlias = "dict[str, dict[str, tuple[Any, bool, bool]]]"


class Draft(NamedTuple):
    """A query that was planned over no files.

    Attributes:
        views: What it sees of its tables.
        scans: What it asks of them.
        first: Of which rows of one table it returns the first, if that is what it does.
        plan: Its plan, if it is what runs where no file is left.
        tallied: By the values of which column it counts all rows of a table, if that is all.
    """

    views: dict[str, View]
    scans: Sequence[Scan]
    first: FirstRows | None = None
    plan: Plan | None = None
    tallied: str | None = None


class Drafts:
    """The drafts of the queries of one session. May be used from several threads at once.

    Args:
        bound: How many are kept, those that were asked for last.
    """

    def __init__(self, bound: int = QUERY_DRAFTS) -> None:
        self._bound = bound
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[_Columns, Draft]] = OrderedDict()

    def of(
        self,
        query: Query,
        mention: Mention,
        snapshots: Mapping[str, Snapshot],
        session: QuerySession,
    ) -> Draft:
        """The draft of a query, kept or made.

        Args:
            query: What is asked.
            mention: What it speaks of.
            snapshots: The states of the tables that it sees.
            session: Where it is planned; always the same one.
        """
        identity = query.identity()
        if identity is None:
            return draft(query, mention, snapshots, session)
        key = identity, mention.names
        columns = {name: _looks(one.columns) for name, one in snapshots.items()}
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found[0] == columns:
                self._kept.move_to_end(key)
                return found[1]
        made = draft(query, mention, snapshots, session)
        with self._lock:
            self._kept[key] = columns, made
            self._kept.move_to_end(key)
            if len(self._kept) > self._bound:
                self._kept.popitem(last=False)
        return made


def _looks(columns: Mapping[str, ColumnSummary]) -> dict[str, tuple[Any, bool, bool]]:
    """What a view knows of columns: not how many segments have them."""
    return {name: (one.types, one.physical > 0, one.overflow > 0) for name, one in columns.items()}


def draft(
    query: Query, mention: Mention, snapshots: Mapping[str, Snapshot], session: QuerySession
) -> Draft:
    """Plan a query over no files: which columns are read, what every scan asks for, what comes.

    Args:
        query: What is asked.
        mention: What it speaks of.
        snapshots: The states of the tables that it sees.
        session: Where it is planned.
    """
    needs = query.needs()
    every = {
        name: mention.describes or len(snapshot.columns) <= _FEW_COLUMNS
        for name, snapshot in snapshots.items()
    }
    while True:
        views = {
            name: table_view(TABLES[name], snapshot, mention, every=every[name])
            for name, snapshot in snapshots.items()
        }
        if needs is not None:
            return Draft(_without_witness(views), needs)
        drafted = query.build(session, [_empty(name, view) for name, view in views.items()])
        planned = drafted.optimized()
        scans = planned.scans()
        starred = {scan.table for scan in scans if WITNESS in scan.columns}
        if not starred and WITNESS in planned.schema.names:
            # No file is read for it, as below LIMIT 0, and still a `*` shows all that there is.
            starred = set(views)
        if not starred:
            first = planned.first_rows() if len(scans) == 1 and not mention.clock else None
            # Columns of own names are among all others in it, where a `*` would show them.
            plain = not any(view.named for view in views.values())
            alone = plain and len(scans) == 1 and not mention.clock
            return Draft(
                _without_witness(views),
                scans,
                first,
                drafted if plain else None,
                planned.tallied() if alone else None,
            )
        every |= dict.fromkeys(starred, True)


def _empty(name: str, view: View) -> Table:
    aliases = TABLES[name].aliases
    return Table(name, view.with_names(), (), ScanMode.SWEEP, view.computed, aliases=aliases)


def _without_witness(views: Mapping[str, View]) -> dict[str, View]:
    return {name: without_witness(view) for name, view in views.items()}
