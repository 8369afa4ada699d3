"""Where checkpoints lie in the lake: manifests, their parts, and the hint at the newest one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakerunner.catalog.bucket.failures import DamagedCheckpointError
from lakerunner.catalog.bucket.log import PREFIX, numbered, position_of
from lakerunner.catalog.bucket.manifest import Manifest
from lakerunner.catalog.bucket.records import decode, encode
from lakerunner.errors import (
    CatalogError,
    CatalogVersionError,
    ObjectExistsError,
    ObjectNotFoundError,
)
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Collection

    from lakerunner.store.base import ObjectMeta, ObjectStore

CHECKPOINTS_PREFIX = f"{PREFIX}checkpoints/"
PENDING_PREFIX = f"{CHECKPOINTS_PREFIX}pending/"
"""Commits that were handed over lie behind the manifests: so a writer, who lists these after each
entry, sees that somebody waits without another request."""

PARTS_PREFIX = f"{PREFIX}parts/"
HINT_KEY = f"{PREFIX}last_checkpoint.json"


class _Hint(msgspec.Struct):
    position: int


_HINT = msgspec.json.Decoder(_Hint)
_MANIFEST = msgspec.json.Decoder(Manifest)


class Behind(NamedTuple):
    """What lies behind a manifest.

    Attributes:
        positions: Of manifests, from old to new.
        waiting: Whether somebody has handed commits over.
    """

    positions: tuple[int, ...]
    waiting: bool


class Checkpoints:
    """Reads and writes checkpoints. Keeps no state; may be used from any threads at once.

    Args:
        store: The lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def newest(
        self,
        damaged: Collection[int] = (),
        parts: Collection[str] = (),
        *,
        trust_hint: bool = True,
    ) -> Manifest:
        """The newest checkpoint that can be read; an empty one if there is none.

        Args:
            damaged: Positions of checkpoints that are known to be of no use.
            parts: Keys of parts that are; checkpoints that name one are passed over.
            trust_hint: Ask the hint first, which may be stale, and list only if it is of no use.

        Raises:
            CatalogVersionError: A newer version wrote it.
        """
        unusable = set(damaged)
        hint = self.hint() if trust_hint else None
        if hint is not None and hint not in unusable:
            found = self._read(hint)
            if found is not None:
                return found
            unusable.add(hint)
        listed = (position_of(meta.key, CHECKPOINTS_PREFIX) for meta in self.list())
        for position in sorted((p for p in listed if p is not None), reverse=True):
            if position not in unusable:
                found = self._read(position)
                if found is not None and found.parts().isdisjoint(parts):
                    return found
        return Manifest()

    def list(self) -> list[ObjectMeta]:
        """All manifests, from old to new."""
        return list(self._store.list(CHECKPOINTS_PREFIX))

    def behind(self, position: int) -> Behind:
        """What lies behind the manifest of a position: one listing."""
        after = numbered(CHECKPOINTS_PREFIX, position)
        found = [meta.key for meta in self._store.list(CHECKPOINTS_PREFIX, start_after=after)]
        listed = [position_of(key, CHECKPOINTS_PREFIX) for key in found]
        return Behind(
            tuple(number for number in listed if number is not None),
            waiting=any(key.startswith(PENDING_PREFIX) for key in found),
        )

    def hint(self) -> int | None:
        """The position of a recent checkpoint, if the hint can be read."""
        try:
            return _HINT.decode(self._store.get(HINT_KEY).data).position
        except (ObjectNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _read(self, position: int) -> Manifest | None:
        try:
            return self.read(position)
        except CatalogVersionError:
            raise
        except CatalogError:
            return None

    def read(self, position: int) -> Manifest:
        """The checkpoint at a position.

        Raises:
            CatalogVersionError: A newer version wrote it.
            DamagedCheckpointError: It is missing or broken.
        """
        key = numbered(CHECKPOINTS_PREFIX, position)
        try:
            manifest = decode(self._store.get(key).data, _MANIFEST, key)
        except CatalogVersionError:
            raise
        except (ObjectNotFoundError, CatalogError) as error:
            raise DamagedCheckpointError(str(error), key=key, position=position) from error
        if manifest.position != position:
            raise DamagedCheckpointError(f"{key!r} says {manifest.position}", key=key)
        return manifest

    def write_part(self, position: int, data: bytes, kind: str = "parquet") -> str:
        """Put a part of the checkpoint at a position; returns its key, which is unique."""
        key = f"{PARTS_PREFIX}{position:020d}-{uuid.uuid4().hex}.{kind}"
        self._store.put(key, data, PutMode.CREATE)
        return key

    def write(self, manifest: Manifest) -> bool:
        """Put a manifest whose parts are there, and point at it; False if another one is there."""
        key = numbered(CHECKPOINTS_PREFIX, manifest.position)
        try:
            self._store.put(key, encode(manifest), PutMode.CREATE)
        except ObjectExistsError:
            return False
        self._store.put(HINT_KEY, msgspec.json.encode(_Hint(manifest.position)))
        return True
