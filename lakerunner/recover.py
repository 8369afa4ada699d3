"""Rebuild a lost catalog from the segments in the bucket."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lakerunner.errors import (
    CommitConflictError,
    ConfigurationError,
    ObjectNotFoundError,
    ObjectRangeError,
    SegmentError,
)
from lakerunner.executors import bounded_map
from lakerunner.model.commit import Commit
from lakerunner.model.progress import ProgressEvent
from lakerunner.model.recovery import BrokenSegment, RecoveryReport
from lakerunner.model.source import UNKNOWN_ROWS, TakenSource
from lakerunner.model.times import MAX_NS
from lakerunner.policies.recovery import Adopted, Found, Recovery, recover
from lakerunner.publish.committing import send_commit
from lakerunner.segments.codec import read_description
from lakerunner.segments.naming import SEGMENTS_PREFIX
from lakerunner.store import ByteRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.model.progress import Progress
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectMeta, ObjectStore

T = TypeVar("T")
R = TypeVar("R")

_TAIL_BYTES = 64 * 1024
"""The end of a file that is read at once; most footers are shorter."""


def recover_catalog(
    store: ObjectStore,
    catalog: Catalog,
    config: Config,
    *,
    merge: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> RecoveryReport:
    """Commit into an empty catalog what a lost one knew, judged by the footers of all segments.

    Reads nothing but footers, and writes nothing but commits. The commits are made again under
    their own ids, so a recovery that was interrupted may be run again, with `merge`. Objects
    without rows and what was set aside are in no footer; the next ingest takes them again. See
    decision 016 for what is exact, and what can be no more than likely.

    Args:
        store: The lake.
        catalog: Where commits go.
        config: `workers` footers are read, and commits sent, at a time.
        merge: Go on although the catalog knows segments. What contradicts it is left out.
        dry_run: Only say what would be done.
        progress: Called for each footer (stage `read`) and each commit (stage `commit`).

    Raises:
        ConfigurationError: The catalog knows segments, and `merge` is not set.
        StoreError: The lake cannot be listed or read.
        CatalogError: A commit failed. Those before it stand.
    """
    begun = time.perf_counter()
    listed = list(store.list(SEGMENTS_PREFIX))
    if not merge:
        _refuse_used(catalog)
    found, broken = _read_all(store, listed, config, progress)
    decided = recover(found)
    made, refused = (
        (list(decided.adopted), []) if dry_run else _commit(decided, catalog, config, progress)
    )
    live = [segment for one in made for segment in one.segments]
    return RecoveryReport(
        commits=len(made),
        segments=len(live),
        rows=sum(segment.rows for segment in live),
        bytes=sum(segment.bytes for segment in live),
        sources=sum(len(one.sources) for one in made),
        replaced=_keys(decided.replaced),
        left_out=_keys((*decided.unfinished, *decided.superseded)),
        broken=tuple(sorted(broken, key=lambda one: one.key)),
        missing=tuple(sorted(name for one in decided.adopted for name in one.missing)),
        uncovered=decided.uncovered,
        refused=tuple(sorted(refused)),
        seconds=time.perf_counter() - begun,
    )


def _refuse_used(catalog: Catalog) -> None:
    for organization, table in catalog.tables():
        raise ConfigurationError(
            f"the catalog {catalog.url} already knows {table} of {organization!r}; "
            "recover is for a lost one. To add what it lacks, say merge=True",
            url=catalog.url,
            organization=organization,
        )
    if catalog.removed(MAX_NS):
        raise ConfigurationError(
            f"the catalog {catalog.url} has had segments; to go on all the same, say merge=True",
            url=catalog.url,
        )


def _read_all(
    store: ObjectStore, listed: Sequence[ObjectMeta], config: Config, progress: Progress | None
) -> tuple[list[Found], list[BrokenSegment]]:
    found: list[Found] = []
    broken: list[BrokenSegment] = []
    rows = 0
    for done, outcome in enumerate(_in_threads(partial(_read, store), listed, config), 1):
        if isinstance(outcome, Found):
            found.append(outcome)
            rows += outcome.segment.rows
        elif outcome is not None:
            broken.append(outcome)
        if progress is not None:
            progress(ProgressEvent("read", done, len(listed), rows))
    return found, broken


def _in_threads(function: Callable[[T], R], items: Iterable[T], config: Config) -> Iterator[R]:
    with ThreadPoolExecutor(config.workers, thread_name_prefix="lakerunner-recover") as threads:
        yield from bounded_map(threads, function, items, in_flight=2 * config.workers)


class _Tail(io.RawIOBase):
    """An object as a file whose end has been read; whatever lies before is read when asked for."""

    def __init__(self, store: ObjectStore, item: ObjectMeta) -> None:
        self._store = store
        self._key = item.key
        self._size = item.size
        self._position = 0
        self._start = max(0, item.size - _TAIL_BYTES)
        self._end = self._bytes(self._start, item.size)

    def _bytes(self, start: int, end: int) -> bytes:
        return self._store.get(self._key, ByteRange(start, end)).data if start < end else b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = self._position
        end = self._size if size < 0 else min(start + size, self._size)
        self._position = max(start, end)
        if start >= self._start:
            return self._end[start - self._start : end - self._start]
        return self._bytes(start, end)


def _read(store: ObjectStore, item: ObjectMeta) -> Found | BrokenSegment | None:
    """What a footer says; None if the object is gone meanwhile."""
    try:
        described = read_description(_Tail(store, item), key=item.key, size=item.size)
    except ObjectNotFoundError:
        return None
    except (SegmentError, ObjectRangeError) as error:
        return BrokenSegment(item.key, error.message)
    return Found(described, item.modified_ns)


def _commit(
    decided: Recovery, catalog: Catalog, config: Config, progress: Progress | None
) -> tuple[list[Adopted], list[str]]:
    """Make the commits again; those that the catalog refuses are named."""
    made: list[Adopted] = []
    refused: list[str] = []
    # A catalog that was restored from a copy may know what a compaction replaced afterwards.
    live = {segment.id for table in catalog.tables() for segment in catalog.segments(*table)}

    def send(adopted: Adopted) -> tuple[Adopted, bool]:
        try:
            send_commit(catalog, _again(adopted, live), config)
        except CommitConflictError:
            return adopted, False
        return adopted, True

    for compacted in (False, True):
        some = [one for one in decided.adopted if bool(one.replaces) is compacted]
        for adopted, taken in _in_threads(send, some, config):
            if taken:
                made.append(adopted)
            else:
                refused.append(adopted.commit_id)
            if progress is not None:
                done = len(made) + len(refused)
                progress(ProgressEvent("commit", done, len(decided.adopted)))
    return made, refused


def _again(adopted: Adopted, live: set[str]) -> Commit:
    return Commit(
        id=adopted.commit_id,
        organization=adopted.organization,
        committed_ns=time.time_ns(),
        add=adopted.segments,
        remove=tuple(name for name in adopted.replaces if name in live),
        taken=tuple(TakenSource(source, UNKNOWN_ROWS) for source in adopted.sources),
    )


def _keys(segments: Iterable[Segment]) -> tuple[str, ...]:
    return tuple(sorted(segment.key for segment in segments))
