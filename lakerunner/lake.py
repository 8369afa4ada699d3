"""The lake: one object store, one catalog, and the workers over them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from lakerunner.catalog import Catalog
from lakerunner.catalog.default import default_catalog
from lakerunner.catalog.opening import open_catalog
from lakerunner.errors import ReadOnlyError
from lakerunner.events import EventSource, open_source
from lakerunner.ingest import Ingestor
from lakerunner.model.config import read_config
from lakerunner.model.signal import Signal
from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange, to_nanoseconds
from lakerunner.query import QueryEngine
from lakerunner.retain import collect_orphans
from lakerunner.segments.naming import check_organization
from lakerunner.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor
    from os import PathLike

    from lakerunner.ingest.arrow import ArrowStream
    from lakerunner.model.config import Config
    from lakerunner.model.mapping import SourceMapping
    from lakerunner.model.progress import Progress
    from lakerunner.model.report import IngestReport
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Rejection
    from lakerunner.model.times import TimeLike
    from lakerunner.query import Explanation, Result
    from lakerunner.store import ObjectStore


def open(  # noqa: A001 - `lakerunner.open` is the name
    url: str | PathLike[str],
    *,
    catalog: str | Catalog | None = None,
    organization: str = "default",
    storage_options: Mapping[str, object] | None = None,
    config: Config | Mapping[str, Any] | None = None,
    read_only: bool = False,
    executor: Executor | None = None,
) -> Lake:
    """Open a lake; a lake that does not exist yet is an empty one.

    Args:
        url: A directory, or `file://…`, `memory://…`, `s3://…` or `gs://…`.
        catalog: A catalog, or its URL (`sqlite:///…`, `postgresql://…`). By default it is kept with
            the lake: the file `catalog.db` inside a directory, memory for `memory://`, and a log of
            commits in the bucket itself for object stores.
        organization: Whose rows are read and, unless a call says otherwise, written.
        storage_options: Credentials and endpoints, in fsspec's words; for the lake and its input.
        config: Settings: a `Config` or a mapping of its fields.
        read_only: Refuse everything that writes.
        executor: Runs ingest batches; see `Ingestor`.

    Raises:
        ConfigurationError: The URL, the organization or a setting is wrong, or the bucket takes no
            create-only puts, without which it cannot hold its own catalog.
        ObjectDeniedError: The bucket may not be written; open it with `read_only=True`.
        MissingExtraError: The URL needs an optional dependency; the message holds the command.
        CatalogError: What lies at the catalog's place is no catalog of this version.

    Example:
        >>> lake = open("memory://doc/open")
        >>> lake.sql("SELECT count(*) AS rows FROM logs").to_arrow()["rows"].to_pylist()
        [0]
    """
    # Before anything is opened, so that a wrong setting leaves nothing open behind.
    check_organization(organization)
    settings = read_config(config)
    store = open_store(url, storage_options)
    if catalog is None:
        opened = default_catalog(store, read_only=read_only)
    else:
        opened = catalog if isinstance(catalog, Catalog) else open_catalog(catalog)
    return Lake(
        store,
        opened,
        organization=organization,
        config=settings,
        read_only=read_only,
        executor=executor,
    )


class Lake:
    """One object store and one catalog, with the workers over them.

    Safe to use from several threads. Use it as a context manager, or call `close`, to release files
    and connections.

    Args:
        store: Where segments lie.
        catalog: What knows them.
        organization: Whose rows are read and written.
        config: Settings, or a mapping of them.
        read_only: Refuse everything that writes.
        executor: Runs ingest batches; see `Ingestor`.

    Attributes:
        store: Where segments lie.
        catalog: What knows them.
        organization: Whose rows are read and written.

    Example:
        >>> with open("memory://doc/lake") as lake:
        ...     lake.rejected()
        []
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        *,
        organization: str = "default",
        config: Config | Mapping[str, Any] | None = None,
        read_only: bool = False,
        executor: Executor | None = None,
    ) -> None:
        self.store = store
        self.catalog = catalog
        self.organization = check_organization(organization)
        self._config = read_config(config)
        self._read_only = read_only
        self._ingestor = Ingestor(
            store, catalog, organization=organization, config=self._config, executor=executor
        )
        self._queries = QueryEngine(store, catalog, organization, self._config)

    def ingest(
        self,
        source: str | PathLike[str] | bytes | ArrowStream,
        *,
        signal: Signal | str | None = None,
        format: str | None = None,  # noqa: A002 - the word users know
        mapping: SourceMapping | Mapping[str, Any] | None = None,
        organization: str | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Take everything a source names that was not taken before; see `Ingestor.ingest`.

        Raises:
            ReadOnlyError: The lake was opened read-only.
        """
        self._writable("ingest")
        return self._ingestor.ingest(
            source,
            signal=signal,
            format=format,
            mapping=mapping,
            organization=organization,
            progress=progress,
        )

    def watch(
        self,
        source: EventSource | str | PathLike[str],
        **settings: Any,
    ) -> IngestReport:
        """Take what is announced until stopped; see `Ingestor.watch`.

        Args:
            source: An event source, or the URL of one (see `lakerunner.events.open_source`), which
                gets the lake's storage options.
            settings: Further arguments of `Ingestor.watch`: `stop`, `max_age` and so on.

        Raises:
            ReadOnlyError: The lake was opened read-only.
        """
        self._writable("watch")
        if isinstance(source, EventSource):
            return self._ingestor.watch(source, **settings)
        with open_source(source, self.store.storage_options) as opened:
            return self._ingestor.watch(opened, **settings)

    def rejected(self) -> Sequence[Rejection]:
        """What is set aside, with reasons, in order of time."""
        return self.catalog.rejections(self.organization)

    def retry_rejected(
        self,
        *,
        signal: Signal | str | None = None,
        format: str | None = None,  # noqa: A002 - the word users know
        mapping: SourceMapping | Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Try again what is set aside; see `Ingestor.retry`.

        Raises:
            ReadOnlyError: The lake was opened read-only.
        """
        self._writable("retry_rejected")
        return self._ingestor.retry(
            self.organization, progress, signal=signal, format=format, mapping=mapping
        )

    def collect_orphans(self, *, dry_run: bool = False) -> Sequence[str]:
        """Delete objects that a crash left behind; see `lakerunner.retain.collect_orphans`.

        Raises:
            ReadOnlyError: The lake was opened read-only.
        """
        self._writable("collect_orphans")
        return collect_orphans(self.store, self.catalog, self._config, dry_run=dry_run)

    def sql(self, text: str) -> Result:
        """Ask in SQL; see `QueryEngine.sql`."""
        return self._queries.sql(text)

    def explain(self, text: str) -> Explanation:
        """Say which segments a query would read, and why; see `QueryEngine.explain`."""
        return self._queries.explain(text)

    def segments(
        self,
        signal: Signal | str = Signal.LOGS,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
    ) -> Sequence[Segment]:
        """The live segments of a table that may hold rows in `[start, end)`, in order of time.

        Raises:
            InvalidTimeError: `start` or `end` cannot be read.
        """
        now_ns = time.time_ns()
        start_ns = MIN_NS if start is None else to_nanoseconds(start, now_ns=now_ns)
        end_ns = MAX_NS if end is None else to_nanoseconds(end, now_ns=now_ns)
        wanted = TimeRange(start_ns, end_ns)
        return self.catalog.segments(self.organization, Signal(signal), wanted)

    def close(self) -> None:
        """Release files and connections. Results that are still being read may fail."""
        self._queries.close()
        self.catalog.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Lake({self.store.url!r}, organization={self.organization!r})"

    def _writable(self, what: str) -> None:
        if self._read_only:
            raise ReadOnlyError(f"{what}: the lake was opened with read_only=True")
