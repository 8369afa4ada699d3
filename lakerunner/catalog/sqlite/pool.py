"""Connections to one SQLite file: borrowed for a transaction, safe across threads and forks."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from lakerunner.catalog.sqlite.schema import prepare, require_current, require_same
from lakerunner.errors import CatalogError, CatalogUnavailableError, CommitUnknownError
from lakerunner.limits import CATALOG_BUSY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

# From SQLite's result codes to lakerunner's errors: what a handler would do about each.

_PRIMARY = 0xFF
"""Extended codes carry their kind in the lowest byte."""

_MAY_PASS = {
    sqlite3.SQLITE_BUSY: f"stayed locked by another writer for {CATALOG_BUSY_MS} ms",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_PROTOCOL: "could not be locked",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; nothing was changed",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; is it there, and may this process write it?",
    sqlite3.SQLITE_IOERR: "could not be read or written",
}
_STAYS = {
    sqlite3.SQLITE_READONLY: "is read-only; give this process the right to write it",
    sqlite3.SQLITE_PERM: "may not be opened by this process",
    sqlite3.SQLITE_NOTADB: "is not a SQLite file; give the catalog a path of its own",
    sqlite3.SQLITE_CORRUPT: (
        "is damaged; restore a copy, or move it and its -wal and -shm files away and rebuild the "
        "catalog from the segments, whose footers repeat every entry"
    ),
}


def translate(error: sqlite3.Error, path: Path, *, committing: bool = False) -> CatalogError:
    """The error to raise in place of SQLite's own.

    Args:
        error: What SQLite raised.
        path: The catalog's file, for the message.
        committing: It was raised by the statement that makes a transaction durable. If the disk
            failed there, nobody can tell whether the transaction survives.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind = code & _PRIMARY
    context = {"path": str(path), "sqlite": name}
    if committing and kind == sqlite3.SQLITE_IOERR:
        return CommitUnknownError(f"catalog {path}: the disk failed during the commit", **context)
    if kind in _MAY_PASS:
        return CatalogUnavailableError(f"catalog {path} {_MAY_PASS[kind]} ({name})", **context)
    if kind in _STAYS:
        return CatalogError(f"catalog {path} {_STAYS[kind]} ({name})", **context)
    return CatalogError(f"catalog {path} failed: {error} ({name})", **context)


# Whose turn it is among the processes that want to write one catalog file.

try:
    import fcntl
except ImportError:  # Windows: SQLite's own lock decides alone
    _LOCKS = False
else:
    _LOCKS = True


_TURN_POLL_S = 0.001


class WriterQueue:
    """A place at the head of those that wait for SQLite's lock, held by one process at a time.

    It makes waiting fair and protects nothing: SQLite's own lock does. So a place that cannot be
    had, because the file cannot be made or its holder stands still, is done without.

    Args:
        path: The catalog. The queue is a file beside it, empty, which may be deleted at any time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}-turn")

    @contextmanager
    def place(self, deadline: float) -> Iterator[None]:
        """Wait for the place until half of the time that is left has passed, and hold it.

        Args:
            deadline: By `time.monotonic()`.
        """
        descriptor = None
        with suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            descriptor = os.open(self._path, flags, 0o666) if _LOCKS else None
        if descriptor is None:
            yield
            return
        try:
            _wait(descriptor, (time.monotonic() + deadline) / 2)
            yield
        finally:
            os.close(descriptor)  # and with it the lock

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the one process, and the one thread of it, that packs the file.

        This one does protect something, so that its file is never deleted.

        Raises:
            BlockingIOError: Another one packs, or there are no such locks here.
        """
        if not _LOCKS:
            raise BlockingIOError
        path = self._path.with_name(self._path.name.removesuffix("-turn") + "-pack")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """Delete the file. Those who wait at it now do not meet those who come later."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _wait(descriptor: int, deadline: float) -> None:
    # Asked again and again rather than waited for: that could not be given up.
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TURN_POLL_S)
        except OSError:
            return  # a file system without such locks
        else:
            return


# Reading a catalog file where nothing can be written: a read-only mount, or no right to.


def connect(path: Path, how: str) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread; `how` are parameters of SQLite's URIs."""
    return sqlite3.connect(
        f"{path.as_uri()}?{how}",
        uri=True,
        timeout=CATALOG_BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
    )


def is_read_only(path: Path) -> bool:
    """Whether a file is there and it or its directory cannot be written."""
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return not writable and path.exists()


@contextmanager
def read_only(path: Path, begin: str) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, which sees one state of the file.

    Readers and writers of a file meet in the log beside it. While another process has the file
    open, from where it can be written, its log is there and is read. If there is none, and none can
    be made, the file is read as it lies there, and has to be the same afterwards.

    Args:
        path: The file.
        begin: How the transaction begins; one that wants to write is refused.

    Raises:
        CatalogVersionError: The file is of a newer version.
        CatalogUnavailableError: It was changed meanwhile.
        CatalogError: It cannot be read, or is to be written.
    """
    alone = not path.with_name(f"{path.name}-wal").exists()
    before = path.stat()
    try:
        with closing(connect(path, "mode=ro&immutable=1" if alone else "mode=ro")) as connection:
            connection.execute(begin)
            require_same(connection, str(path))
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise translate(error, path) from error
    after = path.stat()
    if alone and (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise CatalogUnavailableError(
            f"catalog {path} was changed while it was read", path=str(path)
        )


_READ = "BEGIN"
_WRITE = "BEGIN IMMEDIATE"

_POLL_S = 0.0002

_SETTINGS = (
    # FULL: a commit is on the disk before it is acknowledged, even if the power fails. The two
    # fullfsync settings make macOS mean it as well; elsewhere they do nothing.
    "PRAGMA synchronous=FULL",
    "PRAGMA fullfsync=ON",
    "PRAGMA checkpoint_fullfsync=ON",
    "PRAGMA temp_store=MEMORY",
)


class ConnectionPool:
    """Opens connections as they are needed and keeps them for the next caller.

    There are as many as there were callers at once. A pool that is garbage closes them.

    Args:
        path: The file, absolute; it and its directories are made if they are missing.

    Attributes:
        queue: Where processes wait for their turn to write.

    Raises:
        CatalogError: The file cannot be used as a catalog; see `schema.prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._borrowed = 0
        self._generation = 0
        self._held = False
        self.queue = WriterQueue(path)
        self._writer = threading.Lock()
        self._changed = threading.Condition()
        weakref.finalize(self, self.queue.forget)
        weakref.finalize(self, _close_all, self._idle)
        with _FORK_LOCK:
            _POOLS.add(self)
        _make_directory(path)
        with self._transaction(_READ, create=True):
            pass

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Lend a connection that sees one state of the file, however long it reads."""
        return self._transaction(_READ)

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """Lend a connection that is the only writer; what it did is durable when the block ends.

        An exception in the block undoes everything.
        """
        return self._transaction(_WRITE)

    def close(self) -> None:
        """Close all connections, those in use as they are returned. New ones may be opened."""
        with self._changed:
            self._generation += 1
            _close_all(self._idle)
        self.queue.forget()

    def _transaction(
        self, begin: str, *, create: bool = False
    ) -> AbstractContextManager[sqlite3.Connection]:
        if is_read_only(self.path):
            return read_only(self.path, begin)
        return self._shared(begin, create=create)

    @contextmanager
    def _shared(self, begin: str, *, create: bool) -> Iterator[sqlite3.Connection]:
        with self._changed:
            self._changed.wait_for(lambda: not self._held)
            self._borrowed += 1
            generation = self._generation
            connection = self._idle.pop() if self._idle else None
        durable = False
        try:
            if connection is None:
                connection = self._open(create=create)
            with self._turn() if begin == _WRITE else nullcontext():
                self._begin(connection) if begin == _WRITE else connection.execute(begin)
                try:
                    require_current(connection, str(self.path))
                    yield connection
                    durable = begin == _WRITE
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            generation = -1  # whatever is wrong with it, the next caller gets a new one
            raise translate(error, self.path, committing=durable) from error
        finally:
            self._take_back(connection, generation)

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin to write, when it is this process's turn among those that wait.

        SQLite's own lock decides by polling, ever less often: the busiest writer wins, and of ten
        processes one commits a hundred times as often as another. Here those that wait queue up
        for a file, and only the first of them for the lock; whoever gives the lock back has to
        queue up behind them. A process that dies loses its place.
        """
        deadline = time.monotonic() + CATALOG_BUSY_MS / 1000
        with self.queue.place(deadline):
            connection.execute("PRAGMA busy_timeout=0")
            try:
                while True:
                    try:
                        connection.execute(_WRITE)
                    except sqlite3.OperationalError as error:
                        busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                        if not busy or time.monotonic() > deadline:
                            raise
                        time.sleep(_POLL_S)
                    else:
                        return
            finally:
                connection.execute(f"PRAGMA busy_timeout={CATALOG_BUSY_MS}")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        # Threads take turns before they come to the queue: one of them stands in it.
        if not self._writer.acquire(timeout=CATALOG_BUSY_MS / 1000):
            raise CatalogUnavailableError(
                f"catalog {self.path} was busy with other threads' commits for "
                f"{CATALOG_BUSY_MS} ms",
                path=str(self.path),
            )
        try:
            yield
        finally:
            self._writer.release()

    def _take_back(self, connection: sqlite3.Connection | None, generation: int) -> None:
        with self._changed:
            if connection is not None and generation == self._generation:
                self._idle.append(connection)
            elif connection is not None:
                connection.close()
            self._borrowed -= 1
            self._changed.notify_all()

    def _open(self, *, create: bool) -> sqlite3.Connection:
        # Only the first connection may make the file: if somebody removes it later, an empty
        # catalog in its place would be worse than an error.
        connection = connect(self.path, "mode=rwc" if create else "mode=rw")
        try:
            prepare(connection, str(self.path))
            for setting in _SETTINGS:
                connection.execute(setting)
        except BaseException:
            connection.close()
            raise
        return connection

    def hold(self) -> None:
        """Lend no more, wait until all connections are back, and close them."""
        self._changed.acquire()
        self._held = True
        self._changed.wait_for(lambda: not self._borrowed, CATALOG_BUSY_MS / 1000)
        _close_all(self._idle)

    def let_go(self, *, child: bool) -> None:
        """Lend again, in the same thread; a child process forgets the threads of its parent."""
        self._held = False
        if child:
            self._borrowed = 0
            self._writer = threading.Lock()
            self._changed = threading.Condition()
        else:
            self._changed.notify_all()
            self._changed.release()


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


def _make_directory(path: Path) -> None:
    """Make the directory of a file, durably: a file is lost with the entry that leads to it."""
    missing = [directory for directory in path.parents if not directory.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for directory in missing if hasattr(os, "O_DIRECTORY") else ():
            descriptor = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise CatalogUnavailableError(
            f"catalog {path} cannot be made: {error}", path=str(path)
        ) from error


# SQLite counts its locks on a file once for the whole process, and the operating system does not
# hand them to a child. A child that opened a connection while it still had a parent's would
# believe that it holds locks it does not hold, and the other side could take its log away. So
# nothing is open at the moment of a fork; both sides open anew when they need to.
_POOLS: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()
_FORK_LOCK = threading.Lock()
_HELD: list[ConnectionPool] = []


def _before_fork() -> None:
    _FORK_LOCK.acquire()
    _HELD.extend(_POOLS)
    for pool in _HELD:
        pool.hold()


def _after_fork(*, child: bool) -> None:
    for pool in _HELD:
        pool.let_go(child=child)
    _HELD.clear()
    _FORK_LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(child=False),
        after_in_child=lambda: _after_fork(child=True),
    )
