"""Files that survive a power cut: written aside, flushed, named in one step, the name flushed too.

Only calls to the operating system live here; what they raise is translated by the caller.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lakerunner.errors import StoreError
from lakerunner.limits import ORPHAN_GRACE_NS

if TYPE_CHECKING:
    from lakerunner.store.base import Buffer

_REMEMBERED: Final = 4096
"""Directories whose state is remembered; beyond it all are forgotten and looked at again."""

_WRITE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP}
_FULL_FLUSH: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a write in progress, or of one that a crash cut short."""
    return name.startswith(".lakerunner-") and name.endswith(".tmp")


def write_file(path: Path, data: Buffer, *, create: bool) -> os.stat_result:
    """Write a whole file, atomically and durably; its directory must exist.

    A crash leaves nothing, or a temporary file beside the target, or the whole file.

    Returns:
        The state of the file that was written.

    Raises:
        FileExistsError: `create` is asked and there is a file already.
        IsADirectoryError: There is a directory in the file's place.
    """
    temporary = path.parent / f".lakerunner-{secrets.token_hex(12)}.tmp"
    try:
        status = _write(temporary, data)
        if create:
            _link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        with suppress(OSError):  # after a replace it is gone; otherwise a later sweep finds it
            temporary.unlink()
    flush_directory(path.parent)
    return status


def _write(path: Path, data: Buffer) -> os.stat_result:
    descriptor = os.open(path, _WRITE_FLAGS, 0o666)
    try:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        # The kernel's own stamp moves in ticks of some milliseconds. A file that is replaced twice
        # within one may get back size, stamp and inode of its first version; this stamp differs.
        now = time.time_ns()
        os.utime(descriptor, ns=(now, now))
        _flush(descriptor)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> None:
    # The one way to name a file that fails when the name is taken, on every POSIX system.
    try:
        target.hardlink_to(source)
    except FileExistsError:
        if target.is_dir():
            raise _refused(errno.EISDIR, IsADirectoryError, target) from None
        raise
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise StoreError(
                f"the file system of '{target}' has no hard links; create-only writes need them",
                path=str(target),
            ) from error
        raise


def flush_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, _DIRECTORY_FLAGS)
    try:
        _flush(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems keep nothing back to flush
            raise
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    if _FULL_FLUSH is not None:  # macOS: fsync leaves the data in the drive's own cache
        with suppress(OSError):
            fcntl.fcntl(descriptor, _FULL_FLUSH)
            return
    os.fsync(descriptor)


class Directories:
    """Makes directories beneath a root, durably; may be used from any threads at once.

    A directory that another writer has only just made is flushed here as well, before anything in
    it is called durable. Temporary files older than a day are swept from each directory when it is
    first written to; younger ones may belong to a writer at work.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Look at every directory anew, because one that was there is gone."""
        self._durable: set[Path] = set()
        self._ready: set[Path] = set()

    def prepare(self, directory: Path) -> None:
        """Make a directory ready to be written to.

        Raises:
            NotADirectoryError: A part of its path is a file.
        """
        if directory in self._ready:
            return
        with self._lock:
            for path in reversed(self._doubtful(directory)):
                _make(path)
                self._durable.add(path)
            _sweep(directory)
            if len(self._durable) > _REMEMBERED:
                self.forget()
            self._ready.add(directory)

    def _doubtful(self, directory: Path) -> list[Path]:
        """The directory and its parents, up to one that is durable.

        What lies above the root is doubtful only where it has to be made.
        """
        chain: list[Path] = []
        for path in (directory, *directory.parents):
            if path in self._durable:
                break
            chain.append(path)
            if self._root not in path.parents and path.is_dir():
                break
        return chain


def _make(directory: Path) -> None:
    made = not directory.is_dir()
    if made:
        try:
            directory.mkdir()
        except FileExistsError:
            if not directory.is_dir():
                raise _refused(errno.ENOTDIR, NotADirectoryError, directory) from None
    try:
        flush_directory(directory.parent)
    except PermissionError:
        if made:
            raise


def _sweep(directory: Path) -> None:
    oldest = time.time_ns() - ORPHAN_GRACE_NS
    with os.scandir(directory) as entries:
        for entry in entries:
            if is_temporary(entry.name):
                with suppress(OSError):  # another writer sweeps as well
                    if entry.stat(follow_symlinks=False).st_mtime_ns < oldest:
                        Path(entry).unlink()


def _refused(code: int, kind: type[OSError], path: Path) -> OSError:
    return kind(code, os.strerror(code), str(path))
