"""Connections to a server: few, borrowed for one question or one transaction, safe across forks."""

from __future__ import annotations

import os
import re
import threading
import weakref
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

import psycopg
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from lakerunner.catalog.postgres.schema import prepare, require_current
from lakerunner.errors import (
    CatalogError,
    CatalogUnavailableError,
    CommitUnknownError,
    ConfigurationError,
)
from lakerunner.limits import CATALOG_BUSY_MS, CATALOG_CONNECT_S, CATALOG_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Link: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# From PostgreSQL's error codes to lakerunner's errors: what a handler would do about each.

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


_SETTINGS: LiteralString = """
    SELECT set_config('search_path', quote_ident(%(schema)s), false),
        set_config('statement_timeout', %(busy)s, false),
        set_config('idle_in_transaction_session_timeout', %(busy)s, false),
        set_config('plan_cache_mode', 'force_generic_plan', false),
        set_config('jit', 'off', false),
        set_config('enable_seqscan', 'off', false),
        set_config('enable_hashjoin', 'off', false),
        set_config('enable_mergejoin', 'off', false)"""
# A process that is stopped in the middle of a commit holds the others up until the second timeout,
# and no longer. The rest pins the plans: every statement is made to walk an index for each key it
# is given. Left alone, the server plans them while the tables are nearly empty, reads them whole,
# and keeps these plans as they grow: after 200 commits a commit took 0.1 s. A plan that cannot do
# without what is switched off counts as so dear that the server would compile it, every time anew:
# that takes 75 ms, and the plan a tenth of one.

_GUARDED: LiteralString = (
    "SELECT guard.version, found.* FROM lakerunner_catalog AS guard"
    " LEFT JOIN LATERAL ({query}) AS found ON true"
)
"""One statement sees one state: the version is that of the tables that the query read."""


class Transaction:
    """One transaction in two round trips: everything that is asked, then everything that changes.

    Args:
        link: The connection, which is in no transaction.

    Attributes:
        ending: The server was told to make it durable.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pipeline = ExitStack()
        self.ending = False

    @contextmanager
    def asking(self) -> Iterator[Link]:
        """Begin, and ask what the block asks; the answers are there when it ends."""
        # The pipeline stays open: leaving it sends a Flush behind the Sync, at which the server
        # forgets how long the client may keep it waiting.
        pipeline = self._pipeline.enter_context(self._link.pipeline())
        self._link.execute("BEGIN")
        yield self._link
        pipeline.sync()

    @contextmanager
    def changing(self) -> Iterator[Link]:
        """Change what the block changes, and make it durable: when it ends, it is."""
        with self._pipeline:
            yield self._link
            self.ending = True
            # If a change before it fails, the server passes over it.
            self._link.execute("COMMIT")

    def undo(self) -> None:
        """Undo what was not made durable, if there is anything."""
        link = self._link
        with suppress(psycopg.Error):  # what is wrong with the connection was said before
            self._pipeline.close()
            if not link.closed and link.info.transaction_status is not TransactionStatus.IDLE:
                link.rollback()


class Pool:
    """Connections to one schema, opened when they are needed and kept for the next caller.

    A pool that is garbage closes them, and so does the end of the process. After a fork the child
    forgets its parent's and opens its own.

    Args:
        address: Where.
        only_read: Create and change no schema.

    Raises:
        CatalogError: The server refuses us, or the schema cannot be used; see `schema.prepare`.
        CatalogUnavailableError: The server cannot be reached.
    """

    def __init__(self, address: Address, *, only_read: bool = False) -> None:
        self.address = address
        self._only_read = only_read
        self._open: list[ConnectionPool[Link]] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._open)
        _POOLS.add(self)
        self._connections()

    def read(self, query: LiteralString, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """The rows of a query, all of one state of the catalog, in no order.

        Args:
            query: Its first column is never NULL; `guard` is the row of `lakerunner_catalog`.
            values: Its parameters.
        """
        with self.lent() as connection:
            try:
                rows = connection.execute(
                    _GUARDED.format(query=query), values, binary=True
                ).fetchall()
            except psycopg.Error as error:
                raise translate(error, self.address) from error
        if not rows:
            raise CatalogError(
                f"catalog {self.address.url} has lost the row that holds its state",
                url=self.address.url,
            )
        require_current(rows[0][0], self.address.url)
        return [row[1:] for row in rows if row[1] is not None]

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Lend a connection for one transaction, which an exception in the block undoes.

        Raises:
            CommitUnknownError: The connection broke while the server was making it durable.
        """
        with self.lent() as connection:
            transaction = Transaction(connection)
            try:
                yield transaction
            except psycopg.Error as error:
                unknown = transaction.ending and connection.closed
                raise translate(error, self.address, committing=unknown) from error
            finally:
                transaction.undo()

    def execute(self, query: LiteralString, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """The rows of one statement, which is a transaction of its own.

        A reply that is lost leaves open whether it was applied: only for what can be repeated.
        """
        with self.lent() as connection:
            try:
                cursor = connection.execute(query, values)
                return cursor.fetchall() if cursor.description else []
            except psycopg.Error as error:
                raise translate(error, self.address) from error

    def close(self) -> None:
        """Close all connections, those in use as they are returned. New ones may be opened."""
        with self._lock:
            closing, self._open[:] = list(self._open), []
        _close_all(closing)

    @contextmanager
    def lent(self) -> Iterator[Link]:
        """Lend a connection in autocommit mode; errors of it are left as they are."""
        while True:
            pool = self._connections()
            try:
                connection = pool.getconn()
            except PoolClosed:
                continue  # by another thread, just now
            except PoolTimeout:
                raise self._why_not() from None
            break
        try:
            yield connection
        finally:
            broken = connection.closed
            pool.putconn(connection)
            if broken:  # then others may be as well: the next caller must not have to find out
                pool.check()

    def _connections(self) -> ConnectionPool[Link]:
        with self._lock:
            if not self._open:
                # What is wrong shows here and now. The pool tries in the background, and the one
                # who waits for it would learn no more than that it took too long.
                with self._connect() as connection:
                    try:
                        prepare(
                            *(connection, self.address.schema, self.address.url),
                            only_read=self._only_read,
                        )
                    except psycopg.Error as error:
                        raise translate(error, self.address) from error
                pool = ConnectionPool(
                    self.address.conninfo,
                    kwargs={"autocommit": True},
                    configure=self._configure,
                    min_size=0,
                    max_size=CATALOG_CONNECTIONS,
                    timeout=CATALOG_CONNECT_S,
                    reconnect_timeout=CATALOG_CONNECT_S,
                    num_workers=1,
                    name="lakerunner",
                    open=True,
                )
                self._open.append(pool)
            return self._open[0]

    def _connect(self) -> Link:
        try:
            connection = psycopg.connect(self.address.conninfo, autocommit=True)
            try:
                self._configure(connection)
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            raise translate(error, self.address) from error
        return connection

    def _configure(self, connection: Link) -> None:
        values = {"schema": self.address.schema, "busy": str(CATALOG_BUSY_MS)}
        connection.execute(_SETTINGS, values)

    def _why_not(self) -> CatalogError:
        """Why there was no connection in time: because there can be none, or all are in use."""
        try:
            self._connect().close()
        except CatalogError as error:
            return error
        return CatalogUnavailableError(
            f"catalog {self.address.url}: all {CATALOG_CONNECTIONS} connections of this process "
            f"were in use for {CATALOG_CONNECT_S} s",
            url=self.address.url,
        )

    def forget(self) -> None:
        """Leave the connections to the parent of this process, unclosed."""
        self._lock = threading.Lock()
        _PARENTS.extend(self._open)
        self._open.clear()


def _close_all(pools: list[ConnectionPool[Link]]) -> None:
    while pools:
        pools.pop().close()


# A child of a fork shares its parent's sockets and has none of its threads. It must neither use
# the connections nor end them, so it keeps them from ever becoming garbage.
_POOLS: weakref.WeakSet[Pool] = weakref.WeakSet()
_PARENTS: list[ConnectionPool[Link]] = []


def _after_fork() -> None:
    for pool in _POOLS:
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# Where a catalog lives, read from a URL whose password is never shown.

_SCHEMA = "lakerunner"
_NAME_BYTES = 63
"""Bytes of a name in PostgreSQL; it would cut longer ones in silence."""

_HOST = r"(?:\[[^\]@/?#]*\]|[^@/:?#,\[\]]*)(?::\d*)?"
_URL = re.compile(
    r"(?P<scheme>postgres(?:ql)?)://"
    r"(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?:/(?P<database>[^/?#@]*))?"
    r"(?:\?(?P<query>.*))?"
)

_SECRET = frozenset({"password", "sslpassword"})
_DEFAULTS = {
    "application_name": "lakerunner",
    "connect_timeout": str(CATALOG_CONNECT_S),
    # A server that vanishes without a word is noticed in a minute and not in two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


class Address(NamedTuple):
    """A schema in a database, and how to connect to it.

    Attributes:
        location: The URL as it was given, with its password if it has one.
        url: The URL without it, for people.
        schema: The schema that holds the tables.
        conninfo: What the client library is given.
        secrets: What no message may hold.
    """

    location: str
    url: str
    schema: str
    conninfo: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def read_address(location: str) -> Address:
    """Read `postgresql://user:password@host:port/database?schema=name&…`.

    Everything but `schema` has the meaning that PostgreSQL's own client library gives it; what is
    left out comes from its environment variables and its password file.

    Raises:
        ConfigurationError: It is no such URL, or an option is unknown. No message repeats any part
            of a URL that could not be taken apart: it may be a piece of the password.

    Example:
        >>> address = read_address("postgresql://acme:s3cret@db.acme.example/lakes?schema=eu")
        >>> address.schema, address
        ('eu', Address('postgresql://acme@db.acme.example/lakes?schema=eu'))
    """
    match = _URL.fullmatch(location)
    if match is None:
        raise ConfigurationError(
            "this is no PostgreSQL URL; write postgresql://user@host:5432/database?schema=name, "
            "and inside a password %40 for @, %2F for /, %3F for ? and %23 for #"
        )
    query = [part.partition("=")[::2] for part in (match["query"] or "").split("&") if part]
    options = {unquote(name): unquote(value) for name, value in query}
    schema = _checked(options.pop("schema", _SCHEMA))
    if match["password"]:
        options.setdefault("password", unquote(match["password"]))
    secrets = tuple(options[name] for name in sorted(_SECRET & options.keys()) if options[name])
    hosts = [host.rpartition(":") if _has_port(host) else (host, "", "")
             for host in match["hosts"].split(",")]  # fmt: skip
    parts = {
        "user": unquote(match["user"] or ""),
        "dbname": unquote(match["database"] or ""),
        "host": ",".join(unquote(host.strip("[]")) for host, _, _ in hosts),
        "port": ",".join(port for _, _, port in hosts) if any(p for _, _, p in hosts) else "",
    }
    settings = _DEFAULTS | {name: value for name, value in parts.items() if value} | options
    try:
        conninfo = make_conninfo("", **settings)
    except ProgrammingError:
        unknown = ", ".join(sorted(options.keys() - _SECRET))
        raise ConfigurationError(
            f"PostgreSQL knows not all of these options of the catalog's URL: {unknown}"
        ) from None
    return Address(location, _shown(match, query), schema, conninfo, secrets)


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _shown(match: re.Match[str], query: list[tuple[str, str]]) -> str:
    user = f"{match['user']}@" if match["user"] else ""
    database = f"/{match['database']}" if match["database"] else ""
    kept = "&".join(f"{n}={v}" for n, v in query if unquote(n) not in _SECRET)
    return f"postgresql://{user}{match['hosts']}{database}{'?' if kept else ''}{kept}"


def _checked(schema: str) -> str:
    if (
        not schema
        or "\0" in schema
        or len(schema.encode()) > _NAME_BYTES
        or schema.startswith("pg_")
        or schema == "information_schema"
    ):
        raise ConfigurationError(
            f"{quote(schema)!r} cannot be the schema of a catalog; "
            f"take a name of 1 to {_NAME_BYTES} bytes that PostgreSQL does not keep for itself",
            schema=schema,
        )
    return schema
