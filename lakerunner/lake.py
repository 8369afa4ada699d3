"""The lake: one object store, one catalog, and the workers over them."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, Unpack

from lakerunner.aio import AsyncLake
from lakerunner.asking import Asking
from lakerunner.bars import shown
from lakerunner.catalog.past import open_past, present
from lakerunner.compact import Compactor
from lakerunner.errors import ConfigurationError
from lakerunner.events import EventSource, open_source
from lakerunner.ingest import Ingestor
from lakerunner.intake.offered import offers
from lakerunner.intake.settings import WriterOptions, read_writer_settings
from lakerunner.intake.writer import Writer
from lakerunner.model.card import card, listing
from lakerunner.model.config import read_config
from lakerunner.model.profile import check_organization
from lakerunner.model.report import IngestReport
from lakerunner.model.segment import Segments
from lakerunner.query import QueryEngine
from lakerunner.registry import split_scheme
from lakerunner.schema.tables import table_spec
from lakerunner.scope import Scope, time_range
from lakerunner.status import LakeStatus, status_of
from lakerunner.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor
    from os import PathLike

    import pyarrow as pa

    from lakerunner.bars import ProgressLike
    from lakerunner.catalog import Catalog
    from lakerunner.intake.offered import Offered
    from lakerunner.model.commit import LakeSnapshot
    from lakerunner.model.config import Config
    from lakerunner.model.profile import SourceMapping, StorageProfile
    from lakerunner.model.report import Progress
    from lakerunner.model.segment import Rejection
    from lakerunner.model.signal import Signal
    from lakerunner.model.times import TimeLike
    from lakerunner.policies.ownership import Ownership
    from lakerunner.store import ObjectStore


class Lake(Asking, Upkeep):
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
        ownership: Rules that say whose each object is; see `open`.

    Attributes:
        store: Where segments lie.
        catalog: What knows them.
        organization: Whose rows are read and written.

    Example:
        >>> import lakerunner
        >>> with lakerunner.open("memory://doc/lake") as lake:
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
        ownership: Ownership | Mapping[str, Any] | None = None,
    ) -> None:
        settings = read_config(config)
        check_organization(organization)
        ingestor = Ingestor(
            store,
            catalog,
            organization=organization,
            config=settings,
            executor=executor,
            ownership=ownership,
        )
        queries = QueryEngine(store, catalog, organization, settings)
        self._compactor = Compactor(store, catalog, config=settings, executor=executor)
        scope = Scope(store, catalog, organization, settings, read_only)
        self._closed = threading.Event()  # shared with all views of it
        self._set(scope, ingestor, queries, borrows=False)

    def _set(
        self, scope: Scope, ingestor: Ingestor, queries: QueryEngine, *, borrows: bool
    ) -> None:
        self.store = scope.store
        self.catalog = scope.catalog
        self.organization = scope.organization
        self._scope = scope
        self._discretion = scope.discretion()
        self._ingestor = ingestor
        self._queries = queries
        self._borrows = borrows

    def _within(self, scope: Scope) -> Lake:
        """The same workers within another scope; what is open stays this lake's to close."""
        view = Lake.__new__(Lake)
        view._closed = self._closed  # noqa: SLF001 - its own class
        view._compactor = self._compactor.within(scope)  # noqa: SLF001 - its own class
        view._set(  # noqa: SLF001 - its own class
            scope, self._ingestor.within(scope), self._queries.within(scope), borrows=True
        )
        return view

    def for_organization(self, organization: str) -> Lake:
        """The same lake, bound to one organization: it reads and writes that one's rows only.

        It shares store, catalog, memory and caches with this lake and costs next to nothing: make
        one for each request. To close it does nothing; it can be used until this lake is closed.
        Where there are rules of ownership, it takes only objects that are its own by them.

        This keeps apart what callers mean, not what they could do: `store` and `catalog` are the
        whole lake's. Its errors and explanations do not say where the lake lies.

        Args:
            organization: Whose; it need not have any rows yet.

        Raises:
            ConfigurationError: It can be no organization's name, or this lake is bound to another.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/bound")
            >>> lake.for_organization("acme").ingest(b'{"message": "hello"}').rows
            1
            >>> lake.organizations()
            ['acme']
        """
        self._require_open("for_organization")
        return self._within(self._scope.of(organization))

    def organizations(self) -> Sequence[str]:
        """Organizations that have rows, in order of their names.

        Of a lake that is bound to one organization, this is that one, or nothing.
        """
        self._require_open("organizations")
        names = self.catalog.organizations()
        return [name for name in names if name == self.organization] if self._scope.bound else names

    @property
    def profiles(self) -> tuple[StorageProfile, ...]:
        """Whose buckets are whose, by the rules that the lake was opened with."""
        rules, whose = self._ingestor.ownership, self.organization
        found = () if rules is None else rules.profiles
        return tuple(one for one in found if not self._scope.bound or one.organization_id == whose)

    def status(self) -> LakeStatus:
        """How the lake is doing: what is in it, what was set aside, and which tasks failed.

        Of a lake that is bound to one organization, only what is that one's.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/status")
            >>> lake.ingest(b'{"message": "hello"}').rows
            1
            >>> print(lake.status())
            1 rows in 1 segments of 1 tables, 0 set aside, 0 tasks put off
        """
        self._require_open("status")
        wanted = [self.organization] if self._scope.bound else None
        with self._discretion.applied():
            return status_of(self.store, self.catalog, wanted)

    def ingest(
        self,
        source: Offered,
        *more: Offered,
        signal: Signal | str | None = None,
        format: str | None = None,  # noqa: A002 - the word users know
        mapping: SourceMapping | Mapping[str, Any] | None = None,
        organization: str | None = None,
        progress: ProgressLike | None = None,
        workers: int | None = None,
    ) -> IngestReport:
        """Take everything that the sources name and that was not taken before.

        Each object is taken exactly once, whatever crashes. Bytes, files, tables and records have
        no identity and are taken each time.

        Args:
            source: URL or path of an object, of a prefix (ends at `/`), or a glob; bytes or an open
                file; a table or reader of Arrow, a frame of Polars or pandas; a mapping or a
                `logging.LogRecord`, which is one record; or a list or iterator of any of these.
            more: Further sources.
            signal: `logs`, `spans` (or `traces`) or `metrics`; told from the content if not given.
            format: Name of the format; told from name and content if not given.
            mapping: Which fields mean what, where their names do not tell.
            organization: Whose rows they are; the lake's own if not given.
            progress: Called after each batch; `True` draws a bar, in notebooks and terminals.
            workers: Processes that take batches; see `Ingestor.ingest`.

        Returns:
            What was done, with what could not be taken and why, and sources that named nothing.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            ObjectNotFoundError: A source is an object or folder that is not there.
            InputError: Bytes, a table or records cannot be taken.
            ConfigurationError: The mapping is wrong, or a source is of no known kind.
            StoreError: A segment could not be put, or a source could not be listed.
            CatalogError: A commit failed.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/ingest")
            >>> lake.ingest([{"message": "hello"}, {"message": "again"}]).rows
            2
        """
        self._require_open("ingest")
        self._scope.require_writable("ingest")
        report = IngestReport()
        with self._discretion.applied(), shown("ingest", progress) as told:
            for offer in offers(source, *more):
                report += self._ingestor.ingest(
                    offer.source,
                    signal=signal,
                    format=(format or "json") if offer.lines else format,
                    mapping=mapping,
                    organization=organization,
                    progress=told,
                    workers=workers,
                )
        return report

    def ingest_owned(self, *, progress: Progress | None = None) -> IngestReport:
        """Take all that is new wherever storage profiles and prefix mappings point.

        Buckets are listed one after the other; batches of all organizations are taken in parallel
        (`Config.workers`, or the executor). What cannot be listed keeps nothing else from being
        taken. Each object is taken exactly once, whatever crashes.

        Args:
            progress: Called after each batch.

        Returns:
            What was done; in `failed` are also the prefixes that could not be listed.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            ConfigurationError: There are no rules that name a bucket, or one cannot be opened.
            StoreError: A segment could not be put.
            CatalogError: A commit failed.
        """
        self._require_open("ingest_owned")
        self._scope.require_writable("ingest_owned")
        with self._discretion.applied():
            return self._ingestor.ingest_owned(progress)

    def watch(  # noqa: PLR0913 - the settings of the call, by keyword
        self,
        source: EventSource | str | PathLike[str],
        *,
        stop: threading.Event | None = None,
        max_bytes: int | None = None,
        max_objects: int | None = None,
        max_age: float | None = None,
        until_idle: float | None = None,
        signal: Signal | str | None = None,
        format: str | None = None,  # noqa: A002 - the word users know
        mapping: SourceMapping | Mapping[str, Any] | None = None,
        organization: str | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Take what a source of events announces, each object exactly once, until stopped.

        Objects are gathered until they fill a batch, or the first of them has waited for `max_age`.
        An event is acknowledged only when its object is settled: taken or set aside by a commit, or
        not there after some tries. What fails in a way that may pass is announced again later. When
        `stop` is set, or by SIGTERM in the main thread, what was gathered is committed first. A
        watcher that is killed loses nothing.

        Args:
            source: An event source, or the URL of one (see `lakerunner.events.open_source`), which
                gets the lake's storage options.
            stop: Ends the watch when set.
            max_bytes: Expected bytes to gather, decompressed; those of a batch if not given.
            max_objects: Objects to gather; `Config.batch_objects` if not given.
            max_age: Seconds an object may wait for others; `Config.watch_seconds` if not given.
            until_idle: End as well when nothing was announced for so many seconds.
            signal: What the objects hold; told from their content if not given.
            format: Their format; told from name and content if not given.
            mapping: Which fields mean what.
            organization: Whose rows they are; the lake's own if not given.
            progress: Called after each gathering.

        Returns:
            What was done, with the latest of the rejections; in `failed` is what was given back.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            LakerunnerError: Something is wrong that does not pass: a setting, the source, the lake.
        """
        self._require_open("watch")
        self._scope.require_writable("watch")
        with ExitStack() as closing:
            if not isinstance(source, EventSource):
                source = closing.enter_context(open_source(source, self.store.storage_options))
            closing.enter_context(self._discretion.applied())
            return self._ingestor.watch(
                source,
                stop=stop,
                max_bytes=max_bytes,
                max_objects=max_objects,
                max_age=max_age,
                until_idle=until_idle,
                signal=signal,
                format=format,
                mapping=mapping,
                organization=organization,
                progress=progress,
            )

    def writer(
        self,
        *,
        journal: str | PathLike[str] | None = None,
        organization: str | None = None,
        **settings: Unpack[WriterOptions],
    ) -> Writer:
        """A writer, for programs that have telemetry in their hands.

        It gathers rows of all callers and commits them together, when there are enough of them or
        the first has waited long enough. Safe to use from several threads. Close it before the
        lake: that commits what is left.

        Args:
            journal: A directory of this machine for what is accepted and not committed yet.
            organization: Whose rows they are, unless a call says otherwise.
            settings: See `WriterSettings`: `acknowledge`, `flush_bytes`, `flush_seconds`,
                `linger_seconds`, `waiting_bytes`, `pressure`.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            ConfigurationError: A setting is unknown or wrong.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/writer")
            >>> with lake.writer() as writer:
            ...     _ = writer.write([{"message": "hello"}])
            >>> lake.sql("SELECT body FROM logs").scalar()
            'hello'
        """
        self._require_open("writer")
        self._scope.require_writable("writer")
        whose = self.organization if organization is None else check_organization(organization)
        return Writer(self._ingestor.take, whose, read_writer_settings(settings), journal)

    def rejected(self) -> Sequence[Rejection]:
        """What is set aside, with reasons, in order of time: objects, and segments of the lake.

        A segment that `set_aside` removed has `lakerunner.model.segment.LAKE` for its bucket.
        """
        self._require_open("rejected")
        with self._discretion.applied():
            return self.catalog.rejections(self.organization)

    def rejected_lines(self) -> pa.Table:
        """Every line that is set aside, however many, with its number, reason and text.

        Returns:
            `at` (timestamp), `source` (URL of the object), `line` (int64, from 1; NULL where a
            format has none), `code`, `reason` and `text` (NULL where it was too long to be kept).
        """
        self._require_open("rejected_lines")
        with self._discretion.applied():
            return self._ingestor.rejected_lines()

    def retry_rejected(
        self,
        *,
        signal: Signal | str | None = None,
        format: str | None = None,  # noqa: A002 - the word users know
        mapping: SourceMapping | Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Try again what is set aside, for instance after an upgrade.

        Objects that are gone stay set aside. An object that was overwritten since is taken in its
        new version, and the old one is listed no more. Lines of an object whose other lines were
        taken are tried by themselves, whether or not the object is still there. What cannot be
        taken this time either stays listed, and so do lines that were too long to be kept, and
        segments of the lake.

        Args:
            signal: What the objects hold; told from their content if not given.
            format: Their format; told from name and content if not given.
            mapping: Which fields mean what.
            progress: Called after each batch.

        Returns:
            What was done, as of `ingest`.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            StoreError: A segment could not be put, or an object could not be looked up.
            CatalogError: A commit failed.
        """
        self._require_open("retry_rejected")
        self._scope.require_writable("retry_rejected")
        with self._discretion.applied():
            return self._ingestor.retry(
                None, progress, signal=signal, format=format, mapping=mapping
            )

    def snapshot(self) -> LakeSnapshot:
        """The present state of all tables, for `at`; its text can be kept and given to it, too.

        That of a lake that is bound to one organization has a number that tells nothing of the
        commits of others; it can be given to `at` of a lake that is bound to the same one.
        """
        self._require_open("snapshot")
        with self._discretion.applied():
            return present(self.catalog, self.organization if self._scope.bound else None)

    def at(self, moment: LakeSnapshot | TimeLike) -> Lake:
        """The same lake as it was: to read, and to read the same however often.

        It can be used until this lake is closed. What was set aside is listed as of today.

        Args:
            moment: What `snapshot` returned, its text, or a time: the last commit before then.

        Raises:
            InvalidTimeError: It can be read neither as a snapshot nor as a time.
            SnapshotExpiredError: Segments removed since are no longer kept
                (`Config.removed_grace_ns`). Queries raise it, too, once that is so.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/at")
            >>> before = lake.snapshot()
            >>> lake.ingest(b'{"message": "hello"}').rows
            1
            >>> lake.at(before).sql("SELECT count(*) AS rows FROM logs").to_arrow().to_pylist()
            [{'rows': 0}]
        """
        self._require_open("at")
        scope = self._scope
        with self._discretion.applied():
            past = open_past(self.catalog, moment, scope.organization if scope.bound else None)
        return self._within(scope.over(past))

    def segments(
        self,
        table: str = "logs",
        start: TimeLike | None = None,
        end: TimeLike | None = None,
    ) -> Segments:
        """The live segments of a table that may hold rows in `[start, end)`, in order of time.

        Args:
            table: `logs`, `spans`, `metrics` or `metrics_rollup`.
            start: Only those that may hold rows from then on.
            end: Only those that may hold rows before then.

        Returns:
            A list that prints, and shows itself in a notebook, as a table.

        Raises:
            InvalidTimeError: `start` or `end` cannot be read.
            ConfigurationError: There is no such table.
        """
        wanted = time_range(start, end)
        self._require_open("segments")
        with self._discretion.applied():
            found = self.catalog.segments(self.organization, table_spec(table).name, wanted)
        return Segments(found)

    def close(self) -> None:
        """Release files and connections. Results that are still being read may fail."""
        if self._borrows:
            return
        self._closed.set()
        self._queries.close()
        self.catalog.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @cached_property
    def aio(self) -> AsyncLake:
        """The same lake for programs that run on asyncio: calls are awaited, on threads.

        Whoever cancels a task that awaits a query ends the query.
        """
        return AsyncLake(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if split_scheme(self.store.url)[0] == "memory":
            raise ConfigurationError(
                f"{self.store.url} is in the memory of this process, and cannot be sent to another"
            )
        scope, rules = self._scope, self._ingestor.ownership
        given = scope.organization, scope.config, scope.read_only, rules, scope.bound
        return _received, (self.store, self.catalog, *given)

    def __repr__(self) -> str:
        return f"Lake({self.store.url!r}, organization={self.organization!r})"

    def _repr_html_(self) -> str:
        title = f"Lake {self.store.url}, organization {self.organization}"
        if self._closed.is_set():
            return card(title, [("closed", True)])
        told = self.tables().to_arrow()
        rows = zip(*(told[name].to_pylist() for name in told.schema.names), strict=True)
        return listing(title, told.schema.names, rows)


def _received(  # what `Lake.__reduce__` names
    store: ObjectStore,
    catalog: Catalog,
    organization: str,
    config: Config,
    read_only: bool,  # noqa: FBT001 - as it was packed
    ownership: Ownership | None,
    bound: bool,  # noqa: FBT001 - as it was packed
) -> Lake:
    lake = Lake(
        store,
        catalog,
        organization="default" if bound else organization,
        config=config,
        read_only=read_only,
        ownership=ownership,
    )
    return lake.for_organization(organization) if bound else lake
