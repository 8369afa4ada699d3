"""Connections to a server: few, borrowed for one question or one transaction, safe across forks."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, LiteralString, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from lakerunner.catalog.postgres.failures import translate
from lakerunner.catalog.postgres.schema import prepare, require_current
from lakerunner.errors import CatalogError, CatalogUnavailableError
from lakerunner.limits import CATALOG_BUSY_MS, CATALOG_CONNECT_S, CATALOG_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakerunner.catalog.postgres.address import Address

    Link: TypeAlias = psycopg.Connection[tuple[Any, ...]]

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
