"""Rows as they are committed: each new row of a table once, from a place that can be kept.

A commit adds segments and, when it merges or rewrites, takes others away. What is new between two
states of a lake are the rows of segments that were made of input; what merely moved is not. Where a
merge came so soon that a state shows the merged rows only, the states in between are gone through
one by one. A page is of one such step, in the order of time; a place is the step, and a cursor in
it.
"""

from __future__ import annotations

import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from lakerunner.catalog.past import PastCatalog, open_past, present, sealed
from lakerunner.errors import CursorError
from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange, isoformat
from lakerunner.query.cursor import query_digest, read_cursor
from lakerunner.query.sql.query import read_sql
from lakerunner.schema.tables import table_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.model.commit import LakeSnapshot
    from lakerunner.model.segment import Segment
    from lakerunner.query.engine import QueryEngine
    from lakerunner.scope import Scope

_VERSION = 1
_PAGE = 1000
_POLL_S = 0.5


class TailPage(NamedTuple):
    """Some new rows.

    Attributes:
        rows: Arrow table, in the order of time within one step; without rows and columns if there
            is nothing new.
        cursor: The place behind them: text that can be kept, and gone on from in any process.
        more: There may be more already.
    """

    rows: Any
    cursor: str
    more: bool


class _Place(NamedTuple):
    version: int
    identity: str
    since_ns: int
    after: str
    until: str = ""
    inner: str = ""


class _Step(NamedTuple):
    """From one state to the next one that has new rows.

    Attributes:
        state: The latter.
        old: Ids of its segments that are not new.
        new: Whether there are new ones.
        still: Nothing at all was committed.
    """

    state: PastCatalog
    old: frozenset[str]
    new: bool
    still: bool = False


_DECODER = msgspec.msgpack.Decoder(_Place)


class Tail:
    """What is committed to one table of one organization. May be used from several threads.

    To go through it is to wait: pages come as rows are committed, from now on, until the loop is
    left. `pages` goes on from an earlier place, and can be stopped.

    Args:
        scope: The lake, as one organization sees it.
        engine: Reads the rows.
        table: Which.
        where: A condition in SQL that rows must meet; empty for all.
        columns: Which columns, as SQL names them; empty for all.
        since_ns: Rows of before this time are not shown, whenever they come: the later it is, the
            fewer segments are looked at.

    Attributes:
        identity: What tells it from others; cursors are of one tail only.

    Raises:
        ConfigurationError: There is no such table.
        QueryError: The condition cannot be read, or may not be used.
    """

    def __init__(
        self,
        scope: Scope,
        engine: QueryEngine,
        table: str,
        where: str = "",
        columns: Sequence[str] = (),
        since_ns: int = MIN_NS,
    ) -> None:
        self._since_ns = since_ns
        self._scope = scope
        self._engine = engine
        self._table = table_spec(table).name
        if where.strip():
            engine.condition(self._table, where)
        shown = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in columns)
        self._select = " ".join(["SELECT", shown or "*", "FROM", self._table])
        self._where = where.strip()
        self.identity = query_digest(scope.organization, f"tail {self._select} {self._where}", {})

    def start(self) -> str:
        """The place at which the lake stands now: what comes later is behind it."""
        return self._write(_Place(_VERSION, self.identity, self._since_ns, str(self._now())))

    def __iter__(self) -> Iterator[TailPage]:
        return self.pages()

    def pages(
        self,
        cursor: str | None = None,
        *,
        limit: int = _PAGE,
        poll_seconds: float = _POLL_S,
        stop: threading.Event | None = None,
    ) -> Iterator[TailPage]:
        """Pages with new rows, as they come, without end.

        Args:
            cursor: The place to go on from; None for now.
            limit: Rows of a page at most.
            poll_seconds: How long to wait before looking again.
            stop: Ends it once it is set.

        Raises:
            SnapshotExpiredError: The place is too old; see `next`.
        """
        cursor = cursor or self.start()
        stop = stop or threading.Event()
        while not stop.is_set():
            page = self.next(cursor, limit)
            cursor = page.cursor
            if page.rows.num_rows:
                yield page
            elif not page.more:
                stop.wait(poll_seconds)

    def next(self, cursor: str, limit: int = _PAGE) -> TailPage:
        """The rows behind a place, some at a time.

        Args:
            cursor: What `start` or a page said.
            limit: Rows at most.

        Raises:
            CursorError: It is no cursor, or of other rows.
            SnapshotExpiredError: It is so old that what came behind it cannot be told any more.
            QueryError: As for any query.
        """
        place = self._read(cursor)
        step = self._step(place)
        following = place._replace(after=self._said(step.state), until="", inner="")
        if not step.new:
            return TailPage(
                pa.table({}), cursor if step.still else self._write(following), more=False
            )
        rows, inner = self._rows(step, place, limit)
        if rows.num_rows == limit:
            following = place._replace(until=self._said(step.state), inner=inner)
        return TailPage(rows, self._write(following), more=True)

    def _rows(self, step: _Step, place: _Place, limit: int) -> tuple[Any, str]:
        conditions = [f"({self._where})"] if self._where else []
        if place.since_ns > MIN_NS:
            conditions.append(f"timestamp >= TIMESTAMP '{isoformat(place.since_ns)}'")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        query = read_sql(f"{self._select}{where} ORDER BY timestamp", limit=limit)
        query.without = step.old
        after = read_cursor(place.inner, self.identity) if place.inner else None
        then = self._engine.within(self._scope.over(step.state))
        result = then.run(query, after=after, identity=self.identity)
        rows = result.to_arrow()
        return rows, result.cursor if rows.num_rows else place.inner

    def _step(self, place: _Place) -> _Step:
        """The next state with new rows, or that of now."""
        before = self._open(place.after)
        until = self._open(place.until) if place.until else self._open(self._now())
        if until.at.sequence <= before.at.sequence:
            return _Step(until, frozenset(), new=False, still=True)
        span = TimeRange(place.since_ns, MAX_NS)
        return self._between(before, until, self._ids(before, span), span)

    def _between(
        self, before: PastCatalog, until: PastCatalog, known: frozenset[str], span: TimeRange
    ) -> _Step:
        """The first state behind `before` with rows that are not in the segments known there."""
        found = self._segments(until, span)
        merged = any(one.kind and one.id not in known for one in found)
        first, last = before.at.sequence, until.at.sequence
        if not merged or last - first == 1:
            new = {one.id for one in found if not one.kind} - known
            return _Step(until, frozenset(one.id for one in found) - new, bool(new))
        middle = PastCatalog(
            self._scope.catalog, replace(until.at, sequence=first + (last - first) // 2)
        )
        step = self._between(before, middle, known, span)
        return step if step.new else self._between(middle, until, self._ids(middle, span), span)

    def _segments(self, state: PastCatalog, span: TimeRange) -> Sequence[Segment]:
        return state.segments(self._scope.organization, self._table, span)

    def _ids(self, state: PastCatalog, span: TimeRange) -> frozenset[str]:
        return frozenset(one.id for one in self._segments(state, span))

    def _sealed_for(self) -> str | None:
        return self._scope.organization if self._scope.bound else None

    def _now(self) -> LakeSnapshot:
        return present(self._scope.catalog, self._sealed_for())

    def _open(self, moment: LakeSnapshot | str) -> PastCatalog:
        return open_past(self._scope.catalog, moment, self._sealed_for())

    def _said(self, state: PastCatalog) -> str:
        return str(sealed(self._scope.catalog, state.at, self._sealed_for()))

    def _write(self, place: _Place) -> str:
        return urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")

    def _read(self, cursor: str) -> _Place:
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            place = _DECODER.decode(urlsafe_b64decode(padded.encode("ascii")))
        except (ValueError, msgspec.MsgspecError):
            raise CursorError("this is no cursor of a tail: give it back as it was said") from None
        if (place.version, place.identity) != (_VERSION, self.identity):
            raise CursorError(
                "the cursor is of another tail: give it back with the same table, condition, "
                "columns and organization"
            )
        return place
