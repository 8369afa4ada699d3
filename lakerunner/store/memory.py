"""Objects in the memory of this process, on fsspec's `MemoryFileSystem`."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from fsspec.implementations.memory import MemoryFile

from lakerunner.registry import split_scheme
from lakerunner.store.base import PutMode
from lakerunner.store.filesystem import FilesystemStore, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.store.filesystem import Info

_LOCK = threading.Lock()
_VERSIONS = itertools.count(1)


class MemoryStore(FilesystemStore):
    """An object store that lives and dies with the process: for tests, examples and notebooks.

    It is what fsspec calls `memory://`: one for the whole process, so that all stores on one URL,
    and fsspec itself, see the same objects. A pickled store opened in another process finds that
    process's memory, which is empty: do not hand it to a process pool.

    Example:
        >>> MemoryStore("memory://doctest").put("a/b", b"bytes").size
        5
        >>> MemoryStore("memory://doctest/a").get("b").data
        b'bytes'
    """

    protocol: ClassVar[str] = "memory"

    def root(self) -> str:
        """Every path of fsspec's memory filesystem starts at a `/`."""
        rest = split_scheme(self.url)[1]
        return f"/{rest}" if rest else ""

    def info(self, path: str) -> Info:
        """Describe a file at the cost of a dictionary access; there are no directories.

        fsspec's own looks at every file, and calls a file a directory if others lie beneath it.
        """
        return _describe(path, self.filesystem.store.get(path))

    def write(self, path: str, data: bytes, mode: PutMode) -> Info:
        """Put a new file into the dictionary, in one step under a lock that all stores share."""
        file = MemoryFile(self.filesystem, path, data)
        with _LOCK:
            if mode is PutMode.CREATE and path in self.filesystem.store:
                raise FileExistsError(path)
            self.filesystem.store[path] = file
        return _describe(path, file)

    def find(self, prefix: str, start_after: str) -> Iterator[tuple[str, Info]]:
        """Look through all files of the process, as they were at one moment."""
        # A copy is one step under the interpreter lock; walking the items is not. Most of them are
        # other stores' objects, so nothing but their names is looked at.
        files = self.filesystem.store.copy()
        within = f"{self._root}/{prefix}"
        mine = [(path, file) for path, file in files.items() if path.startswith(within)]
        for key, file in self.select(mine, prefix, start_after):
            yield key, _describe(key, file)


def _describe(path: str, file: Any) -> Info:
    """A file with a version: given when we first see it, for others write through fsspec.

    The time is part of the etag because a count alone starts again in every process, and a catalog
    on disk may remember the etags of an earlier one.
    """
    if file is None:
        raise FileNotFoundError(path)
    with _LOCK:
        if not hasattr(file, "lakerunner_version"):
            file.lakerunner_version = next(_VERSIONS)
    etag = f"{nanoseconds(file.modified):x}-{file.lakerunner_version:x}-{file.size:x}"
    info = {"name": path, "type": "file", "size": file.size}
    return {**info, "etag": etag, "modified": file.modified}
