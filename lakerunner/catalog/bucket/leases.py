"""Leases for work as create-only objects, by the clock of the store."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from lakerunner.catalog.bucket.failures import translated
from lakerunner.catalog.bucket.log import PREFIX
from lakerunner.catalog.leases import Leases
from lakerunner.errors import ObjectExistsError, ObjectNotFoundError
from lakerunner.model.times import NANOS
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.store.base import ObjectStore

_PREFIX = f"{PREFIX}leases/"
_CLOCK = f"{PREFIX}clock"


class _Held(msgspec.Struct, frozen=True):
    owner: str
    seconds: float


_HELD = msgspec.json.Decoder(_Held)


class _Last(NamedTuple):
    """The newest object of a piece of work: who has it, and until when by the store's clock."""

    number: int
    owner: str
    expires_ns: float


class BucketLeases(Leases):
    """Leases among all who use a bucket.

    Each piece of work has numbered objects, and whoever creates the next number has it: to take, to
    renew and to release are one create-only put each. The time of the object is when it was put.

    Args:
        store: The lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def take(
        self, kind: str, keys: Sequence[str], owner: str, seconds: float, *, limit: int = 1
    ) -> list[str]:
        """Create the next number of what nobody has."""
        taken: list[str] = []
        with translated(self._store.url):
            now_ns = self._store.put(_CLOCK, b"").modified_ns if keys else 0
            for key in dict.fromkeys(keys):
                if len(taken) == limit:
                    break
                last = self._last(kind, key)
                free = last is None or last.expires_ns <= now_ns
                if free and self._put(kind, key, last, _Held(owner, seconds)):
                    taken.append(key)
        return taken

    def renew(self, kind: str, keys: Sequence[str], owner: str, seconds: float) -> list[str]:
        """Create the next number of what the owner has."""
        kept: list[str] = []
        with translated(self._store.url):
            for key in dict.fromkeys(keys):
                last = self._last(kind, key)
                own = last is not None and last.owner == owner
                if own and self._put(kind, key, last, _Held(owner, seconds)):
                    kept.append(key)
        return kept

    def release(self, kind: str, keys: Sequence[str], owner: str) -> None:
        """Create a number that nobody has."""
        with translated(self._store.url):
            for key in dict.fromkeys(keys):
                last = self._last(kind, key)
                if last is not None and last.owner == owner:
                    self._put(kind, key, last, _Held("", 0))

    def _last(self, kind: str, key: str) -> _Last | None:
        prefix = _place(kind, key)
        names = [meta.key for meta in self._store.list(prefix)]
        for name in reversed(names):
            try:
                found = self._store.get(name)
            except ObjectNotFoundError:
                continue  # a newer one is there by now; to create its number will fail
            held = _HELD.decode(found.data)
            ends_ns = found.meta.modified_ns + held.seconds * NANOS
            return _Last(int(name.removeprefix(prefix)), held.owner, ends_ns)
        return None

    def _put(self, kind: str, key: str, last: _Last | None, held: _Held) -> bool:
        prefix = _place(kind, key)
        number = last.number + 1 if last else 0
        try:
            self._store.put(f"{prefix}{number:020d}", msgspec.json.encode(held), PutMode.CREATE)
        except ObjectExistsError:
            return False
        if last is not None:
            self._store.delete(f"{prefix}{last.number:020d}")
        return True


def _place(kind: str, key: str) -> str:
    # A digest: the key may be longer than a key of an object.
    return f"{_PREFIX}{quote(kind, safe='')}/{blake2b(key.encode(), digest_size=16).hexdigest()}/"
