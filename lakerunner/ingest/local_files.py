"""Files of this machine that grow, move or are touched: what of them was taken, and what is left.

Why it is done like this: `docs/decisions/039-growing-files.md`.
"""

from __future__ import annotations

import os
import time
from functools import partial
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakerunner.errors import ObjectNotFoundError
from lakerunner.fencing.identity import PREFIX
from lakerunner.formats.compression import compression_of
from lakerunner.formats.records.formats import looks_like_text
from lakerunner.ingest.reading import piece_etag
from lakerunner.model.segment import Source, SourceState, TakenSource
from lakerunner.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.store import ObjectMeta, ObjectStore

_PREFIX = f"{PREFIX}files/"
_HEAD_BYTES = 4096
_SAMPLED_WHOLE = 256 * 1024
_SAMPLE_ENDS = 64 * 1024
_SAMPLE_BLOCKS = 32
_AT_REST_NS = 5 * 10**9
_LARGE_BYTES = 32 * 1024 * 1024  # which cannot be read in one go before somebody appends to it
_LINE_BYTES = 1024 * 1024  # how far back the last newline is looked for
_MERGE_NOTES = 32
_ASKED_AT_ONCE = 1000


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a batch set out to take of a file; it did if the catalog knows the source as taken.

    Attributes:
        source: The source of the piece.
        device: Of the file.
        inode: Of the file.
        start: Where the piece begins, in bytes.
        end: Where it ends.
        digest: Of samples of everything before the end.
        changed_ns: When the file was last changed in any way, as far as it was seen.
        noted_ns: When this was put.
    """

    source: Source
    device: int
    inode: int
    start: int
    end: int
    digest: str
    changed_ns: int
    noted_ns: int


class _Piece(NamedTuple):
    note: Note
    claim: Source | None


_NOTES = msgspec.json.Decoder(list[Note])


class LocalFiles:
    """Says of listed files what is to be taken, and notes what was; used by one thread.

    Args:
        lake: Where notes are.
        catalog: Says which of them hold.
        bucket: Where the files are.
        config: How often to ask the catalog.
        notes: Notes that were read before, by key; more are added. Threads may share it.
        growing: Whether the files may be announced while others write them.
    """

    def __init__(
        self,
        lake: ObjectStore,
        catalog: Catalog,
        bucket: ObjectStore,
        config: Config,
        notes: dict[str, list[Note]],
        *,
        growing: bool = False,
    ) -> None:
        self._growing = growing
        self._lake = lake
        self._catalog = catalog
        self._bucket = bucket
        self._config = config
        self._read = notes
        self._by_inode: dict[tuple[int, int], list[Note]] = {}
        self._by_folder: dict[str, list[Note]] = {}
        self._pieces: dict[Source, _Piece] = {}
        self._seen: set[tuple[int, int]] = set()
        self._loaded = False

    def left_of(
        self, listed: Sequence[ObjectMeta], known: Mapping[Source, SourceState]
    ) -> list[ObjectMeta]:
        """What is to be taken of some files.

        Args:
            listed: The files, as they were listed.
            known: What the catalog says of them as they were listed.

        Returns:
            Files that are new, and parts of those of which a part was taken.
        """
        self._load()
        return [piece for item in listed if (piece := self._left(item, known)) is not None]

    def settle(self, batch: str, taken: Iterable[TakenSource]) -> tuple[TakenSource, ...]:
        """Note what a batch is about to commit; durable on return.

        Args:
            batch: Names the batch.
            taken: What it takes.

        Returns:
            Claims, for the same commit.
        """
        pieces = [self._pieces[each.source] for each in taken if each.source in self._pieces]
        if not pieces:
            return ()
        notes = [piece.note for piece in pieces]
        key = f"{_PREFIX}{time.time_ns():016x}-{batch}"
        self._lake.put(key, msgspec.json.encode(notes))
        self._add(key, notes)
        claims = dict.fromkeys(piece.claim for piece in pieces if piece.claim is not None)
        return tuple(TakenSource(claim, 0) for claim in claims)

    def claims_of(self, source: Source) -> Source | None:
        """What a commit that takes a source claims beside it."""
        piece = self._pieces.get(source)
        return piece.claim if piece is not None else None

    # -- one file --------------------------------------------------------------------------------

    def _left(self, item: ObjectMeta, known: Mapping[Source, SourceState]) -> ObjectMeta | None:
        path = self._bucket.local_path(item.key)
        source = Source(self._bucket.url, item.key, item.etag)
        state = known.get(source)
        try:
            if path is None:
                return None if state is SourceState.TAKEN else item
            with path.open("rb") as file:
                return self._look(item, source, state, file.fileno())
        except OSError:  # whoever reads it says what is wrong
            return None if state is SourceState.TAKEN else item

    def _look(
        self, item: ObjectMeta, source: Source, state: SourceState | None, file: int
    ) -> ObjectMeta | None:
        status = os.fstat(file)
        identity = status.st_dev, status.st_ino
        if identity in self._seen:
            return None  # the same file under another name
        self._seen.add(identity)
        size = status.st_size
        notes = self._by_inode.get(identity, [])
        whole = any(note.end == size and note.changed_ns == status.st_ctime_ns for note in notes)
        if state is not None and (whole or not notes):
            return None if state is SourceState.TAKEN else item
        start = self._taken_until(notes, item.key, file, size)
        if start == size and size:
            return None
        text = _is_text(file, size)
        begin = start if text else 0
        end = size
        at_rest = time.time_ns() - status.st_mtime_ns >= _AT_REST_NS
        if text and not at_rest and (begin or self._growing or size > _LARGE_BYTES):
            end = _end_of_lines(file, begin, size)
        if end <= begin and size:
            return None
        digest = sample_digest(file, end)
        etag = item.etag
        if begin or end < size or (text and size > _LARGE_BYTES):
            etag = piece_etag(item.etag, begin, end)
        elif state is SourceState.TAKEN:  # written anew, and its time and size put back
            etag = f"{piece_etag(item.etag, 0, end)}-{digest}"
        piece = item._replace(etag=etag, size=end - begin)
        source = Source(source.bucket, item.key, etag)
        note = Note(source, *identity, begin, end, digest, status.st_ctime_ns, time.time_ns())
        self._pieces[source] = _Piece(note, self._claim(note, notes, file) if text else None)
        return piece

    def _taken_until(self, notes: Sequence[Note], key: str, file: int, size: int) -> int:
        """Where the part of a file ends that was taken."""
        for note in sorted(notes, key=lambda note: -note.end):
            if note.end <= size and sample_digest(file, note.end) == note.digest:
                return note.end
        folder = str(PurePosixPath(key).parent)
        for note in self._by_folder.get(folder, ()):
            if (
                0 < note.end <= size
                and _is_related(note.source.key, key)
                and sample_digest(file, note.end) == note.digest
                and not self._still_holds(note)
            ):
                return note.end
        return 0

    def _still_holds(self, note: Note) -> bool:
        """Whether the file that a piece was taken of has it."""
        path = self._bucket.local_path(note.source.key)
        try:
            with Path(path or "").open("rb") as file:
                status = os.fstat(file.fileno())
                same = (status.st_dev, status.st_ino) == (note.device, note.inode)
                long = status.st_size >= note.end
                return same and long and sample_digest(file.fileno(), note.end) == note.digest
        except OSError:
            return False

    def _claim(self, note: Note, notes: Sequence[Note], file: int) -> Source:
        digest = sample_digest(file, note.start)
        if not note.start:
            head = os.pread(file, _HEAD_BYTES, 0).partition(b"\n")[0]
            turn = sum(not each.start for each in notes)  # inodes are given out again
            digest = f"{turn}-{blake2b(head, digest_size=16).hexdigest()}"
        place = f"{note.device:x}-{note.inode:x}"
        return Source(note.source.bucket, f"inode/{place}", f"{note.start:x}-{digest}")

    # -- notes -----------------------------------------------------------------------------------

    def _load(self) -> None:
        """Read the notes that are new, once, and keep those that hold."""
        if self._loaded:
            return
        self._loaded = True
        listed = [item.key for item in self._lake.list(_PREFIX)]
        for key in listed:
            if key not in self._read:
                try:
                    self._read[key] = _NOTES.decode(self._lake.get(key).data)
                except ObjectNotFoundError:  # merged meanwhile; the merged one comes later
                    continue
        every = [note for key in listed for note in self._read.get(key, ())]
        held = _held(every, self._catalog, self._config)
        for note in held:
            self._index(note)
        if len(listed) > _MERGE_NOTES:
            self._merge(listed, every, held)

    def _merge(self, listed: Sequence[str], every: Sequence[Note], held: Sequence[Note]) -> None:
        """Put all notes into one object; those of commits that may be on their way stay."""
        young_ns = time.time_ns() - self._config.orphan_grace_ns
        kept = {id(note) for note in held}
        notes = [note for note in every if id(note) in kept or note.noted_ns > young_ns]
        key = f"{_PREFIX}{time.time_ns():016x}-merged-{os.getpid():x}"
        self._lake.put(key, msgspec.json.encode(notes))
        self._read[key] = notes
        for old in listed:
            self._lake.delete(old)
            self._read.pop(old, None)

    def _add(self, key: str, notes: list[Note]) -> None:
        self._read[key] = notes
        for note in notes:
            self._index(note)

    def _index(self, note: Note) -> None:
        self._by_inode.setdefault((note.device, note.inode), []).append(note)
        folder = str(PurePosixPath(note.source.key).parent)
        self._by_folder.setdefault(folder, []).append(note)


def _held(notes: Sequence[Note], catalog: Catalog, config: Config) -> list[Note]:
    """Notes whose piece was taken."""
    taken: set[Source] = set()
    sources = list(dict.fromkeys(note.source for note in notes))
    for at in range(0, len(sources), _ASKED_AT_ONCE):
        chunk = sources[at : at + _ASKED_AT_ONCE]
        states = retrying(partial(catalog.sources, chunk), config)
        taken |= {source for source, state in states.items() if state is SourceState.TAKEN}
    return [note for note in notes if note.source in taken]


def forgotten_notes(
    lake: ObjectStore, catalog: Catalog, config: Config, before_ns: int
) -> list[str]:
    """Keys of notes that say nothing any more: no source of theirs is known as taken.

    They were put for a commit that never came, or their sources were forgotten.

    Args:
        lake: Where notes are.
        catalog: Says which of them hold.
        config: How often to ask the catalog.
        before_ns: What was put later may be of a commit that is on its way.

    Raises:
        StoreError: The lake cannot be read.
        CatalogError: The catalog cannot be asked.
    """
    forgotten = []
    for item in lake.list(_PREFIX):
        if item.modified_ns >= before_ns:
            continue
        try:
            notes = _NOTES.decode(lake.get(item.key).data)
        except ObjectNotFoundError:  # merged meanwhile
            continue
        if not _held(notes, catalog, config):
            forgotten.append(item.key)
    return forgotten


def sample_digest(file: int, end: int) -> str:
    """Digest of what a file holds before a place: of all of it, or of samples where that is much.

    Args:
        file: Descriptor.
        end: Bytes; not more than the file has.
    """
    digest = blake2b(str(end).encode(), digest_size=16)
    if end <= _SAMPLED_WHOLE:
        digest.update(os.pread(file, end, 0))
        return digest.hexdigest()
    digest.update(os.pread(file, _SAMPLE_ENDS, 0))
    for block in range(1, _SAMPLE_BLOCKS):
        digest.update(os.pread(file, _HEAD_BYTES, end * block // _SAMPLE_BLOCKS))
    digest.update(os.pread(file, _SAMPLE_ENDS, end - _SAMPLE_ENDS))
    return digest.hexdigest()


def _is_text(file: int, size: int) -> bool:
    head = os.pread(file, min(size, _HEAD_BYTES), 0)
    return not compression_of(head) and looks_like_text(head)


def _end_of_lines(file: int, begin: int, size: int) -> int:
    """Where the last line ends that is whole, in what others may still be writing."""
    start = max(begin, size - _LINE_BYTES)
    tail = os.pread(file, size - start, start)
    end = tail.rfind(b"\n") + 1
    open_line = tail[end:]
    if open_line.startswith(b"{") and open_line.endswith(b"}"):
        return size
    if end:
        return start + end
    # A first line is taken as it is, and so is one that is very long.
    return begin if begin == start and begin else size


def _is_related(taken: str, key: str) -> bool:
    """Whether a file may be a copy that the rotation of another one made, by their names.

    Example:
        >>> _is_related("a/app.log", "a/app.log.1"), _is_related("a/app.log", "a/web.log")
        (True, False)
        >>> _is_related("a/app.log", "a/app-20260101.log")
        True
    """
    old, new = PurePosixPath(taken), PurePosixPath(key)
    if old == new or old.parent != new.parent:
        return False
    return new.name.startswith((old.name, f"{old.stem}-", f"{old.stem}.", f"{old.stem}_"))
