"""The catalog in a schema of a PostgreSQL database."""

from __future__ import annotations

import logging
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, LiteralString

import msgspec
import psycopg
from msgspec.structs import replace

from lakerunner.catalog.admission import (
    check_commit,
    condemnable,
    refuse_live,
    refuse_unfinished,
    require_readable,
    settled,
)
from lakerunner.catalog.base import ALL_TIME, PAGE, Catalog, Place
from lakerunner.catalog.change import summarise_counts
from lakerunner.catalog.leases import KEPT_SECONDS, Leases
from lakerunner.catalog.ledger import ANY_SIZE, MERGED_AT_ONCE, RECENT
from lakerunner.catalog.postgres.applying import (
    HEAD,
    LOCK_HEAD,
    add_condemned,
    apply_commit,
    forget_sources,
    head_of,
    write_head,
)
from lakerunner.catalog.postgres.ledger import (
    ASIDE,
    TAKEN,
    digests_of,
    identities,
    pack_ledger,
    states_of,
)
from lakerunner.catalog.postgres.pool import Pool, read_address, translate
from lakerunner.errors import CatalogError
from lakerunner.model.commit import Head, Snapshot
from lakerunner.model.segment import Rejection, decode_segment
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment, Source, SourceState
    from lakerunner.model.times import TimeRange

# Leases for work in a table, taken by whoever locks the row first.

# A row can only be skipped if it is there. Rows that nobody took or gave back go when they are old.
_SWEEP: LiteralString = """
    DELETE FROM leases WHERE (kind, key) IN (
        SELECT kind, key FROM leases WHERE expires < now() - %(kept)s
        ORDER BY expires LIMIT 1000 FOR UPDATE SKIP LOCKED)"""

_OFFER: LiteralString = """
    INSERT INTO leases (kind, key, expires)
    SELECT %(kind)s::text, key, clock_timestamp()
    FROM unnest(%(keys)s::text[]) AS asked (key)
    WHERE NOT EXISTS (
        SELECT FROM leases WHERE leases.kind = %(kind)s AND leases.key = asked.key OFFSET 0)
    ORDER BY key
    ON CONFLICT DO NOTHING"""

# The candidates are tried one after the other, in their order, until there are enough: only those
# that are taken are ever locked.
_TAKE: LiteralString = """
    WITH free AS MATERIALIZED (
        SELECT found.key
        FROM unnest(%(keys)s::text[]) AS asked (key)
        CROSS JOIN LATERAL (
            SELECT key FROM leases
            WHERE leases.kind = %(kind)s AND leases.key = asked.key
                AND (owner IS NULL OR expires <= clock_timestamp())
            FOR UPDATE SKIP LOCKED) AS found
        LIMIT %(limit)s)
    UPDATE leases SET owner = %(owner)s, expires = clock_timestamp() + %(time)s
    WHERE kind = %(kind)s AND key = ANY (ARRAY (SELECT key FROM free))
    RETURNING key"""

_RENEW: LiteralString = """
    UPDATE leases SET expires = clock_timestamp() + %(time)s
    WHERE kind = %(kind)s AND key = ANY(%(keys)s::text[]) AND owner = %(owner)s
    RETURNING key"""

_RELEASE: LiteralString = """
    DELETE FROM leases
    WHERE kind = %(kind)s AND key = ANY(%(keys)s::text[]) AND owner = %(owner)s"""


class PostgresLeases(Leases):
    """Leases among all who open the same catalog, by the clock of the server.

    Args:
        pool: The connections of the catalog, which closes them.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def take(
        self, kind: str, keys: Sequence[str], owner: str, seconds: float, *, limit: int = 1
    ) -> list[str]:
        """Offer what is new, then take the first rows that nobody holds or has locked."""
        wanted = list(dict.fromkeys(keys))
        values = {"kind": kind, "keys": wanted, "owner": owner, "time": timedelta(seconds=seconds)}
        self._pool.execute(_SWEEP, {"kept": timedelta(seconds=KEPT_SECONDS)})
        self._pool.execute(_OFFER, values)
        taken = {key for (key,) in self._pool.execute(_TAKE, values | {"limit": limit})}
        return [key for key in wanted if key in taken]

    def renew(self, kind: str, keys: Sequence[str], owner: str, seconds: float) -> list[str]:
        """Move the end of the owner's leases."""
        values = {
            "kind": kind,
            "keys": list(keys),
            "owner": owner,
            "time": timedelta(seconds=seconds),
        }
        kept = {key for (key,) in self._pool.execute(_RENEW, values)}
        return [key for key in dict.fromkeys(keys) if key in kept]

    def release(self, kind: str, keys: Sequence[str], owner: str) -> None:
        """Delete the owner's rows."""
        self._pool.execute(_RELEASE, {"kind": kind, "keys": list(keys), "owner": owner})


# A segment that starts at or before the last instant asked for ends at most the longest extent
# later. With that upper bound the walk over `max_ns` has two ends; without it, it would go on to
# the newest segment. The sum is held inside 64 bits, where PostgreSQL's integers end; an extent of
# `longest` may be longer than it says, and bounds nothing.
# OFFSET 0 keeps the inner query as it is: a walk that begins at the table and the first instant.
_OVERLAP: LiteralString = """
    FROM tables CROSS JOIN LATERAL (
        SELECT payload FROM segments
        WHERE table_number = tables.number
            AND max_ns >= %(first)s::bigint
            AND max_ns <= CASE tables.extent_ns WHEN %(longest)s::bigint THEN %(longest)s::bigint
                ELSE %(last)s::bigint + least(tables.extent_ns, %(room)s::bigint) END
            AND min_ns <= %(last)s::bigint
            AND """

_OF_TABLE: LiteralString = """
        OFFSET 0) AS found
    WHERE tables.organization = %(organization)s AND tables.name = %(table)s"""

SEGMENTS_NOW: LiteralString = f"SELECT payload {_OVERLAP} removed IS NULL {_OF_TABLE}"
"""Live segments, by the index `segments_live`."""

_STANDING: LiteralString = "FROM lakerunner_catalog AS standing"

SEGMENTS_THEN: LiteralString = f"""
    SELECT standing.purged, NULL::bytea AS payload {_STANDING}
    UNION ALL
    SELECT 0, payload {_OVERLAP} removed IS NULL AND added <= %(sequence)s::bigint {_OF_TABLE}
    UNION ALL
    SELECT 0, payload {_OVERLAP} removed IS NOT NULL AND added <= %(sequence)s::bigint
        AND removed > %(sequence)s::bigint {_OF_TABLE}"""
"""Segments as they were after a commit: those still live, and those removed since. The row without
any says up to which commit removals were forgotten."""

SEGMENTS_PAGE: LiteralString = """
    SELECT found.* FROM tables CROSS JOIN LATERAL (
        SELECT max_ns, id, payload FROM segments
        WHERE table_number = tables.number AND removed IS NULL AND max_ns >= %(end)s::bigint
            AND (max_ns > %(end)s::bigint OR id > %(id)s::text)
        ORDER BY max_ns, id LIMIT %(limit)s::bigint) AS found
    WHERE tables.organization = %(organization)s AND tables.name = %(table)s"""
"""The next live segments, by the index `segments_live`."""

_FROM_A_PLACE: LiteralString = """
    SELECT found.* FROM tables CROSS JOIN LATERAL (
        SELECT max_ns, id, payload FROM segments
        WHERE table_number = tables.number AND max_ns >= %(end)s::bigint
            AND (max_ns > %(end)s::bigint OR id > %(id)s::text)
            AND added <= %(sequence)s::bigint AND """

_TO_ITS_END: LiteralString = """
        ORDER BY max_ns, id LIMIT %(limit)s::bigint) AS found
    WHERE tables.organization = %(organization)s AND tables.name = %(table)s"""

PAGE_THEN: LiteralString = f"""
    SELECT standing.purged AS max_ns, ''::text AS id, NULL::bytea AS payload {_STANDING}
    UNION ALL ({_FROM_A_PLACE} removed IS NULL {_TO_ITS_END})
    UNION ALL ({_FROM_A_PLACE}
        removed IS NOT NULL AND removed > %(sequence)s::bigint {_TO_ITS_END})"""
"""The next segments that were live after a commit, from both indexes, and what was purged."""

_KNOWN: LiteralString = "SELECT id FROM segments WHERE id = ANY(%(ids)s::text[])"

SEGMENTS_REMOVED: LiteralString = """
    SELECT removed_ns, id, payload FROM segments
    WHERE removed IS NOT NULL AND removed_ns < %(before)s::bigint
    ORDER BY removed_ns, id LIMIT %(limit)s::bigint"""
"""Removed segments, by the index `segments_removed`."""

SEQUENCE_AT: LiteralString = """
    SELECT coalesce(max(commits.sequence), 0) FROM commits
    WHERE commits.sequence < coalesce(
        (SELECT min(later.sequence + 0) FROM commits AS later
            WHERE later.committed_ns > %(moment)s::bigint), %(longest)s::bigint)"""
"""The commit before the first one after a time; walks over those after it, by `commits_by_time`.
`+ 0` keeps the planner from walking over all others, in the order of the minimum it looks for."""

_SNAPSHOT: LiteralString = """
    SELECT guard.sequence, t.segments, t.rows, t.bytes, c.name, c.type, c.overflow, c.live
    FROM (SELECT) AS one
    LEFT JOIN tables AS t ON t.organization = %(organization)s AND t.name = %(table)s
    LEFT JOIN columns AS c ON c.table_number = t.number"""

_REJECTIONS: LiteralString = """
    SELECT number, payload FROM rejections WHERE organization = %(organization)s"""

_SOURCES: LiteralString = f"{TAKEN} UNION ALL {ASIDE}"

_TABLES: LiteralString = """
    SELECT organization, name FROM tables WHERE segments > 0 OR %(ever)s::boolean"""

_PURGE: LiteralString = """
    SELECT id, removed FROM segments WHERE id = ANY(%(ids)s::text[])"""

_FORGET: LiteralString = "DELETE FROM segments WHERE id = ANY(%(ids)s::text[])"

_LOG = logging.getLogger(__name__)
_BY_TIME = attrgetter("min_timestamp_ns", "id")
_REJECTION = msgspec.json.Decoder(Rejection)


class PostgresCatalog(Catalog):
    """A catalog in PostgreSQL 13 or newer, for any number of threads, processes and machines.

    It has a schema of its own, so that one database may hold many catalogs. Commits are serialised
    for the milliseconds they take; readers never wait. It may be pickled, with its password, and
    survives a fork; the other side opens connections of its own. `close` may be followed by
    further calls, which connect again.

    Args:
        location: `postgresql://user:password@host:port/database?schema=name`. The schema is
            `lakerunner` by default, and made if it is missing. Further options and what is left
            out are those of PostgreSQL's client library: `sslmode`, `PGPASSWORD`, `~/.pgpass`.
        only_read: Create no schema and change none; what is there must be of this version.

    Raises:
        ConfigurationError: The URL cannot be read, or there is no catalog, and none is to be made.
        CatalogVersionError: The schema was written by a newer version; it is left untouched.
        CatalogError: The server refuses us, or the schema belongs to another program.
        CatalogUnavailableError: The server cannot be reached.
    """

    def __init__(self, location: str, *, only_read: bool = False) -> None:
        self._address = read_address(location)
        self.url = self._address.url
        self._only_read = only_read
        self._pool = Pool(self._address, only_read=only_read)
        self._taken = RECENT  # since this process looked whether the ledger is to be packed

    @classmethod
    def existing(cls, location: str) -> PostgresCatalog:
        """Open a catalog that is there, to read it."""
        return cls(location, only_read=True)

    def commit(self, commit: Commit) -> int:
        """Apply a commit in one transaction, in two round trips."""
        commit = check_commit(commit)
        with self._pool.writing() as transaction:
            sequence = apply_commit(transaction, commit, self.url)
        self._taken += len(commit.taken)
        if commit.taken and self._taken >= RECENT // 4:
            self._taken = 0
            self._pack(MERGED_AT_ONCE)
        return sequence

    def forget(self, sources: Sequence[Source]) -> None:
        """Delete their digests, wherever they are, in the order of commits."""
        with self._pool.lent() as connection:
            try:
                with connection.transaction():
                    lock = connection.execute(LOCK_HEAD).fetchall()
                    refuse_unfinished(head_of(lock[0], self.url))
                    forget_sources(connection, sources)
            except psycopg.Error as error:
                raise translate(error, self._address) from error

    def _pack(self, limit: int, *, at_least: int = 0) -> None:
        """Pack the ledger of sources; what was committed stands, whatever becomes of it."""
        try:
            pack_ledger(self._pool, limit, at_least=at_least)
        except CatalogError as error:
            _LOG.warning("the ledger of sources was not packed, a later commit does it: %s", error)

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
        if sequence is None:
            rows = self._pool.read(SEGMENTS_NOW, values)
            return sorted((decode_segment(payload) for (payload,) in rows), key=_BY_TIME)
        rows = self._pool.read(SEGMENTS_THEN, values)
        require_readable(sequence, next(purged for purged, payload in rows if payload is None))
        found = (decode_segment(payload) for _, payload in rows if payload is not None)
        return sorted(found, key=_BY_TIME)

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
        rows = self._pool.read(SEGMENTS_PAGE if sequence is None else PAGE_THEN, values)
        if sequence is not None:
            require_readable(sequence, next(purged for purged, _, data in rows if data is None))
        found = sorted(row for row in rows if row[2] is not None)
        return [decode_segment(payload) for _, _, payload in found[:limit]]

    def known(self, segment_ids: Sequence[str]) -> set[str]:
        """Look ids up, all in one statement."""
        return {found for (found,) in self._pool.read(_KNOWN, {"ids": list(segment_ids)})}

    def tables(self, *, ever: bool = False) -> Sequence[tuple[str, str]]:
        """List the tables, from their totals."""
        return sorted(
            (organization, name) for organization, name in self._pool.read(_TABLES, {"ever": ever})
        )

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """Look sources up, all in one statement."""
        values = {**digests_of(sources), **identities(sources)}
        return states_of(sources, self._pool.read(_SOURCES, values))

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """Describe a table from the totals that each commit maintains."""
        values = {"organization": organization, "table": table}
        rows = self._pool.read(_SNAPSHOT, values)
        sequence, segments, count, size, *_ = rows[0]
        return Snapshot(
            sequence=sequence,
            segments=segments or 0,
            rows=count or 0,
            bytes=size or 0,
            columns=summarise_counts(
                ((name, kind, overflow), live)
                for *_, name, kind, overflow, live in rows
                if name is not None
            ),
        )

    def sequence_at(self, time_ns: int) -> int:
        """Find the state at a time by an index."""
        rows = self._pool.read(SEQUENCE_AT, {"moment": _int64(time_ns), "longest": MAX_NS})
        return int(rows[0][0])

    def rejections(self, organization: str) -> Sequence[Rejection]:
        """List what is set aside."""
        rows = sorted(self._pool.read(_REJECTIONS, {"organization": organization}))
        found = [_REJECTION.decode(payload) for _, payload in rows]
        return sorted(found, key=attrgetter("rejected_at_ns", "source"))

    def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
        """List removed segments, of all organizations."""
        values = {"before": _int64(before_ns), "limit": limit}
        rows = self._pool.read(SEGMENTS_REMOVED, values)
        return [decode_segment(payload) for _, _, payload in sorted(rows)]

    def purge(self, segment_ids: Sequence[str]) -> None:
        """Forget removed segments."""
        ids = list(dict.fromkeys(segment_ids))
        with self._pool.writing() as transaction:
            with transaction.asking() as connection:
                lock = connection.execute(LOCK_HEAD)
                found = connection.execute(_PURGE, {"ids": ids})
            head = head_of(lock.fetchall()[0], self.url)
            known = dict(found.fetchall())
            refuse_live([name for name in ids if name in known and known[name] is None])
            purged = max([head.purged, *known.values()])
            with transaction.changing() as connection:
                write_head(connection, replace(head, purged=purged))
                connection.execute(_FORGET, {"ids": list(known)})
        self._pack(ANY_SIZE)

    def head(self) -> Head:
        """Say where the catalog stands."""
        return Head(*self._pool.read(HEAD, {})[0])

    def condemn(
        self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        """Condemn what no commit has added, in the order of commits."""
        ids = list(dict.fromkeys(segment_ids))
        with self._pool.writing() as transaction:
            with transaction.asking() as connection:
                lock = connection.execute(LOCK_HEAD)
                found = connection.execute(_PURGE, {"ids": ids})
            head = head_of(lock.fetchall()[0], self.url)
            condemnable(incarnation, head)
            known = dict(found.fetchall())
            free = [name for name in ids if name not in known]
            head = replace(head, floor=max(head.floor, floor))
            with transaction.changing() as connection:
                write_head(connection, head)
                add_condemned(connection, free, head.floor)
        return free

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        """Become the catalog of an incarnation of a lake."""
        with self._pool.writing() as transaction:
            with transaction.asking() as connection:
                lock = connection.execute(LOCK_HEAD)
            head = head_of(lock.fetchall()[0], self.url)
            settled(head, lake, incarnation)
            head = replace(head, lake=lake, incarnation=incarnation, whole=whole)
            with transaction.changing() as connection:
                write_head(connection, head)

    def leases(self) -> Leases:
        """Leases for work, shared by all who open this catalog, by the clock of the server."""
        return PostgresLeases(self._pool)

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        self._pool.close()

    def __reduce__(self) -> tuple[Callable[[str], PostgresCatalog], tuple[str]]:
        opener = type(self).existing if self._only_read else type(self)
        return opener, (self._address.location,)


def _int64(nanoseconds: int) -> int:
    return max(MIN_NS, min(nanoseconds, MAX_NS))
