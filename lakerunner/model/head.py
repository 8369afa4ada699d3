"""Where a catalog stands, and the epochs by which late writers are told from timely ones."""

from __future__ import annotations

import re

import msgspec

EPOCH_BITS = 40
"""Bits of an epoch that hold the sequence; those above hold the incarnation."""

_ID = re.compile(r"[0-9a-f]{16}-([0-9a-f]{16})-[0-9a-f]{16}")


class Head(msgspec.Struct, frozen=True):
    """Where a catalog stands.

    Attributes:
        sequence: Number of the last commit; 0 before the first.
        lake: Identity of the lake it belongs to; empty if none has claimed it.
        incarnation: How often the lake was recovered, counted from 1; 0 if no lake has claimed it.
        whole: Whether all of the lake is in it. Not so while it is being recovered.
        floor: Epoch below which no segment is added.
        purged: Sequence of the last removal that was forgotten; states before it cannot be read.

    Example:
        >>> Head(sequence=7, incarnation=1).epoch == (1 << EPOCH_BITS) + 7
        True
    """

    sequence: int
    lake: str = ""
    incarnation: int = 0
    whole: bool = True
    floor: int = 0
    purged: int = 0

    @property
    def epoch(self) -> int:
        """Incarnation and sequence as one number, which only grows."""
        return (self.incarnation << EPOCH_BITS) + self.sequence


def epoch_of(segment_id: str) -> int | None:
    """The epoch in a segment's id: what its writer had read before it put anything.

    None for an id that has none. Such a one is never too late, and is condemned for ever.

    Example:
        >>> epoch_of("18867251edfa0000-0000010000000007-0000000000000000") == (1 << 40) + 7
        True
        >>> epoch_of("s1")
    """
    match = _ID.fullmatch(segment_id)
    return int(match[1], 16) if match else None


def incarnation_of(epoch: int) -> int:
    """The incarnation in an epoch.

    Example:
        >>> incarnation_of((3 << EPOCH_BITS) + 7)
        3
    """
    return epoch >> EPOCH_BITS
