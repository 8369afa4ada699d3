"""What an ingest did."""

from __future__ import annotations

import msgspec

from lakerunner.model.source import Rejection
from lakerunner.printable import printable


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
