"""The contract of an input format: how objects are cut into payloads, and payloads become rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.model.signal import Signal
    from lakerunner.schema.decoded import Decoded


class Format(Protocol):
    """One input format. Formats hold no state: one instance serves all threads.

    Attributes:
        name: What users call it in `lake.ingest(…, format=name)`.
    """

    name: str

    def split(self, blocks: Iterable[bytes], limit: int) -> Iterator[bytes]:
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

        Args:
            payloads: All of this format and signal.
            signal: The signal they carry.
            fallback_ns: int64 per payload: the time of records that carry none, nanoseconds.

        Raises:
            InputError: At least one payload is broken; decode them one by one to find which.
        """
