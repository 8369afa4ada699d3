"""Find the objects that a user's source names: an object, a prefix or a glob."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import ObjectNotFoundError
from lakerunner.policies.batching import is_input
from lakerunner.policies.globs import compile_glob, literal_prefix
from lakerunner.store.opening import open_store
from lakerunner.store.urls import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from os import PathLike

    from lakerunner.store import ObjectMeta, ObjectStore


class Inputs(NamedTuple):
    """Where input lies.

    Attributes:
        store: The whole bucket.
        objects: What the source names, in key order, listed as it is drawn.
    """

    store: ObjectStore
    objects: Iterator[ObjectMeta]


def find_inputs(
    source: str | PathLike[str], lake_url: str, storage_options: Mapping[str, object]
) -> Inputs:
    """Find what a source names.

    A URL that ends at `/` is a prefix, one with `*`, `?` or `[` a glob; any other is an object or, if
    there is none, the folder of that name. Directory markers and the lake's own objects are left out.

    Args:
        source: A URL or a path.
        lake_url: Where the lake lies.
        storage_options: Credentials and endpoints of the bucket.

    Raises:
        ObjectNotFoundError: It is neither a prefix nor a glob, and there is nothing there.
    """
    location = locate(source)
    store = open_store(location.bucket, storage_options)
    lake = locate(lake_url)
    lake_prefix = lake.key if lake.bucket == location.bucket else None
    found = _named(store, location.key)
    return Inputs(store, (item for item in found if is_input(item.key, lake_prefix)))


def _named(store: ObjectStore, key: str) -> Iterable[ObjectMeta]:
    prefix = literal_prefix(key)
    if prefix != key:
        pattern = compile_glob(key)
        return (item for item in store.list(prefix) if pattern.fullmatch(item.key))
    if not key or key.endswith("/"):
        return store.list(key)
    try:
        return [store.head(key)]
    except ObjectNotFoundError as missing:
        below = store.list(f"{key}/")
        first = next(below, None)
        if first is None:
            raise missing from None
        return _chain(first, below)


def _chain(first: ObjectMeta, rest: Iterator[ObjectMeta]) -> Iterator[ObjectMeta]:
    yield first
    yield from rest
