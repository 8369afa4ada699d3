"""Copies of segments on local disk that processes share and that outlive them.

A directory holds each copy once, under the name of its segment. Whoever reads one gets another
name of the same file, a hard link in a place of its own. So copies can be removed at any time, by
anybody, and nobody loses a file that is being read.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lakerunner.segments.checksums import damaged_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.model.segment import Segment

_LOG = logging.getLogger(__name__)
_SUFFIX = ".parquet"
_LEFT_SECONDS = 86_400.0
"""Age at which what a process that died left behind is removed."""


class SharedCopies:
    """The copies of segments of one lake. May be used from several threads and processes at once.

    Args:
        directory: Where they are kept; made if it is not there.
        lake: Which lake; copies of several may share a directory.
        bound_bytes: Bytes that they may take. It is looked at after each new copy, and by each
            process for itself, so a little more may be there for a moment.

    Attributes:
        links: A directory of this object alone, on the same disk.

    Raises:
        OSError: The directory cannot be written.
    """

    def __init__(self, directory: Path, lake: str, bound_bytes: int) -> None:
        name = hashlib.blake2b(lake.encode(), digest_size=12).hexdigest()
        self._directory = directory.absolute() / name
        self._bound = bound_bytes
        self._lock = threading.Lock()
        self._sound: set[str] = set()
        held = self._directory / "held"
        held.mkdir(parents=True, exist_ok=True)
        self._remove_left(held)
        self.links = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=held))

    def link(self, segment: Segment, path: Path, fetch: Callable[[], bytes]) -> bool:
        """Give a copy of a segment another name, and make the copy if there is none.

        A copy that is not as it was written is made again. It is looked at once in each process, as
        a whole.

        Args:
            segment: Which.
            path: The name, in `links`.
            fetch: Gets its bytes.

        Returns:
            Whether there was a copy.

        Raises:
            OSError: It cannot be written: the disk is full, or the directory is gone.
        """
        copy = self._directory / f"{segment.id.encode().hex()}{_SUFFIX}"
        if self._linked(segment, copy, path):
            os.utime(copy)
            return True
        data = fetch()
        partial = self.links / f"{threading.get_ident()}.partial"
        try:
            partial.write_bytes(data)
            with suppress(FileExistsError):  # another thread was first
                os.link(partial, path)
            partial.replace(copy)
        finally:
            partial.unlink(missing_ok=True)
        self._sound.add(segment.id)  # the caller looks at what it got from the store
        self._evict(keep=copy)
        return False

    def _linked(self, segment: Segment, copy: Path, path: Path) -> bool:
        try:
            os.link(copy, path)
        except FileNotFoundError:
            return False
        except FileExistsError:  # another thread was first, and has looked at it
            return True
        if self._is_sound(segment, path):
            return True
        _LOG.warning("a copy of segment %s is damaged and is made again: %s", segment.id, copy)
        path.unlink()
        copy.unlink(missing_ok=True)
        return False

    def _is_sound(self, segment: Segment, path: Path) -> bool:
        if path.stat().st_size != segment.bytes:
            return False
        if segment.id not in self._sound and segment.checksums:
            with pa.OSFile(str(path)) as file:
                if damaged_parts(file, segment):
                    return False
            self._sound.add(segment.id)
        return True

    def _evict(self, keep: Path) -> None:
        """Remove the copies that were not used for longest, until the others are few enough."""
        with self._lock:
            found = []
            for entry in os.scandir(self._directory):
                with suppress(FileNotFoundError):  # another process removed it meanwhile
                    if entry.name.endswith(_SUFFIX):
                        stat = entry.stat()
                        found.append((stat.st_mtime_ns, stat.st_size, entry.path))
            excess = sum(size for _, size, _ in found) - self._bound
            for _, size, path in sorted(found):
                if excess <= 0:
                    break
                if path != str(keep):
                    Path(path).unlink(missing_ok=True)
                    excess -= size

    def make_room(self) -> None:
        """Remove all copies that nobody reads, for the disk is full."""
        with self._lock:
            for entry in os.scandir(self._directory):
                if entry.name.endswith(_SUFFIX):
                    Path(entry.path).unlink(missing_ok=True)

    @staticmethod
    def _remove_left(held: Path) -> None:
        """Links of processes that are gone: a process that lives touches its directory."""
        for entry in os.scandir(held):
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime > _LEFT_SECONDS:
                    shutil.rmtree(entry.path, ignore_errors=True)

    def close(self) -> None:
        """Let go of all links; the copies stay."""
        shutil.rmtree(self.links, ignore_errors=True)
