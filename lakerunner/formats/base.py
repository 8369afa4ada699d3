"""The contract of an input format: how objects are cut into payloads, and payloads become rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.model.mapping import SourceMapping
    from lakerunner.model.signal import Signal
    from lakerunner.schema.decoded import Decoded


class Part(NamedTuple):
    """A piece of an object that can be decoded by itself.

    Attributes:
        data: Its bytes.
        line: Number of its first line within the object, from 1; 1 for formats without lines.
    """

    data: bytes
    line: int = 1


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

    def split(self, blocks: Iterable[bytes], limit: int) -> Iterator[Part]:
        """Cut a decompressed object into payloads that can be decoded one by one.

        Args:
            blocks: The object's bytes, in order.
            limit: Bytes a payload should not exceed. A record larger than it stays whole.

        Yields:
            Payloads, together holding all records in order; at least one, which may be empty.

        Raises:
            InputError: The object is broken.
        """

    def signal(self, payload: bytes) -> Signal | None:
        """Which signal a payload carries, judged by its content; None when that does not tell."""

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
