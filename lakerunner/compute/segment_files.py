"""Segments as files that DataFusion can open: where they lie, or where they are copied to."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lakerunner.errors import ObjectNotFoundError, QueryExecutionError
from lakerunner.limits import QUERY_CACHE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.model.segment import Segment
    from lakerunner.store.base import ObjectStore


class SegmentFiles:
    """Makes the segments of one store readable by DataFusion.

    Objects that are files of this machine are read where they lie. Others are copied into a local
    directory, each once, and the least recently used copies are removed when they exceed a bound.
    Copies that a running query needs are never removed, so the bound may be exceeded while it runs.

    A store that DataFusion can read by itself, such as S3, would be registered with the session and
    named by its own URL: `url` and `held` are the two places to say so.

    May be used from several threads at once.

    Args:
        store: Where the segments are.
        directory: An empty directory for the copies; nobody else writes to it.
        bound_bytes: Bytes of copies that are kept while no query needs them.
    """

    def __init__(
        self, store: ObjectStore, directory: Path, bound_bytes: int = QUERY_CACHE_BYTES
    ) -> None:
        self._store = store
        self._directory = directory
        self._bound = bound_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}  # by segment id, least recently used first
        self._users: dict[str, int] = {}

    def url(self, segment: Segment) -> str:
        """The URL under which a segment can be read while it is held."""
        return self._path(segment).as_uri()

    def _path(self, segment: Segment) -> Path:
        local = self._store.local_path(segment.key)
        return self._copy_path(segment) if local is None else Path(local).absolute()

    def _copy_path(self, segment: Segment) -> Path:
        return self._directory / f"{segment.id.encode().hex()}.parquet"

    @contextmanager
    def held(self, segments: Sequence[Segment]) -> Iterator[None]:
        """Make segments readable, and keep them so until the context ends.

        Raises:
            QueryExecutionError: The file of a segment is missing or of another size
                (`context["key"]`). DataFusion takes a missing file for an empty one, so this is
                looked for before and, unless the context ends by an error, after.
            StoreUnavailableError: The store could not be read.
        """
        copied = [one for one in segments if self._store.local_path(one.key) is None]
        with self._lock:
            for segment in copied:
                self._users[segment.id] = self._users.get(segment.id, 0) + 1
        try:
            for segment in copied:
                self._copy(segment)
            self._check(segments)
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
            if size != segment.bytes:
                raise QueryExecutionError(
                    f"segment '{segment.key}' has {size:,} bytes, but the catalog says "
                    f"{segment.bytes:,}",
                    key=segment.key,
                )

    def _copy(self, segment: Segment) -> None:
        with self._lock:
            if segment.id in self._sizes:
                self._sizes[segment.id] = self._sizes.pop(segment.id)  # now the most recent
                return
        path = self._copy_path(segment)
        try:
            data = self._store.get(segment.key).data
        except ObjectNotFoundError:
            raise _missing(segment) from None
        # Two queries may copy the same segment at once: each writes a file of its own, and the one
        # that is renamed last replaces its equal.
        partial = path.with_suffix(f".{threading.get_ident()}.tmp")
        partial.write_bytes(data)
        partial.replace(path)
        with self._lock:
            self._sizes[segment.id] = len(data)

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


def _missing(segment: Segment) -> QueryExecutionError:
    return QueryExecutionError(
        f"segment '{segment.key}' is in the catalog, but its file is missing", key=segment.key
    )
