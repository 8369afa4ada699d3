"""Objects as files in a directory of this machine."""

from __future__ import annotations

import errno
import logging
import os
import time
from functools import cached_property
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Final, NamedTuple

from lakerunner.errors import ConfigurationError, StoreError, StoreUnavailableError
from lakerunner.limits import READ_ATTEMPTS
from lakerunner.store.base import GetResult, ObjectMeta, ObjectStore, PutMode
from lakerunner.store.durable import Directories, flush_directory, is_temporary, write_file
from lakerunner.store.failures import translated
from lakerunner.store.urls import absolute_path, bounds, check_key, file_url, is_utf8, split_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakerunner.store.base import Buffer, ByteRange

# The files of a directory tree in the order of their keys, found lazily.

_LOG = logging.getLogger(__name__)


class _Node(NamedTuple):
    key: str
    entry: os.DirEntry[str]


class _Wanted(NamedTuple):
    """What of a tree is wanted, and where its symbolic links may lead."""

    prefix: str
    start_after: str
    tree: str | None


def walk(
    root: Path, prefix: str, start_after: str, *, follow: bool = True
) -> Iterator[tuple[str, os.stat_result]]:
    """Keys and states of the files whose key starts with `prefix` and lies after `start_after`.

    A directory is read when its turn comes; one whose keys are all unwanted is never read. Its
    names are held, sorted, until all in it has been handed out. Symbolic links are followed, but
    never back into a directory that they lie in, and unless `follow` is set not out of the
    directory that the prefix names: those are left out, with a warning in the log. What vanishes
    meanwhile is left out; so are pipes and devices, writes in progress, and names that are not
    UTF-8 (with a warning in the log: no
    catalog could hold such a key).
    """
    split = split_prefix(prefix)
    if split is not None:
        directory, start = split
        tree = None if follow else os.path.realpath(root / directory)
        yield from _walk(
            root / directory, directory, _Wanted(directory + start, start_after, tree), ()
        )


def _walk(
    path: Path, key: str, wanted: _Wanted, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result]]:
    prefix, start_after, tree = wanted
    try:
        status = path.stat()
        nodes = _nodes(path, key)
    except (FileNotFoundError, NotADirectoryError):
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for node in nodes:
        if not node.key.startswith(prefix) or not _stays(node.entry, tree):
            continue
        if node.key.endswith("/"):
            if node.key > start_after or start_after.startswith(node.key):
                inside = path / node.entry.name
                yield from _walk(inside, node.key, wanted._replace(prefix=""), (*above, identity))
        elif node.key > start_after:
            found = _state(node.entry)
            if found is not None and S_ISREG(found.st_mode):
                yield node.key, found


def _nodes(path: Path, key: str) -> Sequence[_Node]:
    """What lies in a directory, by key; the key of a directory in it ends at a `/`.

    All keys beneath a directory start with its name and a `/`: sorted among the files as that text,
    `a-b` comes before `a/b` and that before `a0`. Texts compare by code point, and so do their
    UTF-8 bytes.
    """
    nodes = []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_temporary(entry.name):
                continue
            if not is_utf8(entry.name):
                _LOG.warning("left out, its name is not UTF-8: %r", os.fsencode(entry.path))
                continue
            nodes.append(_Node(f"{key}{entry.name}{'/' if _is_directory(entry) else ''}", entry))
    return sorted(nodes, key=lambda node: node.key)


def _stays(entry: os.DirEntry[str], tree: str | None) -> bool:
    """Whether an entry, if it is a symbolic link, leads to something within the tree."""
    if tree is None or not entry.is_symlink():
        return True
    target = os.path.realpath(entry.path)
    if target == tree or target.startswith(f"{tree.rstrip('/')}/"):
        return True
    _LOG.warning("left out, the link leads out of %r: %r", tree, entry.path)
    return False


def _is_directory(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False)  # the listing told: no further request
    status = _state(entry)
    return status is not None and S_ISDIR(status.st_mode)


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What lies there; None for what is gone, and for links to nothing or in a circle."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


_CATALOG: Final = "catalog.db"
"""Files whose name starts so, in the root, are the embedded catalog of a lake and SQLite's own."""

_PAUSE_S: Final = 0.01
_READ_BYTES: Final = 1 << 30  # macOS refuses to read 2 GiB in one call
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe must not wait


class LocalStore(ObjectStore):
    """An object store in a directory, which the first put makes. Needs a POSIX file system.

    A put survives a power cut once it has returned. An object is a file, and its key is the path
    relative to the root: there can be no object at `a` and another at `a/b`, and where the file
    system ignores case `A` and `a` are one. A key cannot lead out of the root, but a symbolic link
    that a key names is followed wherever it leads. A listing follows links only within the
    directory that its prefix names, unless the option `follow_symlinks` is set: whoever may write
    into a directory that is ingested must not have other files of the machine read.

    The etag is made of modification time, size and inode. A file that others write in place is read
    again until it holds still; a change that keeps its size and falls into the same tick of the
    file system's clock cannot be seen. To delete leaves empty directories behind. A crash may leave
    a file named `.lakerunner-….tmp`: it is no object, and the first put into its directory that
    comes a day later removes it. Nor is any file in the root whose name starts with `catalog.db`:
    SQLite loses its locks when anybody else in the process opens its file and closes it again.

    Args:
        url: A directory: a path, or `file://` and an absolute path.
        storage_options: `follow_symlinks`, and whatever else; it is kept.

    Raises:
        ConfigurationError: The URL is not that of a local directory.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     store = LocalStore(directory)
        ...     store.put("a/b", b"bytes").size, store.get("a/b").data
        (5, b'bytes')
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        self._root = Path(absolute_path(os.fspath(url)))
        self._directories = Directories(self._root)
        self.url = file_url(str(self._root).rstrip("/"))
        self.storage_options = dict(storage_options or {})
        self._follow = bool(self.storage_options.get("follow_symlinks"))

    @cached_property
    def ignores_case(self) -> bool:
        """Whether the file system takes `A` and `a` for one, as far as it can be seen."""
        there = next((one for one in (self._root, *self._root.parents) if one.exists()), self._root)
        other = there.with_name(there.name.swapcase()) if there.name else there
        return other != there and other.exists() and other.samefile(there)

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read an object or a part of it through one descriptor, until it held still meanwhile."""
        path = self._path(key)
        with translated(self.url, key):
            for _ in range(READ_ATTEMPTS):
                result = _read(path, key, byte_range)
                if result is not None:
                    return result
                time.sleep(_PAUSE_S)
        raise StoreUnavailableError(
            f"{key!r} in {self.url} kept changing while it was read", url=self.url, key=key
        )

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Write a whole object: see `lakerunner.store.durable`."""
        path = self._path(key)
        if _is_reserved(key):
            raise ConfigurationError(
                f"{key!r} is a name for temporary files or for the catalog", key=key
            )
        with translated(self.url, key):
            try:
                return _meta(key, self._write(path, data, create=mode is PutMode.CREATE))
            except (NotADirectoryError, IsADirectoryError) as error:
                raise StoreError(
                    f"{key!r} cannot be a file in {self.url}: it is a directory, "
                    "or a part of its path is a file",
                    url=self.url,
                    key=key,
                ) from error

    def head(self, key: str) -> ObjectMeta:
        """Describe an object."""
        path = self._path(key)
        with translated(self.url, key):
            return _meta(key, path.stat())

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe the objects under a prefix: see `lakerunner.store.local`."""
        with translated(self.url, prefix):
            for key, status in walk(self._root, prefix, start_after, follow=self._follow):
                if not _is_reserved(key):
                    yield _meta(key, status)

    def delete(self, key: str) -> None:
        """Remove an object, durably. A symbolic link is removed in place of what it leads to."""
        path = self._path(key)
        with translated(self.url, key):
            try:
                _meta(key, path.stat())
                path.unlink()
                flush_directory(path.parent)
            except (FileNotFoundError, NotADirectoryError):
                return

    def local_path(self, key: str) -> Path:
        """Where the object lies, or would lie: the disk is not asked."""
        check_key(key)
        return self._root / key

    def _path(self, key: str) -> Path:
        return self.local_path(key)

    def _write(self, path: Path, data: Buffer, *, create: bool) -> os.stat_result:
        for _ in range(READ_ATTEMPTS):
            try:
                self._directories.prepare(path.parent)
                return write_file(path, data, create=create)
            except FileNotFoundError:  # somebody removed the directory since we looked
                self._directories.forget()
        raise StoreUnavailableError(f"the directory of '{path}' is removed again and again")

    def __reduce__(self) -> tuple[type[LocalStore], tuple[str, Mapping[str, object]]]:
        return type(self), (self.url, self.storage_options)


def _is_reserved(key: str) -> bool:
    parts = key.split("/")
    in_catalog = len(parts) == 1 and key.startswith(_CATALOG)
    return in_catalog or any(is_temporary(part) for part in parts)


def _meta(key: str, status: os.stat_result) -> ObjectMeta:
    """Describe a file; raises `FileNotFoundError` for what is no object."""
    if not S_ISREG(status.st_mode) or _is_reserved(key):
        raise FileNotFoundError(key)
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
    return ObjectMeta(key, status.st_size, etag, status.st_mtime_ns)


def _read(path: Path, key: str, byte_range: ByteRange | None) -> GetResult | None:
    """One attempt; None if the file changed under it."""
    if _is_reserved(key):  # before it is opened: see the class
        raise FileNotFoundError(key)
    descriptor = os.open(path, _READ_FLAGS)
    try:
        before = _meta(key, os.fstat(descriptor))
        start, end = bounds(byte_range, before.size, key)
        data = _read_span(descriptor, start, end)
        after = _meta(key, os.fstat(descriptor))
    finally:
        os.close(descriptor)
    unchanged = after == before and len(data) == end - start
    return GetResult(before, data) if unchanged else None


def _read_span(descriptor: int, start: int, end: int) -> bytes:
    parts = []
    while start < end and (part := os.pread(descriptor, min(end - start, _READ_BYTES), start)):
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
