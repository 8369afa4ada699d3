"""From PostgreSQL's error codes to lakerunner's errors: what a handler would do about each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.errors import CatalogError, CatalogUnavailableError, CommitUnknownError
from lakerunner.limits import CATALOG_BUSY_MS

if TYPE_CHECKING:
    import psycopg

    from lakerunner.catalog.postgres.address import Address

_BUSY = f"was busy for longer than {CATALOG_BUSY_MS} ms"

_MAY_PASS = {
    "57014": _BUSY,
    "55P03": _BUSY,
    "25P03": f"heard nothing from this process for {CATALOG_BUSY_MS} ms in a transaction",
    "25006": "is read-only; is it a standby?",
    "40": "was undone by the server for another one's sake",
    "53": "has no more room, memory or connections to give",
    "57": "is shutting down or starting up",
    "58": "failed to read or write its disk",
    "08": "lost the connection",
}
"""By the whole code or by its class, which are its first two characters."""

_STAYS = {
    "42501": "does not let this user do that; grant it, or let its owner open the catalog first",
    "42P01": "does not have the tables it should have; were they dropped?",
    "42703": "does not have the columns it should have; were its tables altered?",
    "3F": "does not have the tables it should have; was the schema dropped?",
    "XX": "is damaged; restore a backup or rebuild the catalog from the segments",
}

_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "permission denied for database",
)
"""What a server that works says to a stranger. The client library reports no code for these."""


def translate(error: psycopg.Error, address: Address, *, committing: bool = False) -> CatalogError:
    """The error to raise in place of psycopg's own.

    Args:
        error: What psycopg raised.
        address: The catalog, for the message.
        committing: The connection broke while the reply to COMMIT was awaited, so nobody can tell
            whether the transaction is part of the catalog.
    """
    code = error.sqlstate or ""
    detail = " ".join((error.diag.message_primary or str(error)).split())
    for secret in address.secrets:
        detail = detail.replace(secret, "***")
    context = {"url": address.url, "postgres": code or type(error).__name__}
    if committing:
        return CommitUnknownError(
            f"catalog {address.url} did not answer to a commit: {detail}", **context
        )
    if what := _MAY_PASS.get(code) or _MAY_PASS.get(code[:2]):
        return CatalogUnavailableError(f"catalog {address.url} {what}: {detail}", **context)
    if what := _STAYS.get(code) or _STAYS.get(code[:2]):
        return CatalogError(f"catalog {address.url} {what} ({detail})", **context)
    if code or not _is_of_connection(error):
        return CatalogError(f"catalog {address.url} failed: {detail}", **context)
    if any(words in detail for words in _REFUSALS):
        return CatalogError(f"catalog {address.url} refused the connection: {detail}", **context)
    return CatalogUnavailableError(f"catalog {address.url} cannot be reached: {detail}", **context)


def _is_of_connection(error: psycopg.Error) -> bool:
    # Only the client library itself raises this class without a code of the server.
    return type(error).__name__ in {"OperationalError", "ConnectionTimeout"}
