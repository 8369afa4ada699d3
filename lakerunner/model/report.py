"""What an ingest did, and what maintenance did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec.structs import replace

from lakerunner.model.card import Report
from lakerunner.model.segment import Rejection, Source
from lakerunner.model.times import isoformat
from lakerunner.printable import counted, printable

if TYPE_CHECKING:
    from collections.abc import Sequence


class IngestReport(Report, frozen=True):
    """The outcome of one `lake.ingest`.

    Attributes:
        objects: Objects whose rows were committed, those without rows included.
        rows: Rows committed.
        skipped: Objects that an earlier ingest had taken or set aside already.
        rejected: What was set aside now, and why; `lake.rejected()` lists it from now on.
        failed: Objects that could not be read for now (denied, unreachable, lost to another writer
            more often than `Config.attempts`). Nothing is recorded of them: the next ingest takes
            them.
        gone: Objects that were announced and are not there. Nothing is recorded of them.
        segments: Segments written.
        bytes_read: Bytes of the objects as stored.
        bytes_written: Bytes of the segments.
        seconds: Wall-clock time.
        unmatched: Sources that named nothing: empty prefixes, globs that nothing fits.
        untimed: By format, rows without a time of their own, or with none that could be read: they
            have that of their object.
    """

    objects: int = 0
    rows: int = 0
    skipped: int = 0
    rejected: tuple[Rejection, ...] = ()
    failed: tuple[Rejection, ...] = ()
    gone: int = 0
    segments: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    unmatched: tuple[str, ...] = ()
    untimed: dict[str, int] = msgspec.field(default_factory=dict)

    def __add__(self, other: IngestReport) -> IngestReport:
        """Sum of two reports.

        Example:
            >>> (IngestReport(objects=1, rows=5) + IngestReport(objects=2, rows=7)).rows
            12
        """
        added = [name for name in self.__struct_fields__ if name != "untimed"]
        formats = sorted({*self.untimed, *other.untimed})
        return IngestReport(
            **{name: getattr(self, name) + getattr(other, name) for name in added},
            untimed={one: self.untimed.get(one, 0) + other.untimed.get(one, 0) for one in formats},
        )

    def __str__(self) -> str:
        parts = [
            counted(self.objects, "object"),
            counted(self.rows, "row"),
            counted(self.segments, "segment"),
            f"{self.bytes_written / 1e6:,.1f} MB of {self.bytes_read / 1e6:,.1f} MB",
            f"{self.seconds:.2f} s",
        ]
        if self.skipped:
            parts.append(f"{self.skipped:,} skipped")
        if self.rejected:
            parts.append(f"{len(self.rejected):,} rejected")
        if self.failed:
            parts.append(f"{len(self.failed):,} to be tried again")
        if self.gone:
            parts.append(f"{self.gone:,} gone")
        for name, rows in self.untimed.items():
            parts.append(f"{counted(rows, 'row')} of {name} without a time of their own")
        parts += [f"nothing matches '{source}'" for source in self.unmatched]
        return printable(", ".join(parts))


class Setback(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task of maintenance that failed, and when it is tried again.

    Attributes:
        task: Its name: what is done, whose rows, which table and window.
        code: Of the error: a stable one of `lakerunner.errors`, else the name of its class.
        reason: What it said, for a person.
        attempts: How often the task has failed in a row.
        failed_ns: When it failed last, by the clock of the lake's store; 0 if that was not noted.
        next_ns: When it is tried again, by the same clock.
    """

    task: str
    code: str
    reason: str
    attempts: int = 1
    failed_ns: int = 0
    next_ns: int = 0

    def __str__(self) -> str:
        times = "once" if self.attempts == 1 else f"{self.attempts:,} times"
        later = f"; tried again from {isoformat(self.next_ns)}" if self.next_ns else ""
        return printable(f"{self.task} failed {times}: {self.reason} ({self.code}){later}")


class WorkReport(Report, frozen=True, omit_defaults=True):
    """The outcome of a stage of maintenance, or of several.

    It prints as one line, and `msgspec.json.encode` writes it as JSON.

    Attributes:
        what: The stage: `compact`, `rollup`, `retain`, `delete`, `collect`; or `maintain`.
        tasks: Tasks done that had anything to do.
        conflicts: Tasks given up because others had changed the same: the next run looks again.
        busy: Tasks that others were at.
        removed: Segments removed from the catalog.
        added: Segments added to it.
        deleted: Files deleted.
        rows_read: Rows read.
        rows_written: Rows written.
        rows_removed: Rows that are gone: expired or deleted.
        bytes_read: Bytes of the segments read.
        bytes_written: Bytes of the segments written.
        bytes_removed: Bytes of segments that went and of which nothing was written.
        failed: What failed now.
        waiting: What failed before and is put off.
        planned: What a dry run would do, a line each.
        seconds: Wall-clock time.
        parts: The stages, where there are several; what stands above is their sum.

    Example:
        >>> one = WorkReport("compact", tasks=1, removed=20, added=1, rows_read=5000)
        >>> print(one + WorkReport("compact", tasks=1, removed=4, added=1, seconds=0.5))
        compact: 2 tasks, 24 segments to 2, 5,000 rows read, 0.50 s
    """

    what: str
    tasks: int = 0
    conflicts: int = 0
    busy: int = 0
    removed: int = 0
    added: int = 0
    deleted: int = 0
    rows_read: int = 0
    rows_written: int = 0
    rows_removed: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_removed: int = 0
    failed: tuple[Setback, ...] = ()
    waiting: tuple[Setback, ...] = ()
    planned: tuple[str, ...] = ()
    seconds: float = 0.0
    parts: tuple[WorkReport, ...] = ()

    def __add__(self, other: WorkReport) -> WorkReport:
        """Sum of two reports, of the stage of the first."""
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__struct_fields__
            if name != "what"
        }
        return WorkReport(self.what, **sums)

    @classmethod
    def of(cls, what: str, parts: Sequence[WorkReport]) -> WorkReport:
        """Several stages as one report.

        Example:
            >>> WorkReport.of("maintain", [WorkReport("retain", tasks=2), WorkReport("x")]).tasks
            2
        """
        return replace(sum(parts, start=cls(what)), parts=tuple(parts))

    def __str__(self) -> str:
        said = [counted(self.tasks, "task")]
        if self.removed or self.added:
            said.append(f"{self.removed:,} segments to {self.added:,}")
        for number, words in (
            (self.deleted, "files deleted"),
            (self.rows_read, "rows read"),
            (self.rows_written, "rows written"),
            (self.rows_removed, "rows removed"),
        ):
            if number:
                said.append(f"{number:,} {words}")
        if self.bytes_read or self.bytes_written:
            said.append(f"{self.bytes_written / 1e6:,.1f} MB of {self.bytes_read / 1e6:,.1f} MB")
        if self.bytes_removed:
            said.append(f"{self.bytes_removed / 1e6:,.1f} MB freed")
        said.append(f"{self.seconds:.2f} s")
        for count, words in (
            (self.busy, "in other hands"),
            (self.conflicts, "where others were faster"),
            (len(self.failed), "failed"),
            (len(self.waiting), "put off"),
            (len(self.planned), "planned"),
        ):
            if count:
                said.append(f"{count:,} {words}")
        return printable(f"{self.what}: {', '.join(said)}")


# What a bucket says when an object arrived.


class ObjectEvent(msgspec.Struct, frozen=True):
    """The announcement of an object. It may come twice, late, out of order, or for nothing.

    Attributes:
        bucket: URL of the bucket, as in `Source.bucket`: `s3://acme-telemetry`.
        key: Full key of the object inside the bucket, decoded.
        size: Bytes as stored, or None if the announcement does not tell.
        etag: The version marker that the bucket's store would give (ETag or generation), or None if
            the announcement does not tell.
        time_ns: When it happened, in nanoseconds since the epoch; 0 if the announcement does not
            tell.

    Example:
        >>> ObjectEvent("s3://raw", "logs-raw/a b.json").url
        's3://raw/logs-raw/a b.json'
    """

    bucket: str
    key: str
    size: int | None = None
    etag: str | None = None
    time_ns: int = 0

    @property
    def url(self) -> str:
        """The object's URL, for messages."""
        return f"{self.bucket}/{self.key}"


# How long work reports how far it is: one event, one callback.


class ProgressEvent(msgspec.Struct, frozen=True):
    """How far one stage of a piece of work has come. Numbers are totals, never increments.

    Attributes:
        stage: What is being done, in one word for a person: `list`, `read`, `write`, `commit`.
        done: Units of the stage that are finished (objects, segments).
        total: Units there will be, or None while that is unknown; it may grow.
        rows: Rows handled so far.
        bytes: Bytes read so far, as stored.
    """

    stage: str
    done: int
    total: int | None = None
    rows: int = 0
    bytes: int = 0


class Progress(Protocol):
    """A callback that long work calls now and then, at most once for each finished unit.

    It is called by the thread that does the work, so it must return quickly. If several threads
    share the work it may be called from any of them, one call at a time. What it raises ends the
    work as any other error would, with nothing half done; that is a way to cancel.

    Example:
        >>> def show(event: ProgressEvent) -> None:
        ...     print(f"{event.stage}: {event.done} of {event.total}")
        >>> show(ProgressEvent("read", 3, 10))
        read: 3 of 10
    """

    def __call__(self, event: ProgressEvent, /) -> None:
        """Take notice of an event."""


# What the recovery of a catalog found and did.


class BrokenSegment(msgspec.Struct, frozen=True):
    """A file among the segments that cannot be read as one.

    Attributes:
        key: Its key, relative to the lake.
        reason: One sentence for a person.
    """

    key: str
    reason: str


class RecoveryReport(Report, frozen=True):
    """The outcome of one `lake.recover`.

    Attributes:
        commits: Commits that were made again.
        segments: Live segments in them.
        rows: Rows in these.
        bytes: Bytes of these.
        sources: Input objects that are known to be taken.
        replaced: Files that compacted segments stand for; they stay until they are collected.
        left_out: Files that no commit named, as far as can be told: what crashes left behind.
        broken: Files that cannot be read.
        missing: Ids of segments that were committed once, and are neither there nor replaced:
            broken, lost, or removed for their age.
        uncovered: Input objects of files that are left out, which are in no commit. The next ingest
            takes them, if they are still there.
        refused: Ids of commits that the catalog would not take, because it knows their sources or
            segments from elsewhere.
        seconds: Wall-clock time.
    """

    commits: int = 0
    segments: int = 0
    rows: int = 0
    bytes: int = 0
    sources: int = 0
    replaced: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    broken: tuple[BrokenSegment, ...] = ()
    missing: tuple[str, ...] = ()
    uncovered: tuple[Source, ...] = ()
    refused: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        parts = [
            f"{self.segments:,} segments",
            f"{self.rows:,} rows",
            f"{self.sources:,} sources",
            f"{self.seconds:.2f} s",
        ]
        counts = {
            "replaced": self.replaced,
            "left out": self.left_out,
            "broken": self.broken,
            "missing": self.missing,
            "sources to be taken": self.uncovered,
            "commits refused": self.refused,
        }
        return ", ".join([*parts, *(f"{len(v):,} {name}" for name, v in counts.items() if v)])
