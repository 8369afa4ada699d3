"""Segments as files that DataFusion can open: where they lie, or where they are copied to."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from lakerunner.errors import (
    LakerunnerError,
    ObjectNotFoundError,
    QueryExecutionError,
    SegmentDamagedError,
)
from lakerunner.limits import HOT_SEGMENT_BYTES, QUERY_CACHE_BYTES, STORE_REQUESTS
from lakerunner.segments.checksums import damaged_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from lakerunner.compute.native_stores import NativeStore, SharedCopies
    from lakerunner.model.segment import Segment
    from lakerunner.store.base import ObjectStore


_LOG = logging.getLogger(__name__)


class Held:
    """Segments that are readable for now.

    Attributes:
        listed: Tells the sizes, by path, of the files that a run was made of:
            `Execution.listed`. Whoever runs a query sets it.
    """

    def __init__(self) -> None:
        self.listed: Callable[[], Mapping[str, int]] = dict


class SegmentFiles:
    """Makes the segments of one store readable by DataFusion.

    Objects that are files of this machine are read where they lie. Others are copied into a local
    directory, each once, and the least recently used copies are removed when they exceed a bound.
    Copies that a running query needs are never removed, so the bound may be exceeded while it runs.

    Those of a bucket that DataFusion reads by itself are named by their own URL and read in place.

    May be used from several threads at once.

    Args:
        store: Where the segments are.
        directory: An empty directory for the copies; nobody else writes to it.
        bound_bytes: Bytes of copies that are kept while no query needs them.
        native: The bucket of the store, if it is registered with the session.
        verify: Which segments are checked for damage; see `Config.query_verify`.
        shared: Where copies are kept that other processes use as well; then small segments of a
            bucket are copied, too, that DataFusion could read by itself.

    Attributes:
        native: The same.
    """

    def __init__(
        self,
        store: ObjectStore,
        directory: Path,
        bound_bytes: int = QUERY_CACHE_BYTES,
        native: NativeStore | None = None,
        *,
        verify: Literal["local", "all", "none"] = "local",
        shared: SharedCopies | None = None,
    ) -> None:
        self._store = store
        self.native = native
        self._directory = directory
        self._bound = bound_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}  # by segment id, least recently used first
        self._users: dict[str, int] = {}
        self._verify = verify
        self._shared = shared
        self._sound: dict[str, frozenset[str]] = {}  # by segment id, what of it was found sound

    def url(self, segment: Segment) -> str:
        """The URL under which a segment can be read while it is held."""
        if self.native is not None and self.is_distant(segment):
            return self.native.url(segment.key)
        return self._path(segment).as_uri()

    def is_distant(self, segment: Segment) -> bool:
        """Whether it is read where it lies in a bucket, so that each request takes its time."""
        return self.native is not None and not self._is_hot(segment)

    def _is_hot(self, segment: Segment) -> bool:
        """Whether it is worth a copy: several queries read most of it."""
        return self._shared is not None and segment.bytes <= HOT_SEGMENT_BYTES

    def _path(self, segment: Segment) -> Path:
        local = self._store.local_path(segment.key)
        return self._copy_path(segment) if local is None else Path(local).absolute()

    def _copy_path(self, segment: Segment) -> Path:
        return self._directory / f"{segment.id.encode().hex()}.parquet"

    @contextmanager
    def held(
        self, segments: Sequence[Segment], columns: Mapping[str, Collection[str]] | None = None
    ) -> Iterator[Held]:
        """Make segments readable, and keep them so until the context ends.

        DataFusion takes a missing file for an empty one. So files of this machine are looked for
        before and, unless the context ends by an error, after. Objects that DataFusion reads by
        itself are looked for after: those that `Held.listed` names were there with that size, and
        for each of the others one request is made.

        Args:
            segments: Which.
            columns: By table, what of them is read: it is checked for damage before, once for each
                segment. None reads no column.

        Yields:
            Where to say which files a run was made of.

        Raises:
            QueryExecutionError: The file of a segment is missing or of another size
                (`context["key"]`).
            SegmentDamagedError: It is not as it was written.
            StoreUnavailableError: The store could not be read.
        """
        held = Held()
        if self.native is not None:
            hot = [one for one in segments if self._is_hot(one)]
            segments = [one for one in segments if not self._is_hot(one)]
            if columns is not None and self._verify == "all":
                for segment in segments:
                    self._check_whole(segment)
            with self._local(hot, columns):
                yield held
            self._check_native(self.native, segments, held.listed())
            return
        with self._local(segments, columns):
            yield held

    @contextmanager
    def _local(
        self, segments: Sequence[Segment], columns: Mapping[str, Collection[str]] | None
    ) -> Iterator[None]:
        """Files of this machine, or copies."""
        copied = [one for one in segments if self._store.local_path(one.key) is None]
        with self._lock:
            for segment in copied:
                self._users[segment.id] = self._users.get(segment.id, 0) + 1
        try:
            for segment in copied:
                self._copy(segment)
            self._check(segments)
            if columns is not None and self._verify != "none":
                for segment in segments:
                    self._check_columns(segment, columns.get(segment.table, ()))
            yield
            self._check(segments)
        finally:
            self._release(copied)

    def _check(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            try:
                size = os.stat(self._path(segment)).st_size  # noqa: PTH116 - thousands per query
            except FileNotFoundError:
                raise _missing(segment) from None
            _check_size(segment, size)

    def _check_native(
        self, native: NativeStore, segments: Sequence[Segment], listed: Mapping[str, int]
    ) -> None:
        unseen = []
        for segment in segments:
            size = listed.get(native.name(segment.key))
            if size is None:
                unseen.append(segment)
            else:
                _check_size(segment, size)
        if unseen:
            with ThreadPoolExecutor(min(len(unseen), STORE_REQUESTS)) as threads:
                for segment, size in zip(unseen, threads.map(self._size, unseen), strict=True):
                    _check_size(segment, size)

    def _size(self, segment: Segment) -> int:
        try:
            return self._store.head(segment.key).size
        except ObjectNotFoundError:
            raise _missing(segment) from None

    def _check_whole(self, segment: Segment) -> None:
        if segment.checksums and segment.id not in self._sound:
            try:
                data = self._store.get(segment.key).data
            except ObjectNotFoundError:
                raise _missing(segment) from None
            _check_size(segment, len(data))
            refuse_damaged(pa.BufferReader(data), segment)
            self._sound[segment.id] = frozenset()

    def _check_columns(self, segment: Segment, columns: Collection[str]) -> None:
        # Two threads may check the same columns at once; both find the same.
        sound = self._sound.get(segment.id)
        if segment.checksums and (sound is None or not sound.issuperset(columns)):
            with pa.OSFile(str(self._path(segment))) as file:
                refuse_damaged(file, segment, frozenset(columns) - (sound or frozenset()))
            self._sound[segment.id] = (sound or frozenset()).union(columns)

    def _copy(self, segment: Segment) -> None:
        with self._lock:
            if segment.id in self._sizes:
                self._sizes[segment.id] = self._sizes.pop(segment.id)  # now the most recent
                return
        path = self._copy_path(segment)
        if self._shared is not None and self._link(self._shared, segment, path):
            return
        data = self._fetch(segment)
        # Two queries may copy the same segment at once: each writes a file of its own, and the one
        # that is renamed last replaces its equal.
        partial = path.with_suffix(f".{threading.get_ident()}.tmp")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise QueryExecutionError(
                f"segment '{segment.key}' of {segment.bytes:,} bytes cannot be copied to "
                f"{self._directory}: {error.strerror}; free some disk, or ask for less",
                key=segment.key,
                segment=segment.id,
            ) from error
        with self._lock:
            self._sizes[segment.id] = len(data)

    def _fetch(self, segment: Segment) -> bytes:
        try:
            return self._store.get(segment.key).data
        except ObjectNotFoundError:
            raise _missing(segment) from None

    def _link(self, shared: SharedCopies, segment: Segment, path: Path) -> bool:
        """Take a copy that others use, too; where that fails, one of our own may still be made."""
        for attempt in range(2):
            try:
                shared.link(segment, path, lambda: self._fetch(segment))
            except LakerunnerError:
                raise
            except OSError as error:
                _LOG.warning("segment copies cannot be shared: %s", error)
                with suppress(OSError):
                    if not attempt:
                        shared.make_room()
            else:
                with self._lock:
                    self._sizes[segment.id] = segment.bytes
                return True
        return False

    def _release(self, segments: Sequence[Segment]) -> None:
        with self._lock:
            for segment in segments:
                self._users[segment.id] -= 1
                if not self._users[segment.id]:
                    del self._users[segment.id]
            excess = sum(self._sizes.values()) - self._bound
            for segment_id in [one for one in self._sizes if one not in self._users]:
                if excess <= 0:
                    break
                excess -= self._sizes.pop(segment_id)
                (self._directory / f"{segment_id.encode().hex()}.parquet").unlink(missing_ok=True)


def refuse_damaged(file: Any, segment: Segment, columns: Collection[str] | None = None) -> None:
    """Refuse a file that is not as it was written.

    Raises:
        SegmentDamagedError: It is not; the message says what of it.
    """
    if damaged := damaged_parts(file, segment, columns):
        raise SegmentDamagedError(
            f"segment '{segment.key}' is damaged ({', '.join(damaged)}): its bytes are not those "
            f"that were written; restore the object, or {_way_out(segment)}",
            key=segment.key,
            segment=segment.id,
        )


def _check_size(segment: Segment, size: int) -> None:
    if size != segment.bytes:
        raise QueryExecutionError(
            f"segment '{segment.key}' has {size:,} bytes, but the catalog says {segment.bytes:,}; "
            f"restore the object, or {_way_out(segment)}",
            key=segment.key,
            segment=segment.id,
        )


def _missing(segment: Segment) -> QueryExecutionError:
    return QueryExecutionError(
        f"segment '{segment.key}' is in the catalog, but its file is missing; restore the object, "
        f"or {_way_out(segment)}",
        key=segment.key,
        segment=segment.id,
    )


def _way_out(segment: Segment) -> str:
    return f"leave it out: lake.set_aside('{segment.id}')"
