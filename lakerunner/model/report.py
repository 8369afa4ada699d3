"""What an ingest did, and what maintenance did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lakerunner.model.source import Rejection
from lakerunner.model.times import isoformat
from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


class IngestReport(msgspec.Struct, frozen=True):
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

    def __add__(self, other: IngestReport) -> IngestReport:
        """Sum of two reports.

        Example:
            >>> (IngestReport(objects=1, rows=5) + IngestReport(objects=2, rows=7)).rows
            12
        """
        return IngestReport(
            **{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        )

    def __str__(self) -> str:
        parts = [
            f"{self.objects:,} objects",
            f"{self.rows:,} rows",
            f"{self.segments:,} segments",
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


class WorkReport(msgspec.Struct, frozen=True, omit_defaults=True):
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
        said = [f"{self.tasks:,} tasks"]
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
