"""Which sources were taken, as sorted digests: 16 bytes each, whatever their names are.

A database keeps the newest ones in a tree and packs them into *runs*, which it merges: see `pack`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from lakerunner.model.segment import Source

DIGEST_BYTES = 16
"""Two of a billion identities share a digest of 128 bits with a probability of 10 to the -21."""

RECENT = 32_768
"""Digests in the tree before they are packed. More make each commit touch more pages."""

SLICE = 262_144
"""Digests that one transaction of a merge writes: some 4 MB, and what others wait for."""

MERGED_AT_ONCE = 1 << 20
"""Digests of a run that a commit may have to wait for; larger ones wait for a purge."""

ANY_SIZE = 1 << 62
"""As a limit of what is merged: there is none."""

FANOUT = 4
"""A run is merged with the older one if that has less than so many times its digests."""

HEADS = 1 << 32
"""Heads of digests, each four bytes, are numbers below this one."""

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


def without(data: bytes, unwanted: Collection[bytes]) -> bytes:
    """The digests of a block but for some."""
    digests = (data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES))
    return b"".join(digest for digest in digests if digest not in unwanted)


def position(data: bytes, head: int) -> int:
    """Where digests of a head or a greater one begin among sorted ones, by bisection.

    Example:
        >>> position(bytes(16) + b"0123456789abcdef", 5)
        16
    """
    low, high = 0, len(data) // DIGEST_BYTES
    while low < high:
        middle = (low + high) // 2
        at = middle * DIGEST_BYTES
        if head_of(data[at : at + DIGEST_BYTES]) < head:
            low = middle + 1
        else:
            high = middle
    return low * DIGEST_BYTES


def blocks(digests: NDArray[np.bytes_], size: int) -> Iterator[Block]:
    """A run in blocks. Digests of one head are never parted.

    Args:
        digests: In order.
        size: How many make a block.
    """
    data = digests.tobytes()
    words = np.frombuffer(data, dtype=">u4")[:: DIGEST_BYTES // _HEAD_BYTES]
    start = 0
    while start < len(words):
        end = min(start + size, len(words))
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
    merged, number = (sizes[-1], 1) if sizes else (0, 0)
    while (
        number < len(sizes)
        and sizes[-number - 1] < FANOUT * merged
        and sizes[-number - 1] + merged <= limit
    ):
        merged += sizes[-number - 1]
        number += 1
    return number if number > 1 else 0


class Run(NamedTuple):
    """Digests that were packed together.

    Attributes:
        number: The greater, the later.
        size: How many there were when it was written.
        low: Digests of lower heads were moved on to the run it is being merged into.
        high: Digests of this head or greater ones are still in the runs that it is made of.
        target: The run it is being merged into, if it is.
    """

    number: int
    size: int
    low: int = 0
    high: int = HEADS
    target: int | None = None


class Shelf(ABC):
    """The ledger of a database, inside of a transaction that nobody else packs beside.

    Attributes:
        block_digests: Digests of one block: what a look-up reads, a page of the database.
    """

    block_digests: ClassVar[int]

    @abstractmethod
    def runs(self) -> list[Run]:
        """All runs, from old to new."""

    @abstractmethod
    def put_run(self, run: Run) -> None:
        """Write what is known of a run, in place of what was known."""

    @abstractmethod
    def drop_run(self, number: int) -> None:
        """Delete a run that has no blocks any more."""

    @abstractmethod
    def take_recent(self, at_least: int, limit: int) -> Sequence[bytes]:
        """Delete digests from the tree; none, if there are not at least so many."""

    @abstractmethod
    def after(self, run: int, head: int, number: int) -> int:
        """The head of the block that comes so many blocks after one; `HEADS` if there is none."""

    @abstractmethod
    def take_blocks(self, run: int, low: int, high: int) -> Sequence[bytes]:
        """Delete blocks whose heads lie in `[low, high)`, and return them in order."""

    @abstractmethod
    def put_blocks(self, run: int, found: Iterable[Block]) -> None:
        """Write blocks of a run."""


def pack(
    begin: Callable[[], AbstractContextManager[Shelf]], limit: int, *, at_least: int = 0
) -> None:
    """Pack and merge what is due, a bounded number of digests in each transaction.

    A merge moves digests from its runs to the new one in the order of digests, and each run says
    how far: so a look-up in between asks each of them for its share. Whoever is stopped in the
    middle leaves a merge that the next one goes on with, and there is never much twice.

    Args:
        begin: Begins a transaction, and makes it durable.
        limit: Digests of a run that is not merged any more.
        at_least: Digests that are packed; `RECENT` if 0.
    """
    due = True
    while due:
        with begin() as shelf:
            due = _step(shelf, limit, at_least or RECENT)


def _step(shelf: Shelf, limit: int, at_least: int) -> bool:
    runs = shelf.runs()
    if merging := [run for run in runs if run.target is not None]:
        _move_on(shelf, runs, merging)
        return True
    number = runs[-1].number + 1 if runs else 1
    if recent := shelf.take_recent(at_least, SLICE):
        digests = union(recent)
        shelf.put_run(Run(number, len(digests)))
        shelf.put_blocks(number, blocks(digests, shelf.block_digests))
        return True
    if newest := to_merge([run.size for run in runs], limit):
        for run in runs[-newest:]:
            shelf.put_run(run._replace(target=number))
        shelf.put_run(Run(number, 0, high=0))
    return newest > 0


def _move_on(shelf: Shelf, runs: Sequence[Run], merging: Sequence[Run]) -> None:
    """Move the next digests of some runs on to the one they are merged into."""
    (target,) = [run for run in runs if run.number == merging[0].target]
    largest = max(merging, key=lambda run: run.size)
    low = target.high
    high = shelf.after(largest.number, low, max(1, SLICE // shelf.block_digests))
    parts = []
    for run in merging:
        data = b"".join(shelf.take_blocks(run.number, low, high))
        end = position(data, high)
        parts.append(data[:end])
        if rest := data[end:]:
            shelf.put_blocks(run.number, blocks(union([rest]), shelf.block_digests))
    digests = union(parts)
    shelf.put_blocks(target.number, blocks(digests, shelf.block_digests))
    shelf.put_run(target._replace(size=target.size + len(digests), high=high))
    for run in merging:
        if high == HEADS:
            shelf.drop_run(run.number)
        else:
            shelf.put_run(run._replace(low=high))
