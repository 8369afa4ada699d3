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
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from lakerunner.errors import (
    ConfigurationError,
    InputError,
    IntakeFullError,
    LakerunnerError,
    StoreError,
)
from lakerunner.intake.accounts import Accounts, Allowances, Batch, Refusals, Room
from lakerunner.intake.handed import insist
from lakerunner.intake.journal import Journal, Sealed
from lakerunner.intake.payloads import payload_of
from lakerunner.intake.settings import Acknowledge, Pressure, WriterReport, WriterSettings
from lakerunner.model.profile import check_organization
from lakerunner.model.report import IngestReport
from lakerunner.store.urls import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future
    from os import PathLike

    from lakerunner.intake.payloads import Payload
    from lakerunner.model.segment import Rejection
    from lakerunner.model.signal import Signal
    from lakerunner.store import ObjectMeta, ObjectStore

_REASONS = 20
_FREE_FOR_ALL = 0.75


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
        for setting in (settings.acknowledge, settings.pressure):
            if journal is None and setting in (Acknowledge.LOGGED, Pressure.SPILL):
                raise ConfigurationError(
                    f"{setting!r} needs journal=, a directory that is this machine's own"
                )
        self._take = take
        self._organization = organization
        self.settings = settings
        self._journal = None if journal is None else Journal(journal)
        self._memory = open_store(f"memory://lakerunner-writer-{uuid.uuid4().hex}")
        self._changed = threading.Condition()
        self._batches: dict[str, Batch] = {}
        self._working: list[tuple[str, Batch]] = []
        self._counts: Counter[str] = Counter()
        self._taken = IngestReport()
        self._reasons: tuple[str, ...] = ()
        self._waiting_bytes = self._spilled_bytes = 0
        self._accounts = Accounts()
        self._allowances = Allowances(settings.quota, settings.quotas, time.monotonic)
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
            waiting = [*(batch for _, batch in self._working), *self._batches.values()]
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
            waiting = [*(batch for _, batch in self._working), *self._batches.values()]
            oldest = min((one.since for one in waiting), default=None)
            return WriterReport(
                payloads=self._counts["payloads"],
                bytes=self._counts["bytes"],
                committed=self._counts["committed"],
                rejected=self._counts["rejected"],
                waiting=sum(one.payloads for one in waiting),
                waiting_bytes=self._waiting_bytes,
                spilled_bytes=self._spilled_bytes,
                oldest_seconds=0.0 if oldest is None else time.monotonic() - oldest,
                attempts=self._counts["attempts"],
                refused=self._counts["refused"],
                ingest=self._taken,
                reasons=self._reasons,
                organizations=self._accounts.reports(),
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
            self._accounts.refused(organization, records)
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
            self._allowances.take(whose, payload.records, len(payload.data))
            room = self._make_room(whose, len(payload.data))
            ticket = None
            if room is not Room.MEMORY and self._journal is not None:
                ticket = self._journal.add(whose, payload)
            batch = self._batches.get(whose)
            if batch is None:
                batch = self._batches[whose] = Batch(time.monotonic())
            batch.add(payload, room)
            self._waiting_bytes += len(payload.data)
            self._spilled_bytes += len(payload.data) if room is Room.SPILL else 0
            self._accounts.accepted(whose, payload.records)
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

    def _make_room(self, whose: str, size: int) -> Room:
        """Wait until a payload of this size may wait, too, and say where."""
        settings = self.settings
        spills = settings.pressure is Pressure.SPILL
        # With a journal everything waits on disk, unless that is only for what has no room.
        logged = self._journal is not None and (
            not spills or settings.acknowledge is Acknowledge.LOGGED
        )
        while not self._closing:
            if self._has_room(whose, size):
                return Room.JOURNAL if logged else Room.MEMORY
            if spills and self._spilled_bytes + size <= settings.spill_bytes:
                return Room.SPILL
            for batch in self._batches.values():
                batch.due = True
            self._changed.notify_all()
            if settings.pressure is not Pressure.BLOCK:
                raise IntakeFullError(
                    f"{self._waiting_bytes:,} bytes are waiting to be committed, and "
                    f"{settings.waiting_bytes:,} may: try again later, or raise waiting_bytes",
                    retry_after=1.0,
                )
            self._changed.wait()
        raise ConfigurationError("write: the writer is closed")

    def _has_room(self, whose: str, size: int) -> bool:
        """Whether so much more may wait, of all that waits and of this organization's share."""
        most = self.settings.waiting_bytes
        waiting = self._waiting_bytes - self._spilled_bytes
        if not waiting:
            return True
        if waiting + size > most:
            return False
        known = self._accounts.organizations()
        if known < 2 or waiting + size <= most * _FREE_FOR_ALL:  # noqa: PLR2004 - one has it all
            return True
        waits = [*self._batches.items(), *self._working]
        own = sum(batch.bytes - batch.spilled for name, batch in waits if name == whose)
        return not own or own + size <= most / known

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
                self._working = list(chosen)
                on_disk = any(batch.on_disk for _, batch in chosen)
                sealed_files = self._journal.seal() if self._journal and on_disk else []
            for whose, batch in chosen:
                files = [one for one in sealed_files if one.organization == whose]
                self._settle(whose, batch, files)

    def _due(self) -> list[tuple[str, Batch]]:
        """What is to be committed now; with a journal it is all or nothing, as its files are."""
        due = [item for item in self._batches.items() if self._is_due(item[1])]
        if any(batch.on_disk for _, batch in due):
            due = list(self._batches.items())
        return sorted(due, key=lambda item: item[1].since)

    def _is_due(self, batch: Batch) -> bool:
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

    def _settle(self, whose: str, batch: Batch, files: list[Sealed]) -> None:
        """Commit a batch, however often that has to be tried, and tell who waits for it."""
        refused = Refusals()
        try:
            self._commit_parts(whose, batch, refused)
            for file in files:
                failed = self._commit_file(file)
                if failed is not None:
                    refused.add(failed, batch.payloads, batch.records)
        except LakerunnerError as error:
            refused.add(error, batch.payloads, batch.records)
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it
            failure = LakerunnerError(f"a commit failed: {error}")
            refused.add(failure, batch.payloads, batch.records)
        payloads = min(refused.payloads, batch.payloads)
        with self._changed:
            self._working.remove((whose, batch))
            self._waiting_bytes -= batch.bytes
            self._spilled_bytes -= batch.spilled
            self._counts["rejected"] += payloads
            self._counts["committed"] += batch.payloads - payloads
            self._accounts.settled(whose, batch.records, min(refused.records, batch.records))
            self._changed.notify_all()
        if refused.error is None:
            batch.done.set_result(None)
        else:
            batch.done.set_exception(refused.error)

    def _commit_parts(self, whose: str, batch: Batch, refused: Refusals) -> None:
        """Commit what is in memory, and count what of it cannot be taken."""
        objects: dict[str, list[Payload]] = {}
        for parts in batch.parts.values():
            self._number += 1
            objects[parts[0].name.format(f"{self._number:08}")] = parts
        if not objects:
            return
        whole = {key: b"".join(part.data for part in parts) for key, parts in objects.items()}
        for one in self._commit_objects(whose, whole):
            parts = objects[one.source.key]
            if len(parts) == 1:
                refused.add(InputError(one.reason), 1, parts[0].records)
                continue
            # One of them is bad, and the others are not to suffer from it.
            each = {f"{at}-{one.source.key}": part for at, part in enumerate(parts)}
            data = {key: part.data for key, part in each.items()}
            for bad in self._commit_objects(whose, data):
                refused.add(InputError(bad.reason), 1, each[bad.source.key].records)

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
        """Take objects, however often that has to be tried; those refused as a whole."""
        refused: list[Rejection] = []
        for report in insist(take, self._again):
            refused = [one for one in report.rejected if one.rows is None]
            with self._changed:
                self._taken += report
        for one in refused:
            self._note(one.reason)
        return refused

    def _again(self, problem: str, pause: float) -> None:
        self._note(problem)
        with self._changed:
            self._counts["attempts"] += 1
            if self._closing:
                raise StoreError(f"closed before it could be committed: {problem}")
            self._changed.wait_for(lambda: self._closing, pause)

    def _note(self, reason: str) -> None:
        with self._changed:
            self._reasons = (*self._reasons, reason)[-_REASONS:]
