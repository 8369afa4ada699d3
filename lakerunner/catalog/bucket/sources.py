"""Which sources were taken, as runs of digests in objects: a look-up reads a page of each.

A run has about four times the digests of the next one, and is cut into objects by their digests. An
object has pages of 4 KiB, each with a checksum, and behind them the first digest of each page: the
only thing that is kept for every object, a sixteenth of a byte for a digest.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import numpy as np

from lakerunner.catalog.bucket.records import DamagedCheckpointError
from lakerunner.catalog.ledger import (
    ANY_SIZE,
    DIGEST_BYTES,
    HEADS,
    head_of,
    holds,
    position,
    to_merge,
)
from lakerunner.errors import ObjectNotFoundError, ObjectRangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from lakerunner.catalog.bucket.parts import ByteCache
    from lakerunner.store.base import ObjectStore

    Digests = NDArray[np.bytes_]

A = TypeVar("A")
B = TypeVar("B")

PART_DIGESTS = 1 << 19
"""Digests of one object: 8 MiB, and what one step of a merge holds in memory."""

_PAGE_DIGESTS = 255
_PAGE_BYTES = 4096
_DATA_BYTES = _PAGE_DIGESTS * DIGEST_BYTES
_MARK = b"lakerunner 1"  # of each page and of the index, behind their checksum
_DTYPE = np.dtype(f"S{DIGEST_BYTES}")
_EMPTY: Digests = np.empty(0, dtype=_DTYPE)

_PARALLEL = 16
_PER_NEW = 8
"""Digests that a checkpoint moves on for each new one, so that merges keep up with what comes."""


class RunPart(msgspec.Struct, frozen=True):
    """One object of a run: its key, how many digests it has, and the first one, in hexadecimal."""

    key: str
    rows: int
    first: str


class SourceRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sources that were taken or forgotten since the run before; newer runs hide older ones.

    Attributes:
        rows: How many there are.
        taken: Objects, by their digests.
        forgotten: Likewise: what an older run has of these does not count.
        low: Digests of lower heads were moved on to the run it is being merged into.
        high: Digests of this head or greater ones are still in the runs it is made of.
        merging: Whether it is being merged into the next run that is not.
    """

    rows: int
    taken: tuple[RunPart, ...] = ()
    forgotten: tuple[RunPart, ...] = ()
    low: int = 0
    high: int = HEADS
    merging: bool = False

    @property
    def parts(self) -> tuple[RunPart, ...]:
        """All of its objects."""
        return self.taken + self.forgotten


class _Place(NamedTuple):
    """Where a digest lies if it is there: a page of an object."""

    part: RunPart
    page: int


def encode_part(digests: Digests) -> bytes:
    """An object of some digests, which are in order."""
    count = -(-len(digests) // _PAGE_DIGESTS)
    padded = np.zeros(count * _PAGE_DIGESTS, dtype=_DTYPE)
    padded[: len(digests)] = digests
    data = padded.tobytes()
    pages = [_sealed(data[at : at + _DATA_BYTES]) for at in range(0, len(data), _DATA_BYTES)]
    return b"".join([*pages, _sealed(padded[::_PAGE_DIGESTS].tobytes())])


def _sealed(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "big") + _MARK


def _opened(sealed: bytes, key: str) -> bytes:
    data = sealed[: -4 - len(_MARK)]
    if _sealed(data) != sealed:
        raise DamagedCheckpointError(f"{key!r} is damaged", key=key)
    return data


class SourceLedger:
    """Reads runs. Safe to use from several threads; holds nothing but what its cache does.

    Args:
        store: The lake.
        cache: Keeps pages and indexes that were read, within its budget.
    """

    def __init__(self, store: ObjectStore, cache: ByteCache) -> None:
        self._store = store
        self._cache = cache

    def find(self, runs: Sequence[SourceRun], digests: Sequence[bytes]) -> dict[bytes, bool]:
        """Whether digests were taken, or forgotten since: of those that the runs know.

        Raises:
            DamagedCheckpointError: A part is missing or broken.
        """
        asked = [
            (digest, kind, parts[at - 1])
            for run in reversed(runs)
            for kind, parts in ((True, run.taken), (False, run.forgotten))
            if parts
            for firsts in [[one.first for one in parts]]
            for digest in digests
            if run.low <= head_of(digest) < run.high and (at := bisect_right(firsts, digest.hex()))
        ]
        indexes = self._indexes({part.key: part for _, _, part in asked})
        places = [
            (digest, kind, _Place(part, bisect_page(indexes[part.key], digest)))
            for digest, kind, part in asked
        ]
        pages = self._pages({place for _, _, place in places})
        found: dict[bytes, bool] = {}
        for digest, kind, place in places:  # from new to old
            if digest not in found and holds(pages[place], digest):
                found[digest] = kind
        return found

    def between(self, parts: Sequence[RunPart], low: int, high: int) -> Digests:
        """The digests of some objects of a run whose heads lie in `[low, high)`, in order."""
        found = []
        firsts = [head_of(bytes.fromhex(part.first)) for part in parts]
        for part, (own, after) in zip(parts, pairwise([*firsts, HEADS]), strict=True):
            if own >= high or after < low:
                continue
            index = self._indexes({part.key: part})[part.key]
            first = max(0, position(index, low) // DIGEST_BYTES - 1)
            last = position(index, high) // DIGEST_BYTES
            # What was just written is there; what is not need not be: it is about to be deleted.
            pages = [self._cache.get((part.key, number)) for number in range(first, last)]
            held = [page for page in pages if page is not None]
            whole = held if len(held) == len(pages) else self._read(part, range(first, last))
            data = b"".join(whole)
            rows = min(part.rows, last * _PAGE_DIGESTS) - first * _PAGE_DIGESTS
            data = data[: rows * DIGEST_BYTES]
            found.append(data[position(data, low) : position(data, high)])
        return np.frombuffer(b"".join(found), dtype=_DTYPE)

    def add(self, part: RunPart, data: bytes) -> None:
        """Keep what was just written, if it is small."""
        pages = _pages_of(part)
        self._cache.put((part.key, -1), data[pages * _PAGE_BYTES : -4 - len(_MARK)])
        if len(data) * 8 <= self._cache.budget:
            for page in range(pages):
                start = page * _PAGE_BYTES
                self._cache.put((part.key, page), data[start : start + _DATA_BYTES])

    def _indexes(self, parts: Mapping[str, RunPart]) -> dict[str, bytes]:
        found = {key: self._cache.get((key, -1)) for key in parts}
        missing = [parts[key] for key, index in found.items() if index is None]
        found |= dict(
            zip([one.key for one in missing], _at_once(self._index, missing), strict=True)
        )
        return {key: index for key, index in found.items() if index is not None}

    def _index(self, part: RunPart) -> bytes:
        start = _pages_of(part) * _PAGE_BYTES
        end = start + _pages_of(part) * DIGEST_BYTES + 4 + len(_MARK)
        index = _opened(self._ranges(part, [(start, end)])[0], part.key)
        self._cache.put((part.key, -1), index)
        return index

    def _pages(self, places: Iterable[_Place]) -> dict[_Place, bytes]:
        wanted: dict[RunPart, list[int]] = defaultdict(list)
        found: dict[_Place, bytes] = {}
        for place in places:
            page = self._cache.get((place.part.key, place.page))
            if page is None:
                wanted[place.part].append(place.page)
            else:
                found[place] = page

        def read(part: RunPart) -> list[bytes]:
            return self._read(part, sorted(wanted[part]))

        parts = list(wanted)
        for part, pages in zip(parts, _at_once(read, parts), strict=True):
            for number, data in zip(sorted(wanted[part]), pages, strict=True):
                found[_Place(part, number)] = data
                self._cache.put((part.key, number), data)
        return found

    def _read(self, part: RunPart, pages: Sequence[int]) -> list[bytes]:
        spans = [(page * _PAGE_BYTES, (page + 1) * _PAGE_BYTES) for page in pages]
        return [_opened(sealed, part.key) for sealed in self._ranges(part, spans)]

    def _ranges(self, part: RunPart, spans: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        try:
            return self._store.get_ranges(part.key, spans)
        except (ObjectNotFoundError, ObjectRangeError) as error:
            raise DamagedCheckpointError(
                f"{part.key!r} is missing or too short: {error}", key=part.key
            ) from error


def _at_once(call: Callable[[A], B], arguments: Sequence[A]) -> list[B]:
    if len(arguments) < 2:  # noqa: PLR2004 - one needs no threads
        return [call(argument) for argument in arguments]
    with ThreadPoolExecutor(min(_PARALLEL, len(arguments))) as threads:
        return list(threads.map(call, arguments))


def bisect_page(index: bytes, digest: bytes) -> int:
    """The page of an object that a digest lies in, if any: the last one that begins before it."""
    low, high = 0, len(index) // DIGEST_BYTES
    while high - low > 1:
        middle = (low + high) // 2
        if index[middle * DIGEST_BYTES : (middle + 1) * DIGEST_BYTES] <= digest:
            low = middle
        else:
            high = middle
    return low


def _pages_of(part: RunPart) -> int:
    return -(-part.rows // _PAGE_DIGESTS)


class RunWriter:
    """Adds runs, and moves merges on, for one checkpoint.

    Args:
        ledger: Reads the runs that are merged.
        write: Puts an object of a run, and returns its key.
    """

    def __init__(self, ledger: SourceLedger, write: Callable[[bytes], str]) -> None:
        self._ledger = ledger
        self._write = write

    def extend(
        self, runs: Sequence[SourceRun], changes: Mapping[bytes, bool]
    ) -> tuple[SourceRun, ...]:
        """Runs with what was taken (or forgotten) since, after a part of the merges that are due.

        How much is moved depends on how much is new: a commit never waits for a large merge.
        """
        after = self._with(list(runs), changes) if changes else list(runs)
        left = max(PART_DIGESTS, _PER_NEW * len(changes))
        while left > 0:
            moved, after = self._step(after)
            if not moved:
                break
            left -= moved
        return tuple(after)

    def _with(self, runs: list[SourceRun], changes: Mapping[bytes, bool]) -> list[SourceRun]:
        """Runs with one more; small ones become one with it at once."""
        taken = _in_order(digest for digest, state in changes.items() if state)
        forgotten = _in_order(digest for digest, state in changes.items() if not state)
        sizes = [*(run.rows for run in runs), len(changes)]
        count = 0 if any(run.merging for run in runs) else to_merge(sizes, PART_DIGESTS)
        if count:
            merged = self._merged(runs[1 - count :], 0, HEADS, oldest=False)
            taken, forgotten = _combined(merged, (taken, forgotten))
            del runs[1 - count :]
        if not runs:
            forgotten = _EMPTY
        rows = len(taken) + len(forgotten)
        new = SourceRun(rows, self._parts(taken), self._parts(forgotten))
        return [*runs, new] if rows else runs

    def _step(self, runs: list[SourceRun]) -> tuple[int, list[SourceRun]]:
        """Move some digests on; returns how many, at least 1 if there is a merge to do."""
        if not any(run.merging for run in runs):
            count = to_merge([run.rows for run in runs], ANY_SIZE)
            if not count:
                return 0, runs
            merging = [msgspec.structs.replace(run, merging=True) for run in runs[-count:]]
            runs = [*runs[:-count], *merging, SourceRun(0, high=0)]
        first = next(at for at, run in enumerate(runs) if run.merging)
        end = next(at for at in range(first, len(runs)) if not runs[at].merging)
        sources, target = runs[first:end], runs[end]
        total = max(1, sum(run.rows for run in sources))
        low, share = target.high, HEADS * PART_DIGESTS // total
        high = HEADS if low + share >= HEADS else low + max(share, 1)
        taken, forgotten = self._merged(sources, low, high, oldest=first == 0)
        target = msgspec.structs.replace(
            target,
            rows=target.rows + len(taken) + len(forgotten),
            taken=target.taken + self._parts(taken),
            forgotten=target.forgotten + self._parts(forgotten),
            high=high,
        )
        left = [] if high == HEADS else [_shortened(run, high) for run in sources]
        moved = max(1, total * (high - low) // HEADS)
        kept = [target] if target.rows or left else []
        return moved, [*runs[:first], *left, *kept, *runs[end + 1 :]]

    def _merged(
        self, runs: Sequence[SourceRun], low: int, high: int, *, oldest: bool
    ) -> tuple[Digests, Digests]:
        """What some runs say together of a range of heads."""
        found = _EMPTY, _EMPTY
        for run in runs:  # from old to new
            newer = (self._ledger.between(each, low, high) for each in (run.taken, run.forgotten))
            found = _combined(found, tuple(newer))
        return found[0], _EMPTY if oldest else found[1]

    def _parts(self, digests: Digests) -> tuple[RunPart, ...]:
        parts = []
        for start in range(0, len(digests), PART_DIGESTS):
            some = digests[start : start + PART_DIGESTS]
            data = encode_part(some)
            part = RunPart(self._write(data), len(some), some[:1].tobytes().hex())
            self._ledger.add(part, data)
            parts.append(part)
        return tuple(parts)


def _in_order(digests: Iterable[bytes]) -> Digests:
    return np.frombuffer(b"".join(sorted(digests)), dtype=_DTYPE)


def _combined(older: tuple[Digests, ...], newer: tuple[Digests, ...]) -> tuple[Digests, Digests]:
    """What was taken, and what was forgotten, after both."""
    taken = np.union1d(_less(older[0], newer[1]), newer[0])
    return taken, np.union1d(_less(older[1], newer[0]), newer[1])


def _less(digests: Digests, unwanted: Digests) -> Digests:
    return np.setdiff1d(digests, unwanted, assume_unique=True) if len(unwanted) else digests


def _shortened(run: SourceRun, low: int) -> SourceRun:
    """A run whose lower digests were moved on, without objects that hold nothing else."""

    def kept(parts: tuple[RunPart, ...]) -> tuple[RunPart, ...]:
        gone = sum(head_of(bytes.fromhex(one.first)) < low for one in parts[1:])
        return parts[gone:]

    return msgspec.structs.replace(
        run, low=low, taken=kept(run.taken), forgotten=kept(run.forgotten)
    )
