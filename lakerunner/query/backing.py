"""What the engines of one lake share: where queries run, their caches, and copies of segments."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lakerunner.compute.native_stores import SharedCopies
from lakerunner.compute.segment_files import SegmentFiles
from lakerunner.compute.session import Session, find_native
from lakerunner.compute.turns import Allowance, Turns
from lakerunner.compute.worker import WorkerPool, WorkerSession
from lakerunner.compute.worker.messages import WorkerSettings
from lakerunner.errors import ConfigurationError
from lakerunner.limits import STREAM_CACHE_BYTES, WORKER_NICE, WORKER_SPARE_BYTES
from lakerunner.query.drafts import Drafts
from lakerunner.query.token_filters import FilterReader

if TYPE_CHECKING:
    from collections.abc import Hashable

    from lakerunner.model.config import Config
    from lakerunner.store.base import ObjectStore

_Value = TypeVar("_Value")


class Recent(Generic[_Value]):
    """Values that were used most recently. May be used from several threads at once.

    Args:
        bound_bytes: Memory that they may take together.

    Example:
        >>> kept = Recent[str](10)
        >>> kept.put("a", "first", 6)
        >>> kept.put("b", "second", 6)
        >>> kept.get("a"), kept.get("b")
        (None, 'second')
    """

    def __init__(self, bound_bytes: int) -> None:
        self._bound = bound_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[_Value, int]] = OrderedDict()
        self._size = 0

    def get(self, key: Hashable) -> _Value | None:
        """A value that was put; None if it is not there any more."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: _Value, size: int) -> None:
        """Keep a value of some bytes, instead of others that were not used for longer."""
        with self._lock:
            self._drop(key)
            self._kept[key] = value, size
            self._size += size
            while self._size > self._bound:
                self._drop(next(iter(self._kept)))

    def drop(self, key: Hashable) -> None:
        """Forget a value."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        self._size -= self._kept.pop(key, (None, 0))[1]


class Backing:
    """Opens what queries need when it is first needed: a lake that is only written to needs none.

    Neither a session nor a worker knows an organization or keeps a table: each query brings its own
    files. So engines of several organizations may share them. May be used from several threads at
    once.

    Args:
        store: Where the segments are.
        config: Settings; those whose names start with `query_` are used here.

    Attributes:
        filters: Reads token filters.
        drafts: Of queries of the session in this process.
        streams: What PromQL knows of streams of metrics.
    """

    def __init__(self, store: ObjectStore, config: Config) -> None:
        self._store = store
        self._config = config
        self.filters = FilterReader(store)
        self.drafts = Drafts()
        self.streams: Recent[Any] = Recent(min(STREAM_CACHE_BYTES, config.query_memory_bytes // 4))
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._files: SegmentFiles | None = None
        self._pool: WorkerPool | None = None
        self._remove: weakref.finalize[..., Backing] | None = None
        self._shared: SharedCopies | None = None
        self._closed = False
        self._turns = Turns(
            "query_concurrency",
            config.query_concurrency,
            config.query_concurrency_each,
            config.query_wait_seconds,
        )
        if config.query_isolation == "process":
            self._workers().start()

    def allowance(self, organization: str, timeout: float | None, text: str) -> Allowance:
        """What a query may take.

        Args:
            organization: Whose it is.
            timeout: Seconds that it may work; None for what the settings say.
            text: The query.
        """
        seconds = self._config.query_timeout if timeout is None else timeout
        return Allowance(organization, seconds, self._turns, text, self._config.query_max_bytes)

    def files(self) -> SegmentFiles:
        """The segments as DataFusion can read them, here and in workers.

        Raises:
            ConfigurationError: It was closed.
        """
        with self._lock:
            self._check_open()
            if self._files is None:
                directory = Path(tempfile.mkdtemp(prefix="lakerunner-"))
                self._remove = weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
                copies = directory / "segments"
                copies.mkdir()
                shared = self._shared_copies()
                url, options = self._store.url, self._store.storage_options
                native = find_native(url, options, directory)
                self._files = SegmentFiles(
                    self._store,
                    copies if shared is None else shared.links,
                    # Names of shared copies are given back at once, or their bytes never are.
                    self._config.query_cache_bytes if shared is None else 0,
                    native,
                    verify=self._config.query_verify,
                    shared=shared,
                )
            return self._files

    def _shared_copies(self) -> SharedCopies | None:
        where = self._config.query_cache_directory
        if where is None:
            return None
        try:
            self._shared = SharedCopies(
                Path(where), self._store.url, self._config.query_cache_bytes
            )
        except OSError as error:
            raise ConfigurationError(
                f"query_cache_directory: {where} cannot be written: {error.strerror}",
                setting="query_cache_directory",
            ) from error
        return self._shared

    def session(self) -> Session:
        """The session in this process.

        Raises:
            ConfigurationError: It was closed.
            ForkedProcessError: This process was forked from one that had run queries.
        """
        with self._lock:
            files = self.files()
            if self._session is None:
                config = self._config
                self._session = Session(
                    memory_bytes=config.query_memory_bytes, threads=config.query_threads
                )
                if files.native is not None:
                    self._session.register(files.native)
            return self._session

    def worker_session(self, allowance: Allowance) -> WorkerSession:
        """A session in a process of its own, for one query.

        Raises:
            ConfigurationError: It was closed, or there are no such processes on this system.
        """
        self.files()
        return WorkerSession(self._workers(), allowance)

    def _workers(self) -> WorkerPool:
        with self._lock:
            self._check_open()
            if self._pool is None:
                config = self._config
                turns = Turns(
                    "query_workers",
                    config.query_workers,
                    config.query_workers_each,
                    config.query_wait_seconds,
                )
                settings = WorkerSettings(
                    memory_bytes=config.query_memory_bytes,
                    spare_bytes=WORKER_SPARE_BYTES,
                    threads=config.query_threads,
                    url=self._store.url,
                    storage_options=dict(self._store.storage_options),
                    # Where all queries run in workers, they are each other's equals.
                    nice=0 if config.query_isolation == "process" else WORKER_NICE,
                )
                self._pool = WorkerPool(settings, turns)
            return self._pool

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("the query engine is closed")

    def close(self) -> None:
        """Give memory and local copies back; queries that still run may fail."""
        with self._lock:
            self._closed = True
            if self._session is not None:
                self._session.close()
            if self._pool is not None:
                self._pool.close()
            if self._remove is not None:
                self._remove()
            if self._shared is not None:
                self._shared.close()
            self._session = self._files = self._pool = None
