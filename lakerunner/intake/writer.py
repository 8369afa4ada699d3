"""A writer: takes telemetry from the program that has it, and commits it in batches.

What is written waits in memory, or in a journal on disk, until there is enough of it or it has
waited long enough. Then all that waits of one organization, of whatever signal, becomes one commit.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from lakerunner.errors import (
    CatalogUnavailableError,
    CommitUnknownError,
    ConfigurationError,
    InputError,
    IntakeFullError,
    LakerunnerError,
    StoreError,
)
from lakerunner.intake.journal import Journal, Sealed
from lakerunner.intake.payloads import payload_of
from lakerunner.intake.settings import Acknowledge, Pressure, WriterReport, WriterSettings
from lakerunner.model.profile import check_organization
from lakerunner.model.report import IngestReport
from lakerunner.store.urls import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from os import PathLike

    from lakerunner.intake.payloads import Payload
    from lakerunner.model.segment import Rejection
    from lakerunner.model.signal import Signal
    from lakerunner.store import ObjectMeta, ObjectStore

_PASSING = (StoreError, CatalogUnavailableError, CommitUnknownError)
_LONGEST_PAUSE = 30.0
_REASONS = 20


class _Batch:
    """What waits of one organization, and whoever waits for it."""

    def __init__(self, now: float) -> None:
        self.parts: dict[str, list[bytes]] = {}
        self.names: dict[str, str] = {}
        self.payloads = self.bytes = 0
        self.since = now
        self.due = self.awaited = False
        self.done: Future[None] = Future()

    def add(self, payload: Payload, *, kept: bool) -> None:
        if kept:
            kind = payload.kind or f"alone {self.payloads}"
            self.parts.setdefault(kind, []).append(payload.data)
            self.names.setdefault(kind, payload.name)
        self.payloads += 1
        self.bytes += len(payload.data)


class Writer:
    """Takes telemetry in any amounts, and commits it in good ones.

    Safe across threads, and for any number of them. It has one thread of its own, which commits.
    Use it as a context manager, or call `close`.

    Args:
        take: Ingests objects for an organization: see `Ingestor.take`.
        organization: Whose rows they are, unless a call says otherwise.
        settings: See `WriterSettings`.
        journal: A directory for what is accepted and not committed yet; None to keep it in memory.

    Raises:
        ConfigurationError: A setting is wrong, or `logged` has no journal to be logged in.

    Example:
        >>> import lakerunner
        >>> lake = lakerunner.open("memory://doc/writer")
        >>> with lake.writer() as writer:
        ...     writer.write([{"message": "hello"}, {"message": "again"}])
        >>> lake.sql("SELECT count(*) AS n FROM logs").scalar()
        2
    """

    def __init__(
        self,
        take: Callable[[ObjectStore, Iterable[ObjectMeta], str], IngestReport],
        organization: str,
        settings: WriterSettings,
        journal: str | PathLike[str] | None = None,
    ) -> None:
        if settings.acknowledge is Acknowledge.LOGGED and journal is None:
            raise ConfigurationError(
                "acknowledge='logged' needs journal=, a directory that is this machine's own"
            )
        self._take = take
        self._organization = organization
        self.settings = settings
        self._journal = None if journal is None else Journal(journal)
        self._memory = open_store(f"memory://lakerunner-writer-{uuid.uuid4().hex}")
        self._changed = threading.Condition()
        self._batches: dict[str, _Batch] = {}
        self._working: list[_Batch] = []
        self._counts: Counter[str] = Counter()
        self._taken = IngestReport()
        self._reasons: tuple[str, ...] = ()
        self._waiting_bytes = 0
        self._number = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="lakerunner-writer", daemon=True)
        self._thread.start()

    # -- writing ---------------------------------------------------------------------------------

    def write(
        self,
        data: Any,
        *,
        signal: Signal | str | None = None,
        organization: str | None = None,
    ) -> None:
        """Take some telemetry; returns when it is as safe as `acknowledge` says.

        Args:
            data: An OTLP export request, as a message of `opentelemetry-proto` or its bytes; a
                table or reader of Arrow, Polars or pandas; a mapping, a `logging.LogRecord`, or a
                list of these.
            signal: What it is; see `payload_of`.
            organization: Whose rows they are.

        Raises:
            ConfigurationError: `data` is of no kind that can be taken, or the writer is closed.
            InputError: It cannot be taken. If it is known only when the commit is made, this is
                raised only where that is waited for.
            IntakeFullError: More is waiting than may wait.
            StoreUnavailableError: The journal's disk does not take it.
        """
        done = self._accepted(data, signal, organization)
        if done is not None:
            done.result()

    async def write_async(
        self,
        data: Any,
        *,
        signal: Signal | str | None = None,
        organization: str | None = None,
    ) -> None:
        """As `write`, without holding up the event loop."""
        done = await asyncio.to_thread(self._accepted, data, signal, organization)
        if done is not None:
            await asyncio.shield(asyncio.wrap_future(done))

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything that was written until now is in the lake.

        Args:
            timeout: Seconds to wait; None for as long as it takes.

        Raises:
            InputError: Something of it cannot be taken; the rest is there.
            TimeoutError: It took longer. Nothing is lost; it goes on being tried.
        """
        with self._changed:
            waiting = [*self._working, *self._batches.values()]
            for batch in waiting:
                batch.due = True
            self._changed.notify_all()
        until = None if timeout is None else time.monotonic() + timeout
        failed: Exception | None = None
        for batch in waiting:
            try:
                batch.done.result(None if until is None else max(0.0, until - time.monotonic()))
            except InputError as error:
                failed = error
        if failed is not None:
            raise failed

    def close(self, timeout: float | None = None) -> None:
        """Commit what is waiting, and end. What is not committed by then stays in the journal.

        Raises:
            InputError: Something of it cannot be taken; the rest is there.
            TimeoutError: It took longer than `timeout` seconds. What is in no journal is lost then.
        """
        with self._changed:
            if self._closing:
                return
        try:
            self.flush(timeout)
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(timeout)
            if self._journal is not None:
                self._journal.close()
            self._memory.close()

    def report(self) -> WriterReport:
        """What became of what was written, until now."""
        with self._changed:
            waiting = [*self._working, *self._batches.values()]
            oldest = min((one.since for one in waiting), default=None)
            return WriterReport(
                payloads=self._counts["payloads"],
                bytes=self._counts["bytes"],
                committed=self._counts["committed"],
                rejected=self._counts["rejected"],
                waiting=sum(one.payloads for one in waiting),
                waiting_bytes=self._waiting_bytes,
                oldest_seconds=0.0 if oldest is None else time.monotonic() - oldest,
                attempts=self._counts["attempts"],
                refused=self._counts["refused"],
                ingest=self._taken,
                reasons=self._reasons,
            )

    def refused(self, records: int, reasons: Iterable[str], organization: str) -> None:
        """Count records that a receiver turned away, while it took the rest of their request.

        Args:
            records: How many.
            reasons: Why.
            organization: Whose they were.
        """
        with self._changed:
            self._counts["refused"] += records
        for reason in reasons:
            self._note(f"{organization}: {reason}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- accepting -------------------------------------------------------------------------------

    def _accepted(
        self, data: Any, signal: Signal | str | None, organization: str | None
    ) -> Future[None] | None:
        """Take a payload; what to wait for, if that is its commit."""
        payload = payload_of(data, signal)
        whose = self._organization if organization is None else check_organization(organization)
        if not payload.data:
            return None
        settings = self.settings
        with self._changed:
            self._make_room(len(payload.data))
            ticket = None if self._journal is None else self._journal.add(whose, payload)
            batch = self._batches.get(whose)
            if batch is None:
                batch = self._batches[whose] = _Batch(time.monotonic())
            batch.add(payload, kept=self._journal is None)
            self._waiting_bytes += len(payload.data)
            self._counts["payloads"] += 1
            self._counts["bytes"] += len(payload.data)
            self._changed.notify_all()
            done = batch.done
            if settings.acknowledge is Acknowledge.COMMITTED:
                batch.awaited = True
        if settings.acknowledge is Acknowledge.COMMITTED:
            return done
        if settings.acknowledge is Acknowledge.LOGGED and ticket is not None:
            self._logged(ticket)
        return None

    def _logged(self, ticket: int) -> None:
        if self._journal is not None:
            self._journal.sync(ticket)

    def _make_room(self, size: int) -> None:
        """Wait until a payload of this size may wait, too."""
        while not self._closing:
            if not self._waiting_bytes or (
                self._waiting_bytes + size <= self.settings.waiting_bytes
            ):
                return
            for batch in self._batches.values():
                batch.due = True
            self._changed.notify_all()
            if self.settings.pressure is Pressure.REJECT:
                raise IntakeFullError(
                    f"{self._waiting_bytes:,} bytes are waiting to be committed, and "
                    f"{self.settings.waiting_bytes:,} may: try again later, or raise waiting_bytes",
                    retry_after=1.0,
                )
            self._changed.wait()
        raise ConfigurationError("write: the writer is closed")

    # -- committing ------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._journal is not None:
            for sealed in self._journal.left_behind():
                self._commit_left(sealed)
        while True:
            with self._changed:
                while not (chosen := self._due()) and not self._closing:
                    self._changed.wait(self._until_due())
                if not chosen and self._closing:
                    return
                for whose, _ in chosen:
                    del self._batches[whose]
                self._working = [batch for _, batch in chosen]
                sealed_files = [] if self._journal is None else self._journal.seal()
            for whose, batch in chosen:
                files = [one for one in sealed_files if one.organization == whose]
                self._settle(whose, batch, files)

    def _due(self) -> list[tuple[str, _Batch]]:
        """What is to be committed now; with a journal it is all or nothing, as its files are."""
        due = [item for item in self._batches.items() if self._is_due(item[1])]
        if due and self._journal is not None:
            due = list(self._batches.items())
        return sorted(due, key=lambda item: item[1].since)

    def _is_due(self, batch: _Batch) -> bool:
        settings = self.settings
        age = time.monotonic() - batch.since
        return (
            batch.due
            or batch.bytes >= settings.flush_bytes
            or age >= (settings.linger_seconds if batch.awaited else settings.flush_seconds)
        )

    def _until_due(self) -> float | None:
        waits = [
            batch.since
            + (self.settings.linger_seconds if batch.awaited else self.settings.flush_seconds)
            for batch in self._batches.values()
        ]
        return max(0.001, min(waits) - time.monotonic()) if waits else None

    def _settle(self, whose: str, batch: _Batch, files: list[Sealed]) -> None:
        """Commit a batch, however often that has to be tried, and tell who waits for it."""
        failed: Exception | None = None
        rejected = 0
        try:
            if self._journal is None:
                rejected, failed = self._commit_parts(whose, batch)
            else:
                for file in files:
                    failed = self._commit_file(file) or failed
                rejected = batch.payloads if failed else 0
        except LakerunnerError as error:
            failed, rejected = error, batch.payloads
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it
            failed, rejected = LakerunnerError(f"a commit failed: {error}"), batch.payloads
        with self._changed:
            self._working.remove(batch)
            self._waiting_bytes -= batch.bytes
            self._counts["rejected"] += rejected
            self._counts["committed"] += batch.payloads - rejected
            self._changed.notify_all()
        if failed is None:
            batch.done.set_result(None)
        else:
            batch.done.set_exception(failed)

    def _commit_parts(self, whose: str, batch: _Batch) -> tuple[int, Exception | None]:
        """Commit what is in memory; how many payloads cannot be taken, and why."""
        objects: dict[str, list[bytes]] = {}
        for kind, parts in batch.parts.items():
            self._number += 1
            objects[batch.names[kind].format(f"{self._number:08}")] = parts
        rejections = self._commit_objects(whose, {key: b"".join(p) for key, p in objects.items()})
        alone = {one.source.key: one for one in rejections if len(objects[one.source.key]) == 1}
        together = {one.source.key for one in rejections} - alone.keys()
        count, reason = len(alone), next((one.reason for one in alone.values()), "")
        for key in together:  # one of them is bad, and the others are not to suffer from it
            stem = {f"{at}-{key}": part for at, part in enumerate(objects[key])}
            bad = self._commit_objects(whose, stem)
            count += len(bad)
            reason = next((one.reason for one in bad), reason)
        return count, InputError(reason) if count else None

    def _commit_objects(self, whose: str, objects: Mapping[str, bytes]) -> list[Rejection]:
        metas = [self._memory.put(key, data) for key, data in objects.items()]
        try:
            return self._ingested(partial(self._take, self._memory, metas, whose))
        finally:
            for key in objects:
                self._memory.delete(key)

    def _commit_left(self, sealed: Sealed) -> None:
        with self._changed:
            self._counts["payloads"] += 1
        failed = None
        try:
            failed = self._commit_file(sealed)
        except LakerunnerError as error:
            failed = error
            self._note(str(error))
        with self._changed:
            self._counts["rejected" if failed else "committed"] += 1

    def _commit_file(self, sealed: Sealed) -> Exception | None:
        """Commit a file of the journal; it stays there if it cannot be taken."""
        with closing(open_store(sealed.path.parent.as_uri())) as store:
            meta = store.head(sealed.path.name)
            rejections = self._ingested(partial(self._take, store, [meta], sealed.organization))
        if rejections:
            aside = sealed.path.parent.parent / "rejected"
            aside.mkdir(exist_ok=True)
            sealed.path.rename(aside / sealed.path.name)
            return InputError(f"{rejections[0].reason} (kept in {aside})")
        Journal.forget(sealed)
        return None

    def _ingested(self, take: Callable[[], IngestReport]) -> list[Rejection]:
        """Take objects, again and again where it fails in a way that may pass: each once."""
        pause = 0.1
        while True:
            try:
                report = take()
                whole = [one for one in report.rejected if one.rows is None]
                with self._changed:
                    self._taken += report
                if not report.failed:
                    for one in whole:
                        self._note(one.reason)
                    return whole
                problem = report.failed[0].reason
            except _PASSING as error:
                problem = str(error)
            self._note(problem)
            with self._changed:
                self._counts["attempts"] += 1
                if self._closing:
                    raise StoreError(f"closed before it could be committed: {problem}")
                self._changed.wait_for(lambda: self._closing, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _note(self, reason: str) -> None:
        with self._changed:
            self._reasons = (*self._reasons, reason)[-_REASONS:]
