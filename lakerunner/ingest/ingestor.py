"""The ingestor: finds new objects, has them made into segments, and commits both in one step."""

from __future__ import annotations

import os
import threading
import time
import uuid
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from lakerunner.errors import (
    ConfigurationError,
    CorruptObjectError,
    InputError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    UnknownFormatError,
)
from lakerunner.executors import bounded_map, worker_processes, workers_of
from lakerunner.fencing import Fence
from lakerunner.fencing.fence import present_ns
from lakerunner.ingest.announced import Screen
from lakerunner.ingest.arrow import ARROW, stream_pieces
from lakerunner.ingest.batch import ingest_batch
from lakerunner.ingest.committing import ReplacedVersions, Request, commit_outcome, read_request
from lakerunner.ingest.inputs import (
    IngestTask,
    Inputs,
    NewObjects,
    OpenBucket,
    find_inputs,
    tasks_of,
)
from lakerunner.ingest.local_files import LocalFiles
from lakerunner.ingest.owners import owned_inputs, profiled_buckets, read_ownership
from lakerunner.ingest.taking_again import (
    clean_up,
    lines_waiting,
    list_lines,
    objects_waiting,
)
from lakerunner.ingest.watching import Watcher, WatchSettings, gather_limits
from lakerunner.model.config import read_config
from lakerunner.model.profile import check_distinct, check_organization, is_distinct
from lakerunner.model.report import IngestReport, ProgressEvent
from lakerunner.model.segment import Rejection
from lakerunner.registry import split_scheme
from lakerunner.retrying import retrying
from lakerunner.scope import Scope
from lakerunner.store.urls import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Executor
    from os import PathLike

    import pyarrow as pa

    from lakerunner.catalog import Catalog
    from lakerunner.events import EventSource
    from lakerunner.ingest.arrow import ArrowStream
    from lakerunner.ingest.local_files import Note
    from lakerunner.model.config import Config
    from lakerunner.model.profile import SourceMapping
    from lakerunner.model.report import Progress
    from lakerunner.model.signal import Signal
    from lakerunner.policies.ownership import Ownership
    from lakerunner.store import ObjectMeta, ObjectStore

_INPUT_ERRORS = {
    kind.code.value: kind for kind in (CorruptObjectError, ObjectTooLargeError, UnknownFormatError)
}


class Ingestor:
    """Takes raw telemetry into a lake, each object exactly once.

    A crash at any point loses nothing and doubles nothing: run the same ingest again. Many
    ingestors may work on the same objects at once; each object is taken by one of them.

    Safe to use from several threads. It starts no thread of its own unless `Config.workers` is
    above one, and none outlives a call.

    Args:
        store: Where segments go.
        catalog: Where commits go.
        organization: Whose rows they are, unless a call says otherwise.
        config: Settings, or a mapping of them.
        executor: Runs the batches: any `concurrent.futures.Executor`. With a process pool, the
            store must be reachable from other processes. Give it about one worker per core.
        open_bucket: Opens the buckets that input lies in; for a store of your own, or to wrap one.
        ownership: Rules that say whose each object is, unless a call says it for all, and how
            their buckets are reached: an `Ownership`, or a mapping of its fields (see
            `lakerunner.ingest.owners.read_ownership`). Without any, all objects are the
            organization's.
        bound: Take rows for `organization` only; see `for_organization`.

    Raises:
        ConfigurationError: A setting, a rule or the name of the organization is wrong.

    Example:
        >>> from lakerunner.catalog.opening import open_catalog
        >>> from lakerunner.store.urls import open_store
        >>> ingestor = Ingestor(open_store("memory://doc/lake"), open_catalog("memory://"))
        >>> ingestor.ingest("memory://doc/raw/").rows
        0
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        *,
        organization: str = "default",
        config: Config | Mapping[str, Any] | None = None,
        executor: Executor | None = None,
        open_bucket: OpenBucket = open_store,
        ownership: Ownership | Mapping[str, Any] | None = None,
        bound: bool = False,
    ) -> None:
        self._fence = Fence(store, catalog)
        self._ownership = read_ownership(ownership)
        self._open_bucket = profiled_buckets(open_bucket, store.url, self._ownership)
        self._only = organization if bound else None
        self._store = store
        self._catalog = catalog
        self._organization = check_organization(organization)
        self._config = read_config(config)
        self._executor = executor
        self._notes: dict[str, list[Note]] = {}

    @property
    def ownership(self) -> Ownership | None:
        """Rules that say whose each object is, if there are any."""
        return self._ownership

    def for_organization(self, organization: str) -> Ingestor:
        """An ingestor into the same lake that takes rows for one organization only.

        Where there are rules of ownership, it passes over the objects that are not its own by them.

        Raises:
            ConfigurationError: `organization` can be no organization's name.
        """
        scope = Scope(self._store, self._catalog, self._organization, self._config)
        return self.within(scope.of(organization))

    def within(self, scope: Scope) -> Ingestor:
        """The same ingestor within another scope of the lake."""
        return Ingestor(
            scope.store,
            scope.catalog,
            organization=scope.organization,
            config=scope.config,
            executor=self._executor,
            open_bucket=self._open_bucket,
            ownership=self._ownership,
            bound=scope.bound,
        )

    def ingest(
        self,
        source: str | PathLike[str] | bytes | ArrowStream,
        *,
        signal: Signal | str | None = None,
        format: str | None = None,  # noqa: A002 - the word users know
        mapping: SourceMapping | Mapping[str, Any] | None = None,
        organization: str | None = None,
        progress: Progress | None = None,
        workers: int | None = None,
    ) -> IngestReport:
        """Take everything a source names that was not taken before.

        Args:
            source: URL or path of an object, of a prefix (ends at `/`), or a glob; or the bytes of
                one object, or a table or reader of Arrow, Polars or pandas. Bytes and tables have
                no identity and are taken each time they are given. A table larger than a batch
                is committed batch by batch.
            signal: `logs`, `spans` or `metrics`; told from the content if not given.
            format: Name of the format; told from name and content if not given.
            mapping: Which fields mean what, where their names do not tell; for JSON, CSV, logfmt,
                text, Parquet and tables. It may name signal and format, too.
            organization: Whose rows they are.
            progress: Called after each batch.
            workers: Processes for this call, from its second batch on. They import the program's
                main module: a script calls this below `if __name__ == "__main__":`.

        Returns:
            What was done, with what could not be taken and why, and sources that named nothing.

        Raises:
            ObjectNotFoundError: `source` is an object or folder that is not there.
            InputError: `source` is bytes or a table that cannot be taken.
            ConfigurationError: The mapping is wrong, or `source` is of no known kind, or there can
                be no worker processes.
            StoreError: A segment could not be put, or the source could not be listed.
            CatalogMismatchError: The catalog is not this lake's, or not up to it.
            CatalogError: A commit failed.
        """
        request = read_request(signal, format, mapping, organization, only=self._only)
        if isinstance(source, bytes | bytearray | memoryview):
            return self._ingest_bytes(bytes(source), request, progress)
        if not isinstance(source, str | os.PathLike):
            arrow = request._replace(format=ARROW)
            pieces = stream_pieces(source, self._config.batch_bytes)
            return sum(
                (self._ingest_bytes(piece, arrow, progress) for piece in pieces), IngestReport()
            )
        inputs = find_inputs(
            source, self._store.url, self._store.storage_options, self._open_bucket
        )
        if workers is None:
            report = self._run(inputs, request, progress)
        else:
            with self._with_processes(workers, inputs.store) as ingestor:
                report = ingestor._run(inputs, request, progress)  # noqa: SLF001 - of this class
        if report == IngestReport(seconds=report.seconds):
            return msgspec.structs.replace(report, unmatched=(os.fspath(source),))
        return report

    def waiting(self, source: str | PathLike[str]) -> Iterator[ObjectMeta]:
        """Objects of a source that are neither taken nor set aside, in order of their keys."""
        where = self._store.url, self._store.storage_options, self._open_bucket
        inputs = find_inputs(source, *where)
        if self._ownership is not None and self._only is not None:
            inputs = inputs.of(self._organization, self._ownership)
        files = self._files(inputs, growing=False)
        return iter(NewObjects(self._catalog, inputs, self._config, again=False, files=files))

    def take(
        self, store: ObjectStore, objects: Iterable[ObjectMeta], organization: str
    ) -> IngestReport:
        """Take objects of a store that the caller has open, each exactly once.

        In the calling thread, for only it may be able to read them.

        Args:
            store: Where they lie.
            objects: As the store describes them.
            organization: Whose rows they are.

        Raises:
            ConfigurationError: This ingestor is bound to another organization.
            StoreError: A segment could not be put.
            CatalogError: A commit failed.
        """
        request = read_request(organization=organization, only=self._only)
        return self._run(Inputs(store, iter(objects)), request, None, inline=True)

    @contextmanager
    def _with_processes(self, count: int, source: ObjectStore) -> Iterator[Ingestor]:
        """This ingestor, with processes of its own."""
        if count < 1:
            raise ConfigurationError("workers must be at least 1", setting="workers")
        for store in (self._store, source):
            if count > 1 and split_scheme(store.url)[0] == "memory":
                raise ConfigurationError(
                    f"workers: other processes cannot reach {store.url}", setting="workers"
                )
        with worker_processes(count) as executor:
            ingestor = copy(self)
            ingestor._executor = executor  # noqa: SLF001 - of this class
            try:
                yield ingestor
            except BrokenProcessPool as error:
                raise ConfigurationError(
                    "workers: a worker process ended, for want of memory or because the program "
                    'does not keep its start below `if __name__ == "__main__":`',
                    setting="workers",
                ) from error

    def ingest_owned(self, progress: Progress | None = None) -> IngestReport:
        """Take all that is new wherever storage profiles and prefix mappings point.

        Buckets are listed one after the other; batches of all organizations are taken in parallel
        (`Config.workers`, or the executor). What cannot be listed keeps nothing else from being
        taken.

        Args:
            progress: Called after each batch.

        Returns:
            What was done; in `failed` are also the prefixes that could not be listed.

        Raises:
            ConfigurationError: There are no rules that name a bucket, or one cannot be opened.
            StoreError: A segment could not be put.
            CatalogError: A commit failed.
        """
        report, request = IngestReport(), Request()
        for found in owned_inputs(self._ownership, self._open_bucket, self._store, self._config):
            if isinstance(found, Rejection):
                report += IngestReport(failed=(found,))
            else:
                report += self._run(found, request, progress)
        return report

    def retry(
        self,
        organization: str | None = None,
        progress: Progress | None = None,
        *,
        signal: Signal | str | None = None,
        format: str | None = None,  # noqa: A002 - the word users know
        mapping: SourceMapping | Mapping[str, Any] | None = None,
    ) -> IngestReport:
        """Try again what is set aside, for instance after an upgrade.

        Objects that are gone stay set aside. An object that was overwritten since is taken in its
        new version, and the old one is listed no more. Lines of an object whose other lines were
        taken are tried by themselves, whether or not the object is still there. What cannot be
        taken this time either stays listed, and so do lines that were too long to be kept, and
        segments of the lake.

        Args:
            organization: Whose; the ingestor's own if not given.
            progress: Called after each batch.
            signal: What the objects hold; told from their content if not given.
            format: Their format; told from name and content if not given.
            mapping: Which fields mean what; see `ingest`.

        Raises:
            StoreError: A segment could not be put, or an object could not be looked up.
            CatalogError: A commit failed.
        """
        request = read_request(signal, format, mapping, organization, only=self._only)
        organization = request.organization or self._organization
        listed = self._catalog.rejections(organization)
        report = IngestReport()
        for bucket, keys in objects_waiting(listed).items():
            store = self._open_bucket(bucket, self._store.storage_options)
            inputs = Inputs(store, self._present(store, keys))
            report += self._run(inputs, request, progress, again=True)
        for lines in lines_waiting(self._store, organization, listed, request.format):
            named = request._replace(format=lines.format)
            report += self._run(lines.inputs, named, progress, again=True)
        now_ns = present_ns(self._store)
        left = self._catalog.rejections(organization)
        clean_up(self._store, organization, left, now_ns - self._config.orphan_grace_ns)
        return report

    def rejected_lines(self, organization: str | None = None) -> pa.Table:
        """Every line that is set aside, with its text; see `taking_again.list_lines`.

        Args:
            organization: Whose; the ingestor's own if not given.
        """
        request = read_request(organization=organization, only=self._only)
        whose = request.organization or self._organization
        return list_lines(self._store, whose, self._catalog.rejections(whose))

    def watch(  # noqa: PLR0913 - the settings of the call, by keyword
        self,
        source: EventSource,
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
        An event is acknowledged only when its object is settled: taken or set aside by a commit, by
        this watcher or before, or not there after some tries. What fails in a way that may pass is
        announced again later. A message that cannot be read is reported and acknowledged. When
        `stop` is set, or by SIGTERM in the main thread, what was gathered is committed first. A
        watcher that is killed loses nothing.

        Args:
            source: What announces objects: see `lakerunner.events`. It stays open.
            stop: Ends the watch when set, within `limits.WATCH_POLL_SECONDS`.
            max_bytes: Expected bytes to gather, decompressed; those of a batch if not given.
            max_objects: Objects to gather; `Config.batch_objects` if not given.
            max_age: Seconds an object may wait for others; `Config.watch_seconds` if not given.
            until_idle: End as well when nothing was announced for so many seconds.
            signal: What the objects hold; see `ingest`.
            format: Their format; see `ingest`.
            mapping: Which fields mean what; see `ingest`.
            organization: Whose rows they are; see `ingest`.
            progress: Called after each gathering.

        Returns:
            What was done, with the latest of the rejections; in `failed` is what was given back.

        Raises:
            LakerunnerError: Something is wrong that does not pass: a setting, the source, the lake.
        """
        request = read_request(signal, format, mapping, organization, only=self._only)
        if self._only is not None and self._ownership is not None:
            raise ConfigurationError(
                "events may announce objects of any organization: watch with the whole lake",
                organization=self._organization,
            )
        limits = gather_limits(self._config, max_bytes, max_objects, max_age)
        settings = WatchSettings(limits, stop or threading.Event(), until_idle, progress)

        def take(store: ObjectStore, objects: Iterable[ObjectMeta]) -> IngestReport:
            return self._run(Inputs(store, iter(objects)), request, None, announced=True)

        with Screen(self._catalog, self._store, self._open_bucket, self._config) as screen:
            return Watcher(source, screen, take, self._config, settings).run()

    def _present(self, store: ObjectStore, keys: Iterable[str]) -> Iterator[ObjectMeta]:
        """Describe those objects that are still there."""
        for key in keys:
            try:
                yield retrying(partial(store.head, key), self._config)
            except ObjectNotFoundError:
                continue

    def _ingest_bytes(
        self, data: bytes, request: Request, progress: Progress | None
    ) -> IngestReport:
        store = open_store(f"memory://lakerunner-bytes-{uuid.uuid4().hex}")
        meta = store.put("bytes", data)
        try:
            report = self._run(Inputs(store, iter([meta])), request, progress, record=False)
        finally:
            store.delete("bytes")
        whole = [rejection for rejection in report.rejected if rejection.rows is None]
        if whole:
            raise _INPUT_ERRORS.get(whole[0].code, InputError)(whole[0].reason)
        return report

    def _names(self, steward: str) -> Callable[[str], bool]:
        """Which organizations the lake can hold, if it can hold this one."""
        if not self._store.ignores_case:
            return bool
        known = {*self._catalog.organizations(), steward}
        check_distinct(steward, known)
        return partial(is_distinct, others=known)

    def _files(self, inputs: Inputs, *, growing: bool) -> LocalFiles | None:
        local = split_scheme(inputs.store.url)[0] == "file"
        where = self._store, self._catalog, inputs.store, self._config, self._notes
        return LocalFiles(*where, growing=growing) if local else None

    def _run(
        self,
        inputs: Inputs,
        request: Request,
        progress: Progress | None,
        *,
        again: bool = False,
        record: bool = True,
        announced: bool = False,
        inline: bool = False,
    ) -> IngestReport:
        begun = time.perf_counter()
        rules = self._ownership if record and request.organization is None else None
        if rules is not None and self._only is not None:
            inputs = inputs.of(self._organization, rules)
        files = self._files(inputs, growing=announced) if record else None
        new = NewObjects(self._catalog, inputs, self._config, again=again, files=files)
        common = IngestTask(
            batch_id="",
            lake=self._store,
            source=inputs.store,
            objects=(),
            organization=None,
            steward=request.organization or self._organization,
            signal=request.signal,
            hint=None,
            format=request.format,
            mapping=request.mapping,
            config=self._config,
            epoch=0,
            announced=announced,
            record=record,
        )
        begin = partial(retrying, self._fence.begin, self._config)
        owned = tasks_of(new, common, rules, self._names(common.steward))
        tasks = (task._replace(epoch=begin().epoch) for task in owned)
        report, handled = IngestReport(), 0
        replaced = ReplacedVersions(self._catalog, inputs.store.url, self._config)
        workers = workers_of(self._executor, self._config, "ingest", inline=inline or not record)
        with workers as (executor, in_flight):
            for outcome in bounded_map(executor, ingest_batch, tasks, in_flight=in_flight):
                report += commit_outcome(self._fence, outcome, replaced, files, record=record)
                handled += len(outcome.task.objects)
                if progress is not None:
                    total = new.seen if new.exhausted else None
                    event = ProgressEvent("ingest", handled, total, report.rows, report.bytes_read)
                    progress(event)
        self._fence.leave_height()
        skipped = IngestReport(skipped=new.skipped, seconds=time.perf_counter() - begun)
        return report + skipped
