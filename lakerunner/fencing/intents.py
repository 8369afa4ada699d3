"""What is about to be removed, and what was: create-only objects that outlive the catalog.

An intent is put before anything happens, a mark beside it before anybody is told of success.
`recover` reads both; see decision 024.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import msgspec
import zstandard

from lakerunner.errors import ObjectExistsError, ObjectNotFoundError, StoreError
from lakerunner.fencing.identity import PREFIX, honoured
from lakerunner.model.segment import Segment
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.store.base import ObjectStore

INTENTS_PREFIX = f"{PREFIX}intents/"
_MARK = ".done"
_MERGES = ("compact-", "rollup-")
"""How the names of intents go on that remove no rows."""


class Intent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody is about to remove.

    Attributes:
        kind: `collect` for files that no commit ever names; else why live segments go: `compact`,
            `rollup`, `retain`, `delete`, `damage`.
        incarnation: Of the lake, as whoever wrote this read it when it began.
        commit_id: The commit that removes and adds; empty for `collect`.
        condemned: Ids of files that are deleted, for `collect`.
        remove: Live segments that the commit removes, as their footers describe them.
    """

    kind: str
    incarnation: int
    commit_id: str = ""
    condemned: tuple[str, ...] = ()
    remove: tuple[Segment, ...] = ()


_INTENT = msgspec.json.Decoder(Intent)


class Found(msgspec.Struct, frozen=True):
    """An intent of the lake.

    Attributes:
        key: Of its object.
        intent: What it says.
        done: Whether its mark is there.
        added: Ids of the segments that came in the place of those removed, as the mark says.
    """

    key: str
    intent: Intent
    done: bool
    added: tuple[str, ...] = ()


def put_intent(store: ObjectStore, intent: Intent) -> str:
    """Announce a removal, before anything of it is done; returns the key of the object."""
    key = f"{INTENTS_PREFIX}{intent.incarnation:08d}-{intent.kind}-{uuid.uuid4().hex}"
    data = zstandard.ZstdCompressor(write_checksum=True).compress(msgspec.json.encode(intent))
    try:
        store.put(key, data, PutMode.CREATE)
    except ObjectExistsError:
        return key  # nobody else has this key: it is our own put, whose reply was lost
    return key


def put_mark(store: ObjectStore, key: str, added: Sequence[str] = ()) -> None:
    """Say that what was announced has happened, and what came instead, before anybody is told."""
    try:
        store.put(f"{key}{_MARK}", msgspec.json.encode(list(added)), PutMode.CREATE)
    except ObjectExistsError:
        return


def withdraw_intent(store: ObjectStore, key: str) -> None:
    """Take an intent back of which nothing was done, or of which nothing is left to know."""
    store.delete(key)
    store.delete(f"{key}{_MARK}")


def superseded_intents(store: ObjectStore, catalog: Catalog, before_ns: int) -> Iterator[str]:
    """Keys of intents of merges of which nothing is left to know.

    What a merge made says itself what it replaced and where that came from; so when the catalog has
    forgotten all that was replaced, the intent can go. Other intents stay: of rows that are gone on
    purpose nothing else tells a recovery.

    Args:
        store: The lake.
        catalog: What knows its segments.
        before_ns: Only those put before, by the clock of the store.

    Raises:
        StoreError: The lake cannot be read.
        CatalogUnavailableError: The catalog cannot be read.
    """
    for meta in store.list(INTENTS_PREFIX):
        name = meta.key.removeprefix(INTENTS_PREFIX)
        merged = name.partition("-")[2].startswith(_MERGES) and not name.endswith(_MARK)
        if not merged or meta.modified_ns >= before_ns:
            continue
        intent = _read(store, meta.key)
        if intent is not None and not catalog.known([one.id for one in intent.remove]):
            yield meta.key


def effective_intents(store: ObjectStore) -> list[Found]:
    """All intents that may have been carried out, by key.

    Whoever puts one looks at the incarnation before going on, so one that is older than the last
    recovery, and that this recovery did not see, was given up.
    """
    closed, went_by = honoured(store)
    keys = [meta.key for meta in store.list(INTENTS_PREFIX)]
    marks = {key.removesuffix(_MARK) for key in keys if key.endswith(_MARK)}
    found = []
    for key in keys:
        if key.endswith(_MARK):
            continue
        intent = _read(store, key)
        if intent is not None and (intent.incarnation >= closed or key in went_by):
            added = _added(store, key) if key in marks else None
            found.append(Found(key, intent, added is not None, added or ()))
    return found


def _added(store: ObjectStore, key: str) -> tuple[str, ...] | None:
    try:
        data = store.get(f"{key}{_MARK}").data
        return tuple(msgspec.json.decode(data, type=list[str]))
    except ObjectNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise StoreError(f"the mark of {key!r} is damaged: {error}", key=key) from error


def _read(store: ObjectStore, key: str) -> Intent | None:
    try:
        data = store.get(key).data
    except ObjectNotFoundError:
        return None  # withdrawn meanwhile
    try:
        plain = zstandard.ZstdDecompressor().decompress(data)
        return _INTENT.decode(plain)
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise StoreError(f"{key!r} is damaged: {error}", key=key) from error
