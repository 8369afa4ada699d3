"""What a lake takes: sources, announcements, what programs write; and what it could not take."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from lakerunner.bars import shown
from lakerunner.events import EventSource, open_source
from lakerunner.ingest.watching import drained_on_sigterm
from lakerunner.intake.kafka import KafkaIntake
from lakerunner.intake.kafka_messages import read_kafka_settings
from lakerunner.intake.offered import offers
from lakerunner.intake.settings import WriterOptions, read_writer_settings
from lakerunner.intake.writer import Writer
from lakerunner.model.profile import check_organization
from lakerunner.model.report import IngestReport
from lakerunner.scope import Closable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike
    from typing import Any, Unpack

    import pyarrow as pa

    from lakerunner.bars import ProgressLike
    from lakerunner.catalog import Catalog
    from lakerunner.discretion import Discretion
    from lakerunner.ingest import Ingestor
    from lakerunner.intake.offered import Offered
    from lakerunner.model.profile import SourceMapping
    from lakerunner.model.report import Progress
    from lakerunner.model.segment import Rejection
    from lakerunner.model.signal import Signal
    from lakerunner.scope import Scope
    from lakerunner.store import ObjectStore


class Taking(Closable):
    """The part of a `Lake` that takes telemetry. Safe across threads."""

    store: ObjectStore
    catalog: Catalog
    organization: str
    _ingestor: Ingestor
    _scope: Scope
    _discretion: Discretion

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

        An event is acknowledged only when its object is settled: taken or set aside by a commit, or
        not there after some tries. What fails in a way that may pass is announced again. When
        `stop` is set, or by SIGTERM in the main thread, what was gathered is committed first.

        Args:
            source: An event source, or the URL of one, which gets the lake's storage options.
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
            >>> lake = lakerunner.open("memory://doc/lake-writer")
            >>> with lake.writer() as writer:
            ...     _ = writer.write([{"message": "hello"}])
            >>> lake.sql("SELECT body FROM logs").scalar()
            'hello'
        """
        self._require_open("writer")
        self._scope.require_writable("writer")
        whose = self.organization if organization is None else check_organization(organization)
        return Writer(self._ingestor.take, whose, read_writer_settings(settings), journal)

    def consume(
        self,
        brokers: str,
        topics: str | Sequence[str],
        *,
        organization: str | None = None,
        stop: threading.Event | None = None,
        until_idle: float | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> IngestReport:
        """Take topics of Kafka, each message once, until stopped.

        Any number of processes may do this with the same topics: partitions are divided among
        them. One that is killed or loses a partition loses and repeats nothing, for the lake itself
        knows how far each partition was taken. What cannot be read is set aside, with its offset.

        Args:
            brokers: Where to find the cluster: `host:port`, several with commas between them.
            topics: The name of a topic, or several.
            organization: Whose the messages are that do not say it.
            stop: Ends it when set, as SIGTERM in the main thread does, after what was gathered is
                committed.
            until_idle: End as well when nothing came for so many seconds.
            progress: Called after each commit.
            settings: See `lakerunner.intake.kafka_messages.KafkaSettings`: `group`, `format`,
                `signal`, `organization_header`, `flush_bytes`, `flush_seconds`, `client`.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            ConfigurationError: A setting is wrong, or there is no such topic.
            MissingExtraError: `confluent-kafka` is not installed.
            StoreUnavailableError: No broker answers.
        """
        self._require_open("consume")
        self._scope.require_writable("consume")
        whose = self.organization if organization is None else check_organization(organization)
        wanted = read_kafka_settings(brokers, topics, settings)
        intake = KafkaIntake(
            self._ingestor.take, self._scope.store, self._scope.catalog, whose, wanted
        )
        stop = stop or threading.Event()
        with closing(intake), drained_on_sigterm(stop):
            return intake.run(stop, until_idle, progress)

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
