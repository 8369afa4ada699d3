"""What is set aside, as a part: owner and reasons by the digest of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from lakerunner.catalog.bucket.digests import split
from lakerunner.catalog.bucket.parquet import open_file, write_table
from lakerunner.model.segment import Rejection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SCHEMA = pa.schema(
    [
        pa.field("high", pa.uint64(), nullable=False),
        pa.field("low", pa.uint64(), nullable=False),
        pa.field("organization", pa.string()),
        pa.field("reasons", pa.binary()),
    ]
)
"""`reasons` is a JSON array; NULL says that the source was taken since, and hides older reasons."""

Reasons = tuple[str, "Sequence[Rejection]"]
"""The owner of what is set aside, and why it is."""

_DECODER = msgspec.json.Decoder(tuple[Rejection, ...])


class RejectionPart:
    """Sources that are set aside, or no longer. Immutable; held decoded, for they are few.

    Args:
        entries: By digest of the source; None where the source was taken since.
    """

    def __init__(self, entries: Mapping[bytes, Reasons | None]) -> None:
        self.entries = entries

    @classmethod
    def decode(cls, data: bytes) -> RejectionPart:
        """Read what `encode` wrote.

        Raises:
            pa.ArrowException: It is something else.
            msgspec.MsgspecError: Its reasons are.
        """
        table = open_file(data, _SCHEMA).read()
        high, low, owners, reasons = (column.to_pylist() for column in table.columns)
        digests = (
            first.to_bytes(8, "big") + second.to_bytes(8, "big")
            for first, second in zip(high, low, strict=True)
        )
        return cls(
            {
                digest: None if text is None else (owner, _DECODER.decode(text))
                for digest, owner, text in zip(digests, owners, reasons, strict=True)
            }
        )

    def encode(self) -> bytes:
        """The part as a Parquet file."""
        high, low = split(list(self.entries))
        kept = list(self.entries.values())
        owners = pa.array([entry and entry[0] for entry in kept], pa.string())
        reasons = pa.array([entry and msgspec.json.encode(entry[1]) for entry in kept], pa.binary())
        return write_table(_SCHEMA, [pa.table([high, low, owners, reasons], schema=_SCHEMA)])

    def __len__(self) -> int:
        return len(self.entries)

    @staticmethod
    def merge(parts: Sequence[RejectionPart], *, oldest: bool) -> RejectionPart:
        """One part with the newest entry of each source.

        Args:
            parts: From old to new.
            oldest: There is no older part, so that what was taken since hides nothing any more.
        """
        entries: dict[bytes, Reasons | None] = {}
        for part in parts:
            entries |= part.entries
        if oldest:
            entries = {digest: entry for digest, entry in entries.items() if entry is not None}
        return RejectionPart(entries)
