"""Where a segment lies in the lake."""

from __future__ import annotations

from datetime import UTC, datetime

from lakerunner.model.times import NANOS

SEGMENTS_PREFIX = "segments/"
"""Everything below it in a lake is a segment."""


def segment_id(created_ns: int, epoch: int, entropy: bytes) -> str:
    """Make a segment's id: sortable by time of creation, unique by its entropy.

    Args:
        created_ns: When it was written, nanoseconds since the epoch of Unix.
        epoch: What its writer had read of the catalog before it put anything: see `model.head`.
        entropy: 8 random bytes.

    Example:
        >>> segment_id(1767225600 * 10**9, 7, bytes(8))
        '18867251edfa0000-0000000000000007-0000000000000000'
    """
    return f"{created_ns:016x}-{epoch:016x}-{entropy.hex()}"


def segment_of(key: str) -> str:
    """The id of the segment at a key.

    Example:
        >>> segment_of("segments/acme/logs/2026-01-01/00/1.parquet")
        '1'
    """
    return key.rpartition("/")[2].removesuffix(".parquet")


def segment_key(organization: str, table: str, window_start_ns: int, identifier: str) -> str:
    """Make a segment's key, relative to the lake.

    Example:
        >>> segment_key("acme", "logs", 1767225600 * 10**9, "1")
        'segments/acme/logs/2026-01-01/00/1.parquet'
    """
    start = datetime.fromtimestamp(window_start_ns // NANOS, UTC)
    return f"{SEGMENTS_PREFIX}{organization}/{table}/{start:%Y-%m-%d/%H}/{identifier}.parquet"
