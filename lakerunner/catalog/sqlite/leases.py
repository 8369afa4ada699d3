"""Leases for work in a catalog file, for the processes of one machine, by its clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakerunner.catalog.leases import KEPT_SECONDS, Leases
from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.sqlite.pool import ConnectionPool

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
