"""What the engines of one lake share: a DataFusion session, its caches, and copies of segments."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lakerunner.compute.segment_files import SegmentFiles
from lakerunner.compute.session import Session
from lakerunner.compute.turns import Allowance, Turns
from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from lakerunner.model.config import Config
    from lakerunner.store.base import ObjectStore


class Backing:
    """Opens a session when it is first needed: a lake that is only written to needs none.

    A session knows no organization and keeps no table: each query brings its own files. So engines
    of several organizations may share one. May be used from several threads at once.

    Args:
        store: Where the segments are.
        config: Settings; those whose names start with `query_` are used here.
    """

    def __init__(self, store: ObjectStore, config: Config) -> None:
        self._store = store
        self._config = config
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._files: SegmentFiles | None = None
        self._closed = False
        self._turns = Turns(
            "query_concurrency",
            config.query_concurrency,
            config.query_concurrency_each,
            config.query_wait_seconds,
        )

    def allowance(self, organization: str, timeout: float | None, text: str) -> Allowance:
        """What a query may take.

        Args:
            organization: Whose it is.
            timeout: Seconds that it may work; None for what the settings say.
            text: The query.
        """
        seconds = self._config.query_timeout if timeout is None else timeout
        return Allowance(organization, seconds, self._turns, text)

    def open(self) -> tuple[Session, SegmentFiles]:
        """The session, and the segments as it can read them.

        Raises:
            ConfigurationError: It was closed.
        """
        with self._lock:
            if self._closed:
                raise ConfigurationError("the query engine is closed")
            if self._session is None or self._files is None:
                config = self._config
                session = Session(
                    memory_bytes=config.query_memory_bytes, threads=config.query_threads
                )
                copies = session.directory / "segments"
                copies.mkdir()
                self._session = session
                native = session.open_native(self._store.url, self._store.storage_options)
                self._files = SegmentFiles(self._store, copies, config.query_cache_bytes, native)
            return self._session, self._files

    def close(self) -> None:
        """Give memory and local copies back; queries that still run may fail."""
        with self._lock:
            self._closed = True
            if self._session is not None:
                self._session.close()
            self._session = self._files = None
