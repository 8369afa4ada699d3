"""What the recovery of a catalog found and did."""

from __future__ import annotations

import msgspec

from lakerunner.model.source import Source


class BrokenSegment(msgspec.Struct, frozen=True):
    """A file among the segments that cannot be read as one.

    Attributes:
        key: Its key, relative to the lake.
        reason: One sentence for a person.
    """

    key: str
    reason: str


class RecoveryReport(msgspec.Struct, frozen=True):
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
