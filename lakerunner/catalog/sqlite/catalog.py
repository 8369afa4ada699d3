"""The catalog in one SQLite file."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lakerunner.catalog.admission import (
    check_commit,
    condemnable,
    refuse_live,
    require_readable,
    settled,
)
from lakerunner.catalog.base import ALL_TIME, PAGE, Catalog, Place
from lakerunner.catalog.change import summarise_counts
from lakerunner.catalog.leases import KEPT_SECONDS, Leases
from lakerunner.catalog.ledger import ANY_SIZE, MERGED_AT_ONCE, RECENT, pack
from lakerunner.catalog.sqlite.applying import (
    KNOWN,
    add_condemned,
    apply_commit,
    find_segments,
    find_sources,
    forget_sources,
    lookup,
    read_head,
    write_head,
)
from lakerunner.catalog.sqlite.ledger import SqliteShelf, is_full
from lakerunner.catalog.sqlite.pool import ConnectionPool
from lakerunner.errors import CatalogError, ConfigurationError
from lakerunner.model.commit import Snapshot
from lakerunner.model.segment import Rejection, Source, decode_segment
from lakerunner.model.times import MAX_NS, MIN_NS, NANOS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from lakerunner.model.commit import Commit, Head
    from lakerunner.model.segment import Segment, SourceState
    from lakerunner.model.times import TimeRange

# Leases for work in a catalog file, for the processes of one machine, by its clock.

_FREE = "SELECT 1 FROM leases WHERE kind = ? AND key = ? AND expires_ns > ?"
_TAKE = """
    INSERT INTO leases (kind, key, owner, expires_ns) VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, key) DO UPDATE
    SET owner = excluded.owner, expires_ns = excluded.expires_ns"""
_RENEW = "UPDATE leases SET expires_ns = ? WHERE kind = ? AND key = ? AND owner = ?"


class SqliteLeases(Leases):
    """Leases among the processes that open the same file.

    Args:
        pool: The connections of the catalog, which closes them.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def take(
        self, kind: str, keys: Sequence[str], owner: str, seconds: float, *, limit: int = 1
    ) -> list[str]:
        """Take what nobody has, in one transaction."""
        taken: list[str] = []
        with self._pool.writing() as connection:
            now_ns = time.time_ns()
            connection.execute(
                "DELETE FROM leases WHERE expires_ns < ?", (now_ns - KEPT_SECONDS * NANOS,)
            )
            for key in dict.fromkeys(keys):
                if len(taken) == limit:
                    break
                if connection.execute(_FREE, (kind, key, now_ns)).fetchone() is None:
                    taken.append(key)
                    expires_ns = now_ns + int(seconds * NANOS)
                    connection.execute(_TAKE, (kind, key, owner, expires_ns))
        return taken

    def renew(self, kind: str, keys: Sequence[str], owner: str, seconds: float) -> list[str]:
        """Move the end of the owner's leases."""
        with self._pool.writing() as connection:
            expires_ns = time.time_ns() + int(seconds * NANOS)
            return [
                key
                for key in dict.fromkeys(keys)
                if connection.execute(_RENEW, (expires_ns, kind, key, owner)).rowcount
            ]

    def release(self, kind: str, keys: Sequence[str], owner: str) -> None:
        """Delete the owner's leases."""
        with self._pool.writing() as connection:
            connection.executemany(
                "DELETE FROM leases WHERE kind = ? AND key = ? AND owner = ?",
                ((kind, key, owner) for key in keys),
            )


# A segment that starts at or before the last instant asked for ends at most the longest extent
# later. With that upper bound the walk over `max_ns` has two ends; without it, it would go on to
# the newest segment. The sum is held inside 64 bits, where SQLite's integers end; an extent of
# `:longest` may be longer than it says, and bounds nothing.
_OVERLAP = """
    FROM tables CROSS JOIN segments ON segments.table_number = tables.number
    WHERE tables.organization = :organization AND tables.name = :table
        AND max_ns >= :first
        AND max_ns <= CASE extent_ns WHEN :longest THEN :longest
            ELSE :last + min(extent_ns, :room) END
        AND min_ns <= :last"""

SEGMENTS_NOW = f"SELECT payload {_OVERLAP} AND removed IS NULL"
"""Live segments, by the index `segments_live`."""

SEGMENTS_THEN = f"""
    SELECT payload {_OVERLAP} AND removed IS NULL AND added <= :sequence
    UNION ALL
    SELECT payload {_OVERLAP} AND removed IS NOT NULL AND added <= :sequence
        AND removed > :sequence"""
"""Segments as they were after a commit: those still live, and those removed since."""

SEGMENTS_PAGE = """
    SELECT payload FROM tables CROSS JOIN segments ON segments.table_number = tables.number
    WHERE tables.organization = :organization AND tables.name = :table AND removed IS NULL
        AND max_ns >= :end AND (max_ns > :end OR id > :id)
    ORDER BY max_ns, id LIMIT :limit"""
"""The next live segments, by the index `segments_live`."""

_FROM_A_PLACE = """
    FROM tables CROSS JOIN segments ON segments.table_number = tables.number
    WHERE tables.organization = :organization AND tables.name = :table
        AND max_ns >= :end AND (max_ns > :end OR id > :id) AND added <= :sequence"""

_STILL = f"""(SELECT max_ns, id, payload {_FROM_A_PLACE}
    AND removed IS NULL ORDER BY max_ns, id LIMIT :limit)"""

_SINCE = f"""(SELECT max_ns, id, payload {_FROM_A_PLACE}
    AND removed IS NOT NULL AND removed > :sequence ORDER BY max_ns, id LIMIT :limit)"""

_BOTH = "FROM (SELECT * FROM still UNION ALL SELECT * FROM since)"

PAGE_THEN = f"""
    WITH still AS {_STILL}, since AS {_SINCE}
    SELECT payload {_BOTH} ORDER BY max_ns, id LIMIT :limit"""
"""The next segments that were live after a commit: those that still are, or were removed since."""

SEGMENTS_REMOVED = """
    SELECT payload FROM segments WHERE removed IS NOT NULL AND removed_ns < ?
    ORDER BY removed_ns, id LIMIT ?"""
"""Removed segments, by the index `segments_removed`."""

SEQUENCE_AT = """
    SELECT coalesce(max(sequence), 0) FROM commits WHERE sequence < coalesce(
        (SELECT min(sequence + 0) FROM commits WHERE committed_ns > :time), :longest)"""
"""The commit before the first one after a time; walks over those after it, by `commits_by_time`.
`+ 0` keeps the planner from walking over all others, in the order of the minimum it looks for."""

_REJECTIONS = """
    SELECT buckets.url, key, etag, code, reason, rejected_ns, rows
    FROM rejections
    JOIN buckets ON buckets.number = rejections.bucket
    WHERE organization = ?
    ORDER BY rejected_ns, buckets.url, key, etag, rejections.number"""

_LOG = logging.getLogger(__name__)
_BY_TIME = attrgetter("min_timestamp_ns", "id")


class SqliteCatalog(Catalog):
    """A catalog in one SQLite file, for the threads and processes of one machine.

    The file must lie on a local disk: SQLite's locks do not hold on network file systems. It may be
    pickled and survives a fork; the other side opens the file anew. Commits are serialised; readers
    never wait for a writer. `close` may be followed by further calls, which open the file again.

    Args:
        location: A path, or `sqlite:///` and an absolute path. File and directories are made if
            they are missing.

    Raises:
        ConfigurationError: The URL does not name an absolute path.
        CatalogVersionError: The file was written by a newer version; it is left untouched.
        CatalogError: The file is damaged, or belongs to another program.
        CatalogUnavailableError: The file cannot be opened.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from lakerunner.model.commit import Commit
        >>> with TemporaryDirectory() as directory, SqliteCatalog(f"{directory}/c.db") as catalog:
        ...     catalog.commit(Commit("c1", "acme", committed_ns=0))
        1
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.path = _path(location)
        self.url = f"sqlite://{self.path.as_posix()}"
        self._pool = ConnectionPool(self.path)
        self._taken = RECENT  # since this process looked whether the ledger is to be packed

    @classmethod
    def existing(cls, location: str | os.PathLike[str]) -> SqliteCatalog:
        """Open a catalog that is there, to read it.

        Raises:
            ConfigurationError: There is no such file.
        """
        path = _path(location)
        if not path.exists():
            url = f"sqlite://{path.as_posix()}"
            raise ConfigurationError(f"there is no catalog at {url}", url=url)
        return cls(path)

    def commit(self, commit: Commit) -> int:
        """Apply a commit in one transaction, synced to the disk before it returns."""
        commit = check_commit(commit)
        with self._pool.writing() as connection:
            sequence = apply_commit(connection, commit)
        self._taken += len(commit.taken)
        if commit.taken and self._taken >= RECENT // 4:
            self._taken = 0
            with self._pool.reading() as connection:
                due = is_full(connection, RECENT)
            if due:
                self._pack(MERGED_AT_ONCE)
        return sequence

    def forget(self, sources: Sequence[Source]) -> None:
        """Delete their digests, wherever they are."""
        with self._pool.writing() as connection:
            forget_sources(connection, sources)

    def _pack(self, limit: int, *, at_least: int = 0) -> None:
        """Pack the ledger of sources; what was committed stands, whatever becomes of it.

        Others see the old state or the new one of each slice. One process packs at a time.
        """
        try:
            with self._pool.queue.alone():
                pack(self._shelf, limit, at_least=at_least)
        except BlockingIOError:
            return
        except (CatalogError, OSError) as error:
            _LOG.warning("the ledger of sources was not packed, a later commit does it: %s", error)

    @contextmanager
    def _shelf(self) -> Iterator[SqliteShelf]:
        with self._pool.writing() as connection:
            yield SqliteShelf(connection)

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find segments by an index walk bounded at both ends."""
        last = _int64(time_range.end_ns - 1)
        values = {
            "organization": organization,
            "table": table,
            "first": _int64(time_range.start_ns),
            "last": last,
            "longest": MAX_NS,
            "room": MAX_NS - max(last, 0),
            "sequence": sequence,
        }
        with self._pool.reading() as connection:
            if sequence is not None:
                require_readable(sequence, read_head(connection).purged)
            statement = SEGMENTS_NOW if sequence is None else SEGMENTS_THEN
            rows = connection.execute(statement, values).fetchall()
        return sorted((decode_segment(payload) for (payload,) in rows), key=_BY_TIME)

    def page(
        self,
        organization: str,
        table: str,
        *,
        after: Place | None = None,
        limit: int = PAGE,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Walk the index of live segments from a place on."""
        end_ns, last = after or (MIN_NS, "")
        values = {
            "organization": organization,
            "table": table,
            "end": end_ns,
            "id": last,
            "limit": limit,
            "sequence": sequence,
        }
        with self._pool.reading() as connection:
            if sequence is not None:
                require_readable(sequence, read_head(connection).purged)
            statement = SEGMENTS_PAGE if sequence is None else PAGE_THEN
            rows = connection.execute(statement, values).fetchall()
        return [decode_segment(payload) for (payload,) in rows]

    def known(self, segment_ids: Sequence[str]) -> set[str]:
        """Look ids up, hundreds in one statement."""
        with self._pool.reading() as connection:
            keys = [(segment_id,) for segment_id in segment_ids]
            return {found for (found,) in lookup(connection, KNOWN, keys)}

    def tables(self, *, ever: bool = False) -> Sequence[tuple[str, str]]:
        """List the tables, from their totals."""
        with self._pool.reading() as connection:
            return connection.execute(
                "SELECT organization, name FROM tables WHERE ? OR segments > 0"
                " ORDER BY organization, name",
                (ever,),
            ).fetchall()

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """Look sources up, hundreds in one statement."""
        with self._pool.reading() as connection:
            return find_sources(connection, sources)

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """Describe a table from the totals that each commit maintains."""
        with self._pool.reading() as connection:
            (sequence,) = connection.execute("SELECT max(sequence) FROM commits").fetchone()
            totals = connection.execute(
                "SELECT number, segments, rows, bytes FROM tables"
                " WHERE organization = ? AND name = ?",
                (organization, table),
            ).fetchone()
            number, segments, rows, size = totals or (None, 0, 0, 0)
            columns = connection.execute(
                "SELECT name, type, overflow, live FROM columns WHERE table_number = ?", (number,)
            ).fetchall()
        return Snapshot(
            sequence=sequence or 0,
            segments=segments,
            rows=rows,
            bytes=size,
            columns=summarise_counts(
                ((name, kind, bool(overflow)), live) for name, kind, overflow, live in columns
            ),
        )

    def sequence_at(self, time_ns: int) -> int:
        """Find the state at a time by an index."""
        values = {"time": _int64(time_ns), "longest": MAX_NS}
        with self._pool.reading() as connection:
            (sequence,) = connection.execute(SEQUENCE_AT, values).fetchone()
        return int(sequence)

    def rejections(self, organization: str) -> Sequence[Rejection]:
        """List what is set aside."""
        with self._pool.reading() as connection:
            found = connection.execute(_REJECTIONS, (organization,)).fetchall()
        return [
            Rejection(Source(bucket, key, etag), code, reason, rejected_ns, rows)
            for bucket, key, etag, code, reason, rejected_ns, rows in found
        ]

    def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
        """List removed segments, of all organizations."""
        with self._pool.reading() as connection:
            values = _int64(before_ns), -1 if limit is None else limit
            rows = connection.execute(SEGMENTS_REMOVED, values).fetchall()
        return [decode_segment(payload) for (payload,) in rows]

    def purge(self, segment_ids: Sequence[str]) -> None:
        """Forget removed segments."""
        with self._pool.writing() as connection:
            known = find_segments(connection, list(dict.fromkeys(segment_ids)))
            refuse_live([row.id for row in known.values() if row.live])
            head = read_head(connection)
            purged = max([head.purged, *(row.removed or 0 for row in known.values())])
            write_head(connection, replace(head, purged=purged))
            connection.executemany("DELETE FROM segments WHERE id = ?", ((i,) for i in known))
        self._pack(ANY_SIZE)

    def head(self) -> Head:
        """Say where the catalog stands."""
        with self._pool.reading() as connection:
            return read_head(connection)

    def condemn(
        self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        """Condemn what no commit has added, in the writer's transaction."""
        with self._pool.writing() as connection:
            head = read_head(connection)
            condemnable(incarnation, head)
            names = list(dict.fromkeys(segment_ids))
            known = find_segments(connection, names)
            free = [name for name in names if name not in known]
            head = replace(head, floor=max(head.floor, floor))
            write_head(connection, head)
            add_condemned(connection, free, head.floor)
        return free

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        """Become the catalog of an incarnation of a lake."""
        with self._pool.writing() as connection:
            head = read_head(connection)
            settled(head, lake, incarnation)
            write_head(connection, replace(head, lake=lake, incarnation=incarnation, whole=whole))

    def leases(self) -> Leases:
        """Leases among all who open this file, by the clock of their machine."""
        return SqliteLeases(self._pool)

    def close(self) -> None:
        """Release connections and file; the next call opens them again."""
        self._pool.close()

    def __reduce__(self) -> tuple[type[SqliteCatalog], tuple[Path]]:
        return type(self), (self.path,)


def _int64(nanoseconds: int) -> int:
    return max(MIN_NS, min(nanoseconds, MAX_NS))


def _path(location: str | os.PathLike[str]) -> Path:
    if not isinstance(location, str) or not location.startswith("sqlite://"):
        return Path(location).resolve()
    path = location.removeprefix("sqlite://")
    if not path.strip("/") or not path.startswith("/"):
        raise ConfigurationError(
            f"{location!r} names no file; write sqlite:/// and an absolute path", url=location
        )
    return Path(f"/{path.lstrip('/')}").resolve()
