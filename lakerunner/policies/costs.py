"""What decoding a payload takes in memory, and how much of one is decoded at once.

The numbers were measured: the peak resident memory of a process that takes one payload to an
encoded segment, over what it had before, for payloads that are each extreme in one way: long
lines, empty records, many columns (docs/benchmarks.md). They are meant to be too large rather than
too small, by a third for what is usual.
"""

from __future__ import annotations

from typing import Protocol

from lakerunner.limits import ATTRIBUTE_COLUMNS

COPIES = 12
"""Times the bytes of a payload of text are held at the peak: as they came, cut into values, as
columns, sorted, and as pages of the segment."""

COPIES_OF_PROTOBUF = 5
"""The same of protobuf, whose values are smaller as columns."""

_ROW_BYTES = 280
_VALUE_BYTES = 26
_CELL_BYTES = 16
_OVERFLOW_BYTES = 180


class Measured(Protocol):
    """What a payload holds: see `lakerunner.formats.base.Measure`."""

    @property
    def size(self) -> int:
        """Bytes, unpacked."""

    @property
    def rows(self) -> int:
        """Records or data points."""

    @property
    def values(self) -> int:
        """Elements and pairs."""

    @property
    def columns(self) -> frozenset[bytes]:
        """Names of columns that each row takes a place in."""


def decoding_bytes(measured: Measured, *, protobuf: bool = False) -> int:
    """Bytes of memory that decoding takes at its peak, beside the payload itself.

    Args:
        measured: What is decoded.
        protobuf: Whether it is protobuf, and not text.

    Example:
        >>> from types import SimpleNamespace
        >>> decoding_bytes(SimpleNamespace(size=1000, rows=10, values=50, columns=frozenset()))
        16100
    """
    cells = measured.rows * min(len(measured.columns), ATTRIBUTE_COLUMNS)
    overflow = measured.rows * max(len(measured.columns) - ATTRIBUTE_COLUMNS, 0)
    return (
        (COPIES_OF_PROTOBUF if protobuf else COPIES) * measured.size
        + _ROW_BYTES * measured.rows
        + _VALUE_BYTES * measured.values
        + _CELL_BYTES * cells
        + _OVERFLOW_BYTES * overflow
    )


def smaller_limit(size: int, cost: int, room: int) -> int:
    """Bytes of the parts of a payload that takes more memory than there is.

    Args:
        size: Bytes of the payload.
        cost: What decoding it would take.
        room: What it may take, less than `cost`.

    Example:
        >>> smaller_limit(1000, 30_000, 10_000)
        300
    """
    return max(size * room * 9 // (cost * 10), 1)
