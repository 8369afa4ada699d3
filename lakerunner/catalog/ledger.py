"""Which sources were taken, as sorted digests: 16 bytes each, whatever their names are."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lakerunner.model.source import Source

DIGEST_BYTES = 16
"""Two of a billion identities share a digest of 128 bits with a probability of 10 to the -21."""

BLOCK_DIGESTS = 240
"""Digests of one block: what a look-up reads, a page of 4 KiB."""

FANOUT = 4
"""A run is merged with the older one if that has less than so many times its digests."""

_HEAD_BYTES = 4
_DTYPE = np.dtype(f"S{DIGEST_BYTES}")


def digest(kind: bytes, *parts: str) -> bytes:
    """The 16 bytes that stand for some texts of a kind."""
    # The length of each part keeps ("ab", "c") and ("a", "bc") apart.
    text = b"".join(
        len(data).to_bytes(4, "little") + data
        for data in (part.encode("utf-8", "surrogatepass") for part in parts)
    )
    return blake2b(text, digest_size=DIGEST_BYTES, person=kind).digest()


def source_digest(source: Source) -> bytes:
    """The 16 bytes that stand for the identity of an object."""
    return digest(b"source", source.bucket, source.key, source.etag)


class Block(NamedTuple):
    """Digests that follow one another in a run.

    Attributes:
        head: The first four bytes of the first one, as a number. Digests of these or greater heads,
            up to the next block's, are here or nowhere.
        data: The digests, in order.
    """

    head: int
    data: bytes

    def holds(self, wanted: bytes) -> bool:
        """Whether a digest is among them."""
        return holds(self.data, wanted)


def head_of(wanted: bytes) -> int:
    """The first four bytes of a digest, by which blocks are found.

    Example:
        >>> head_of(bytes([0, 0, 1, 2]) + bytes(12))
        258
    """
    return int.from_bytes(wanted[:_HEAD_BYTES], "big")


def holds(data: bytes, wanted: bytes) -> bool:
    """Whether a digest is in a block.

    Example:
        >>> holds(bytes(16) + b"0123456789abcdef", b"0123456789abcdef")
        True
    """
    at = data.find(wanted)
    while at >= 0 and at % DIGEST_BYTES:  # across the border of two others
        at = data.find(wanted, at + 1)
    return at >= 0


def union(runs: Sequence[bytes]) -> NDArray[np.bytes_]:
    """The digests of several sorted or unsorted runs, in order, each once."""
    return np.unique(np.frombuffer(b"".join(runs), dtype=_DTYPE))


def blocks(digests: NDArray[np.bytes_]) -> Iterator[Block]:
    """A run in blocks. Digests of one head are never parted.

    Args:
        digests: In order.
    """
    data = digests.tobytes()
    words = np.frombuffer(data, dtype=">u4")[:: DIGEST_BYTES // _HEAD_BYTES]
    start = 0
    while start < len(words):
        end = min(start + BLOCK_DIGESTS, len(words))
        while end < len(words) and words[end] == words[end - 1]:
            end += 1
        yield Block(int(words[start]), data[start * DIGEST_BYTES : end * DIGEST_BYTES])
        start = end


def to_merge(sizes: Sequence[int], limit: int) -> int:
    """How many of the newest runs, of these sizes from old to new, are to become one.

    Afterwards each run has at least `FANOUT` times the digests of the next, so there are few, and
    a digest is written again only when its run grows by a fixed share.

    Args:
        sizes: Of the runs.
        limit: Digests of a run that is not merged any more.

    Returns:
        0 if all is well, or at least 2.

    Example:
        >>> to_merge([1000, 100, 30], 10**6), to_merge([1000, 100, 10], 10**6), to_merge([9, 9], 5)
        (2, 0, 0)
    """
    merged, count = (sizes[-1], 1) if sizes else (0, 0)
    while (
        count < len(sizes)
        and sizes[-count - 1] < FANOUT * merged
        and sizes[-count - 1] + merged <= limit
    ):
        merged += sizes[-count - 1]
        count += 1
    return count if count > 1 else 0
