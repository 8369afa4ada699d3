"""Leases for work in a table, taken by whoever locks the row first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, LiteralString

from lakerunner.catalog.leases import KEPT_SECONDS, Leases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.postgres.pool import Pool

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
