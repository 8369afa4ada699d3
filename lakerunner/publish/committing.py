"""Make segments that were put visible, at most once, whatever happens to the replies."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from lakerunner.errors import CommitConflictError, CommitUnknownError, LakerunnerError
from lakerunner.fencing.intents import Intent, put_intent, put_mark, withdraw_intent
from lakerunner.model.commit import incarnation_of
from lakerunner.retrying import retrying
from lakerunner.segments.codec import read_description
from lakerunner.store import ByteRange

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from lakerunner.catalog import Catalog
    from lakerunner.fencing import Fence
    from lakerunner.model.commit import Commit, Head
    from lakerunner.model.config import Config
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore

_LOG = logging.getLogger(__name__)


def publish_commit(fence: Fence, commit: Commit, config: Config) -> int:
    """Commit segments that were put, or delete them if they cannot be committed.

    Args:
        fence: The lake in which the segments of `commit.add` lie, and the catalog. It began before
            the first of them was put.
        commit: What becomes visible.
        config: `attempts` and `backoff_seconds` of each question.

    Returns:
        The sequence of the commit.

    Raises:
        CommitConflictError: Others were faster, or the segments are so old that their files may
            be deleted. Nothing is visible; they are deleted.
        CatalogMismatchError: The lake was recovered since. Nothing is visible; the files are left
            to the collection, for the recovery may have adopted them.
        CatalogError: There is no answer. The commit may have been applied; nothing is deleted.
    """
    try:
        sequence = send_commit(fence.catalog, commit, config)
    except CommitConflictError:
        _discard(fence, commit.add)
        raise
    fence.reached(sequence)
    return sequence


def send_commit(catalog: Catalog, commit: Commit, config: Config) -> int:
    """Send a commit until there is an answer; to send it again is harmless.

    Raises:
        CommitConflictError: It was refused.
        CommitUnknownError: The last reply was lost, too.
        CatalogUnavailableError: The catalog cannot be reached.
    """
    for _ in range(config.attempts - 1):
        try:
            return retrying(lambda: catalog.commit(commit), config)
        except CommitUnknownError:
            continue
    return retrying(lambda: catalog.commit(commit), config)


def _discard(fence: Fence, segments: Iterable[Segment]) -> None:
    """Delete what a refused commit would have named; what cannot be deleted is collected later.

    A segment that closes a commit goes first: without it the others count for nothing, whatever
    happens in between.
    """
    by_epoch: dict[int, dict[str, str]] = {}
    for segment in sorted(segments, key=lambda one: not one.siblings):
        by_epoch.setdefault(incarnation_of(segment.epoch), {})[segment.key] = segment.id
    for incarnation, files in by_epoch.items():
        try:
            fence.discard(files, incarnation)
        except LakerunnerError as error:
            _LOG.info("%s: left to the collection of orphans: %s", fence.store.url, error)


def delete_unnamed(lake: ObjectStore, segments: Iterable[Segment]) -> None:
    """Delete segments whose ids nobody but the caller knows: no commit will ever name them.

    What cannot be deleted is collected later.
    """
    for segment in segments:
        try:
            lake.delete(segment.key)
        except LakerunnerError:
            continue


# Read what segment files say of themselves, in one small request each.

_TAIL_BYTES = 64 * 1024
"""The end of a file that is read at once; most footers are shorter."""


def read_footer(store: ObjectStore, key: str, size: int) -> Segment:
    """The description in a segment's footer, with the sources of its rows.

    Args:
        store: The lake.
        key: Of the file.
        size: Of the file, in bytes.

    Raises:
        ObjectNotFoundError: It is gone.
        ObjectRangeError: It is shorter than it should be.
        SegmentError: It is no segment, or of a newer format.
    """
    return read_description(_Tail(store, key, size), key=key, size=size)


class _Tail(io.RawIOBase):
    """An object as a file whose end has been read; whatever lies before is read when asked for."""

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        self._store = store
        self._key = key
        self._size = size
        self._position = 0
        self._start = max(0, size - _TAIL_BYTES)
        self._end = self._bytes(self._start, size)

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


# Remove what was committed, in a way that the loss of the catalog does not undo.


def announce_removal(
    fence: Fence,
    kind: str,
    removed: Iterable[Segment],
    head: Head,
    *,
    commit_id: str = "",
    unreadable: Collection[str] = (),
) -> str:
    """Say which live segments are about to go, before anything is put in their place.

    Args:
        fence: The lake and its catalog.
        kind: Why: `compact`, `rollup`, `retain`, `delete` or `damage`.
        removed: The segments, as the catalog describes them. Their footers are read.
        head: What `Fence.begin` returned before they were looked up.
        commit_id: The commit that will remove them.
        unreadable: Ids of those whose footers are damaged or gone. They are announced as the
            catalog describes them, without their sources.

    Returns:
        The key of the intent, for `publish_removal`.

    Raises:
        CatalogMismatchError: The lake was recovered since.
        StoreError: A footer cannot be read, or the intent not be put.
    """
    described = tuple(
        one if one.id in unreadable else read_footer(fence.store, one.key, one.bytes)
        for one in removed
    )
    intent = Intent(kind, head.incarnation, commit_id=commit_id, remove=described)
    announced = put_intent(fence.store, intent)
    fence.verify(head.incarnation)
    return announced


def publish_removal(
    fence: Fence, commit: Commit, announced: str, head: Head, config: Config
) -> int:
    """Commit a removal that was announced, and mark it as done before anybody is told.

    Args:
        fence: The lake and its catalog.
        commit: What goes, and what comes in its place.
        announced: What `announce_removal` returned.
        head: As given to it.
        config: `attempts` and `backoff_seconds` of each question.

    Returns:
        The sequence of the commit.

    Raises:
        CommitConflictError: Others were faster. Nothing is visible, and what was put is deleted.
        CatalogMismatchError: The lake was recovered meanwhile: it may have happened, or not.
        CatalogError: There is no answer. It may have been applied.
    """
    try:
        sequence = publish_commit(fence, commit, config)
    except CommitConflictError:
        withdraw_intent(fence.store, announced)
        raise
    put_mark(fence.store, announced, [segment.id for segment in commit.add])
    fence.verify(head.incarnation)
    return sequence
