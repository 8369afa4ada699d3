"""Commits that lost a race, handed over to whoever appends next."""

from __future__ import annotations

import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakerunner.catalog.bucket.checkpoints import PENDING_PREFIX
from lakerunner.catalog.bucket.log import SUFFIX
from lakerunner.catalog.bucket.records import FORMAT_VERSION, decode, encode
from lakerunner.errors import CatalogError, CatalogVersionError, ObjectNotFoundError
from lakerunner.model.commit import Commit
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.store.base import ObjectStore

_AT_ONCE = 64
_PARALLEL = 8
_LOG = logging.getLogger(__name__)


class _Object(msgspec.Struct, frozen=True):
    version: int
    commits: tuple[Commit, ...]


_OBJECT = msgspec.json.Decoder(_Object)


class Handed(NamedTuple):
    """What one writer handed over; no commits, if the object is damaged."""

    key: str
    commits: tuple[Commit, ...]


class Pending:
    """Commits that anybody may append for their writers.

    A commit that is there twice, or was applied meanwhile, is known by its id and does no harm. So
    an object here can be appended by several, and deleted by anyone: its writer waits until it
    sees the commit in the log, and appends it itself if nobody else does.

    Args:
        store: The lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @staticmethod
    def new_key() -> str:
        """The key of what is handed over now. They are in the order of their writers' clocks."""
        return f"{PENDING_PREFIX}{time.time_ns():020d}-{uuid.uuid4().hex}{SUFFIX}"

    def hand_over(self, key: str, commits: Sequence[Commit]) -> None:
        """Put commits where others find them."""
        data = encode(_Object(FORMAT_VERSION, tuple(commits)))
        self._store.put(key, data, PutMode.CREATE)

    def keys(self) -> list[str]:
        """What waits, the oldest first."""
        return [meta.key for meta in self._store.list(PENDING_PREFIX) if meta.key.endswith(SUFFIX)]

    def read(self, keys: Sequence[str]) -> list[Handed]:
        """The first of what waits; without what is gone, and what a newer version handed over."""
        some = list(keys[:_AT_ONCE])
        if len(some) < 2:  # noqa: PLR2004 - one needs no threads
            found = [self._read(key) for key in some]
        else:
            with ThreadPoolExecutor(min(_PARALLEL, len(some))) as threads:
                found = list(threads.map(self._read, some))
        return [handed for handed in found if handed is not None]

    def _read(self, key: str) -> Handed | None:
        try:
            return Handed(key, decode(self._store.get(key).data, _OBJECT, key).commits)
        except (ObjectNotFoundError, CatalogVersionError):
            return None
        except CatalogError as error:
            _LOG.warning("%s; whoever handed it over appends it himself", error)
            return Handed(key, ())

    def forget(self, keys: Sequence[str]) -> None:
        """Delete what was appended, or needs not be; several at a time, for others wait."""
        if len(keys) == 1:
            self._store.delete(keys[0])
        elif keys:
            with ThreadPoolExecutor(min(_PARALLEL, len(keys))) as threads:
                list(threads.map(self._store.delete, keys))
