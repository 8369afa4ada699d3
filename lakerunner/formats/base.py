"""The contract of an input format: how objects are cut into payloads, and payloads become rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lakerunner.errors import ErrorCode
from lakerunner.limits import OBJECT_BYTES
from lakerunner.schema.tables import SetAside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.model.profile import SourceMapping
    from lakerunner.model.signal import Signal
    from lakerunner.schema.tables import Decoded


class Part(NamedTuple):
    """A piece of an object that can be decoded by itself.

    Attributes:
        data: Its bytes.
        line: Number of its first line within the object, from 1; 1 for formats without lines.
        set_aside: Records that were left out before it, as they are too long to be decoded; lines
            are numbered within the object.
    """

    data: bytes
    line: int = 1
    set_aside: tuple[SetAside, ...] = ()


class Measure(NamedTuple):
    """How much a payload holds, counted without decoding it; rather too much than too little.

    Attributes:
        size: Bytes, unpacked.
        rows: Records or data points.
        values: Scalars beside those that are counted with the rows: elements, pairs.
        columns: Names, as they were written, of columns that each row takes a place in.
    """

    size: int
    rows: int
    values: int = 0
    columns: frozenset[bytes] = frozenset()

    def with_more(self, other: Measure) -> Measure:
        """How much two payloads hold that are decoded together."""
        return Measure(
            self.size + other.size,
            self.rows + other.rows,
            self.values + other.values,
            self.columns | other.columns,
        )


def too_long(lines: Sequence[int], longest: int, rows: int = 0) -> tuple[SetAside, ...]:
    """Say of records that they are longer than a record may be.

    Args:
        lines: Where they begin, within the object; empty for formats without lines.
        longest: Bytes that one record may have.
        rows: How many they are, where there are no lines.

    Example:
        >>> too_long([3], 1000)[0].reason
        'a record of more than 1,000 bytes, which is the limit with this setting of memory_bytes'
    """
    count = rows or len(lines)
    if not count:
        return ()
    reason = (
        f"a record of more than {longest:,} bytes, which is the limit with this setting of "
        "memory_bytes"
    )
    return (SetAside(0, tuple(lines), count, ErrorCode.OBJECT_TOO_LARGE.value, reason),)


class Format(Protocol):
    """One input format. Formats hold no state: one instance serves all threads."""

    @property
    def name(self) -> str:
        """What users call it in `lake.ingest(…, format=name)`."""

    @property
    def certain(self) -> bool:
        """Whether content tells the signal beyond doubt."""

    def recognises(self, head: bytes) -> bool:
        """Whether the beginning of an object, decompressed, looks like this format."""

    def mapped(self, mapping: SourceMapping) -> Format:
        """The same format, reading by a mapping; itself where it holds no named fields."""

    def split(
        self, blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut a decompressed object into payloads that can be decoded one by one.

        Memory stays below a few times `limit` and `longest`, whatever the object holds.

        Args:
            blocks: The object's bytes, in order.
            limit: Bytes a payload should not exceed. A record larger than it stays whole.
            longest: Bytes that one record may have. A longer one is set aside, in
                `Part.set_aside`, and its neighbours are kept; where nothing tells the records
                apart, the object is refused.

        Yields:
            Payloads, together holding all other records in order; at least one, which may be
            empty.

        Raises:
            ObjectTooLargeError: A record of more than `longest` bytes cannot be passed over.
            InputError: The object is broken.
        """

    def split_again(
        self, payload: bytes, limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut the data of a part into smaller parts, as it was cut before; see `split`."""

    def signal(self, payload: bytes) -> Signal | None:
        """Which signal a payload carries, judged by its content; None when that does not tell."""

    def measure(self, payload: bytes, signal: Signal) -> Measure:
        """Count what a payload holds, so that what decoding it takes is known beforehand.

        Args:
            payload: The data of a part.
            signal: Which it carries.

        Raises:
            InputError: The payload is broken.
        """

    def by_signal(self, payload: bytes, signal: Signal) -> dict[Signal, Format]:
        """All signals whose records a payload carries, and what decodes each of them.

        Args:
            payload: The data of a part.
            signal: The one that its object was told to carry.
        """

    def decode(self, payloads: Sequence[bytes], signal: Signal, fallback_ns: Any) -> Decoded:
        """Decode many payloads in one go.

        Lines that are broken by themselves are left out and named in `Decoded.set_aside`.

        Args:
            payloads: The data of parts, all of this format and signal.
            signal: The signal they carry.
            fallback_ns: int64 per payload: the time of records that carry none, nanoseconds.

        Raises:
            InputError: At least one payload is broken; decode them one by one to find which.
        """
