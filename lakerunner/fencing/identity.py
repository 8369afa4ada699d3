"""Who a lake is, and how often it was recovered: create-only objects of the lake itself."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, TypeVar

import msgspec

from lakerunner.errors import ObjectExistsError, StoreError
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.model.commit import Head
    from lakerunner.store.base import ObjectStore

PREFIX = "_lakerunner/"
"""What a lake keeps beside its segments and its catalog."""

V = TypeVar("V")

LAKE_PREFIX = f"{PREFIX}lake/"
HONOURED_PREFIX = f"{PREFIX}honoured/"


class Incarnation(msgspec.Struct, frozen=True):
    """A life of a lake: from one recovery to the next.

    Attributes:
        lake: Identity of the lake: random, the same for all of its incarnations.
        number: Counted from 1.
        token: Random, so that whoever put it knows it again.
    """

    lake: str
    number: int
    token: str


_INCARNATION = msgspec.json.Decoder(Incarnation)
_NAMES = msgspec.json.Decoder(list[str])


def newest_incarnation(store: ObjectStore) -> Incarnation | None:
    """The present incarnation of a lake; None if nobody has written to it. One listing, one get.

    Raises:
        StoreError: The lake cannot be read, or what it says of itself is damaged.
    """
    number = newest_number(store)
    return _read(store, number) if number else None


def newest_number(store: ObjectStore) -> int:
    """The number of the present incarnation, or 0; one listing."""
    return max(_numbers(store, LAKE_PREFIX), default=0)


def begin_incarnation(store: ObjectStore, head: Head) -> Incarnation:
    """Put the next number. From now on, whoever deletes on behalf of an older one stops.

    Args:
        store: The lake.
        head: Of the catalog that is to be the lake's. A lake that has lost its identity gets the
            one that the catalog knows.

    Raises:
        StoreError: It could not be put.
    """
    while True:
        last = newest_incarnation(store)
        lake = last.lake if last else head.lake or uuid.uuid4().hex
        number = max(last.number if last else 0, head.incarnation) + 1
        new = Incarnation(lake, number, uuid.uuid4().hex)
        if _put(store, new):
            return new


def first_incarnation(store: ObjectStore) -> Incarnation:
    """Give a lake its identity, or find the one that somebody gave it just now."""
    new = Incarnation(uuid.uuid4().hex, 1, uuid.uuid4().hex)
    if _put(store, new):
        return new
    return _read(store, 1)


def put_honoured(store: ObjectStore, number: int, intents: Iterable[str]) -> None:
    """Keep which intents a recovery went by: others that are older were never carried out."""
    keys = sorted(intents)
    try:
        store.put(_key(HONOURED_PREFIX, number), msgspec.json.encode(keys), PutMode.CREATE)
    except ObjectExistsError:
        return  # the same recovery, whose reply was lost


def honoured(store: ObjectStore) -> tuple[int, frozenset[str]]:
    """The last recovery that finished, or 0, and the intents that it went by."""
    number = max(_numbers(store, HONOURED_PREFIX), default=0)
    if not number:
        return 0, frozenset()
    key = _key(HONOURED_PREFIX, number)
    names = _decode(store.get(key).data, _NAMES, key)
    return number, frozenset(names)


def _put(store: ObjectStore, new: Incarnation) -> bool:
    try:
        store.put(_key(LAKE_PREFIX, new.number), msgspec.json.encode(new), PutMode.CREATE)
    except ObjectExistsError:
        return _read(store, new.number) == new  # our own put, whose reply was lost
    return True


def _read(store: ObjectStore, number: int) -> Incarnation:
    key = _key(LAKE_PREFIX, number)
    return _decode(store.get(key).data, _INCARNATION, key)


def _decode(data: bytes, kind: msgspec.json.Decoder[V], key: str) -> V:
    try:
        return kind.decode(data)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{key!r} is damaged: {error}", key=key) from error


def _key(prefix: str, number: int) -> str:
    return f"{prefix}{number:08d}.json"


def _numbers(store: ObjectStore, prefix: str) -> list[int]:
    names = (meta.key.removeprefix(prefix).removesuffix(".json") for meta in store.list(prefix))
    return [int(name) for name in names if name.isdecimal()]
