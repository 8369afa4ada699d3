"""What was accepted and is not committed yet, on a local disk: it survives `kill -9`.

A journal is a directory of files that ingestion can read as they are, each beside an index that
says how far it is good: a line for each payload, with its end and its checksum. A payload is
accepted when both files are on disk. What lies beyond the last good line was promised to nobody and
is cut off when a journal is taken over.

A file keeps its identity from when it is closed until it is committed. So it does not matter how
often it is taken: the catalog knows it. Each writer has a directory of its own, and a lock on it
for as long as it lives; whoever opens a journal next takes over what the dead have left.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from lakerunner.errors import ConfigurationError, StoreUnavailableError
from lakerunner.model.profile import check_organization

try:
    import fcntl
except ImportError as missing:  # pragma: no cover - there is none on Windows
    raise ConfigurationError("a journal needs file locks as POSIX has them") from missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.intake.payloads import Payload

_LOCK = "lock"
_OPEN, _INDEX, _READY = ".open", ".index", "ready"
_ENTRY_BYTES = 12  # eight of the end, four of the checksum


class Sealed(NamedTuple):
    """A file that nothing is added to any more.

    Attributes:
        organization: Whose rows it holds.
        path: Where it lies.
    """

    organization: str
    path: Path


class Waiting(NamedTuple):
    """What one organization has in a journal.

    Attributes:
        organization: Whose it is.
        files: That are not committed yet.
        bytes: Of these.
        since: When the oldest of them was begun or added to, in seconds since the epoch.
        rejected: Files that could not be taken; they lie below `rejected`.
    """

    organization: str
    files: int
    bytes: int
    since: float
    rejected: int

    def __str__(self) -> str:
        return (
            f"{self.organization}: {self.files:,} files with {self.bytes:,} bytes wait in the "
            f"journal, and {self.rejected:,} could not be taken"
        )


def waiting_in(directory: str | os.PathLike[str]) -> list[Waiting]:
    """What is in a journal, of all writers that share it, whether they live or not.

    Example:
        >>> waiting_in("/nowhere")
        []
    """
    found: dict[str, list[Path]] = {}
    for owner in sorted(Path(directory).glob("*/*/")):
        found.setdefault(owner.name, []).append(owner)
    waiting = []
    for organization, owners in sorted(found.items()):
        files = [
            path
            for owner in owners
            for path in (*owner.glob(f"*{_OPEN}"), *owner.glob(f"{_READY}/*"))
        ]
        stats = [path.stat() for path in files if path.exists()]
        rejected = sum(1 for owner in owners for _ in owner.glob("rejected/*"))
        size = sum(one.st_size for one in stats)
        since = min((one.st_mtime for one in stats), default=0.0)
        waiting.append(Waiting(organization, len(stats), size, since, rejected))
    return waiting


class _File:
    """A file that payloads are added to, and its index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: IO[bytes] = path.with_name(path.name + _OPEN).open("xb", buffering=0)
        self.index: IO[bytes] = path.with_name(path.name + _INDEX).open("xb", buffering=0)
        self.end = 0
        self._is_new = True

    def add(self, data: bytes) -> None:
        _write(self.data, data)
        self.end += len(data)
        entry = self.end.to_bytes(8, "big") + zlib.crc32(data).to_bytes(4, "big")
        _write(self.index, entry)

    def sync(self) -> None:
        os.fsync(self.data.fileno())
        os.fsync(self.index.fileno())
        if self._is_new:
            _sync_directory(self.path.parent)
            _sync_directory(self.path.parent.parent)
            self._is_new = False

    def close(self) -> None:
        self.data.close()
        self.index.close()


class Journal:
    """Payloads on disk, in the order in which they were accepted. Safe across threads.

    Args:
        directory: Of all writers that share it, on one machine.

    Raises:
        ConfigurationError: It cannot be written to, or the platform has no file locks.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._root = Path(directory).absolute()
        self._own = self._root / uuid.uuid4().hex
        try:
            self._own.mkdir(parents=True)
            self._lock_file = (self._own / _LOCK).open("wb")
        except OSError as error:
            raise ConfigurationError(f"the journal {directory}: {error.strerror}") from error
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._files: dict[tuple[str, str], _File] = {}
        self._added = self._synced = 0
        self._syncing = False
        self._count = 0

    def add(self, organization: str, payload: Payload) -> int:
        """Put a payload behind the others of its kind.

        Returns:
            A number for `sync`.

        Raises:
            StoreUnavailableError: The disk does not take it. Nothing of it is kept.
        """
        key = (organization, payload.kind)
        with self._lock:
            try:
                file = self._files.get(key) if payload.kind else None
                if file is None:
                    self._count += 1
                    name = payload.name.format(f"{self._count:08}")
                    directory = self._own / organization
                    directory.mkdir(exist_ok=True)
                    file = _File(directory / name)
                    self._files[key if payload.kind else (organization, name)] = file
                file.add(payload.data)
            except OSError as error:
                self._broken(key)
                raise StoreUnavailableError(f"the journal: {error.strerror}") from error
            self._added += 1
            return self._added

    def _broken(self, key: tuple[str, str]) -> None:
        """Add nothing more to a file that may end in half a payload; its index knows how far."""
        file = self._files.pop(key, None)
        if file is not None:
            self._count += 1
            self._files[(key[0], f"{file.path.name} {self._count}")] = file

    def sync(self, number: int) -> None:
        """Return when a payload is on disk; those of many threads get there together.

        Raises:
            StoreUnavailableError: The disk fails.
        """
        with self._changed:
            while self._synced < number:
                if self._syncing:
                    self._changed.wait()
                    continue
                self._syncing = True
                upto, files = self._added, list(self._files.values())
                self._lock.release()
                try:
                    for file in files:
                        file.sync()
                except (OSError, ValueError) as error:
                    raise StoreUnavailableError(f"the journal: {error}") from error
                finally:
                    self._lock.acquire()
                    self._syncing = False
                    self._changed.notify_all()
                self._synced = max(self._synced, upto)

    def seal(self) -> list[Sealed]:
        """Close all files; payloads that come now get new ones."""
        with self._changed:
            while self._syncing:
                self._changed.wait()
            files, self._files = self._files, {}
            sealed = []
            for (organization, _), file in files.items():
                file.sync()
                file.close()
                path = _ready(file.path)
                if path is not None:
                    sealed.append(Sealed(organization, path))
            self._synced = self._added
            return sealed

    def left_behind(self) -> Iterator[Sealed]:
        """What writers that are gone have left, cut to what they had promised.

        Their directories are this writer's from now on.
        """
        for directory in sorted(self._root.iterdir()):
            if directory == self._own or not directory.is_dir():
                continue
            try:
                lock = (directory / _LOCK).open("ab")
            except OSError:
                continue
            with lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue  # it lives
                yield from self._taken_over(directory)

    def _taken_over(self, directory: Path) -> Iterator[Sealed]:
        for owner in sorted(path for path in directory.iterdir() if path.is_dir()):
            try:
                organization = check_organization(owner.name)
            except ConfigurationError:
                continue
            for unfinished in sorted(owner.glob(f"*{_OPEN}")):
                _ready(unfinished.with_name(unfinished.name.removesuffix(_OPEN)))
            for path in sorted(owner.glob(f"{_READY}/*")):
                yield Sealed(organization, path)
        if not any(directory.glob(f"*/{_READY}/*")):
            shutil.rmtree(directory, ignore_errors=True)

    @staticmethod
    def forget(sealed: Sealed) -> None:
        """Delete a file whose rows are committed."""
        sealed.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the directory back; it is removed if nothing is left in it."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files = {}
        if not any(path.is_file() for path in self._own.rglob("*") if path.name != _LOCK):
            shutil.rmtree(self._own, ignore_errors=True)
        self._lock_file.close()


def _ready(path: Path) -> Path | None:
    """Cut a file to what its index vouches for, and say that nothing is added to it any more.

    Every step may be the last before a crash; done again, it comes to the same.
    """
    data, index = path.with_name(path.name + _OPEN), path.with_name(path.name + _INDEX)
    good = _good_bytes(data, index)
    if good < data.stat().st_size:
        with data.open("r+b") as file:
            file.truncate(good)
            os.fsync(file.fileno())
    target = path.parent / _READY / path.name
    if good:
        target.parent.mkdir(exist_ok=True)
        data.rename(target)
    else:
        data.unlink()
    index.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return target if good else None


def _good_bytes(data: Path, index: Path) -> int:
    """How much of a file its index vouches for."""
    entries = index.read_bytes() if index.exists() else b""
    good = 0
    with data.open("rb") as file:
        for at in range(0, len(entries) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            end = int.from_bytes(entries[at : at + 8], "big")
            piece = file.read(end - good) if end >= good else b""
            checked = int.from_bytes(entries[at + 8 : at + _ENTRY_BYTES], "big")
            if len(piece) != end - good or zlib.crc32(piece) != checked:
                break
            good = end
    return good


def _write(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
