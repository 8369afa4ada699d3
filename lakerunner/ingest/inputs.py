"""Find the objects that a user's source names: an object, a prefix or a glob."""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lakerunner.errors import ConfigurationError, ObjectDeniedError, ObjectNotFoundError
from lakerunner.policies.batching import is_input, is_own
from lakerunner.policies.globs import compile_glob, literal_prefix
from lakerunner.policies.ownership import owner_of
from lakerunner.store.opening import open_store
from lakerunner.store.urls import Location, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike

    from lakerunner.policies.ownership import Ownership
    from lakerunner.store import ObjectMeta, ObjectStore


OpenBucket: TypeAlias = "Callable[[str, Mapping[str, object]], ObjectStore]"
"""Opens the bucket of a URL: URL and storage options to a store."""


class Inputs(NamedTuple):
    """Where input lies.

    Attributes:
        store: The whole bucket.
        objects: What the source names, in key order, listed as it is drawn.
    """

    store: ObjectStore
    objects: Iterator[ObjectMeta]

    def of(self, organization: str, rules: Ownership) -> Inputs:
        """Those of them that belong to one organization."""
        bucket = self.store.url
        owned = ((item, owner_of(bucket, item.key, rules)) for item in self.objects)
        return self._replace(
            objects=(item for item, owner in owned if owner and owner.organization == organization)
        )


def find_inputs(
    source: str | PathLike[str],
    lake_url: str,
    storage_options: Mapping[str, object],
    open_bucket: OpenBucket = open_store,
) -> Inputs:
    """Find what a source names.

    A URL that ends at `/` is a prefix, one with `*`, `?` or `[` a glob, unless an object has that
    very name; any other is an object or, if there is none, the folder of that name. Markers and
    the lake's own objects are left out.

    Args:
        source: A URL or a path.
        lake_url: Where the lake lies.
        storage_options: Credentials and endpoints of the bucket.
        open_bucket: Opens the bucket.

    Raises:
        ConfigurationError: It lies inside the lake, whose objects are never input.
        ObjectNotFoundError: It is neither a prefix nor a glob, and there is nothing there.
    """
    location = locate(source)
    store = open_bucket(location.bucket, storage_options)
    lake_prefix = lake_prefix_in(location, locate(lake_url))
    if lake_prefix is not None and is_own(f"{location.key.rstrip('/')}/", lake_prefix):
        raise ConfigurationError(
            f"'{os.fspath(source)}' lies inside the lake, whose objects are never input",
            url=os.fspath(source),
        )
    found = _named(store, location.key)
    return Inputs(store, (item for item in found if is_input(item.key, lake_prefix)))


def inputs_below(store: ObjectStore, prefix: str, lake_url: str) -> Inputs:
    """What lies below a prefix of a bucket and is neither the lake's own nor a directory marker."""
    lake_prefix = lake_prefix_in(Location(store.url, prefix), locate(lake_url))
    return Inputs(store, (item for item in store.list(prefix) if is_input(item.key, lake_prefix)))


def lake_prefix_in(source: Location, lake: Location) -> str | None:
    """Where the lake lies in the bucket of a source, as `is_input` takes it."""
    return lake.key.strip("/") if lake.bucket == source.bucket else None


def _named(store: ObjectStore, key: str) -> Iterable[ObjectMeta]:
    prefix = literal_prefix(key)
    if prefix != key:
        there = _literally(store, key)
        if there is not None:
            return there
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
        return chain([first], below)


def _literally(store: ObjectStore, key: str) -> Iterable[ObjectMeta] | None:
    """The objects of which a pattern is the very name, brackets and all; None if there are none."""
    if "*" in key:  # what nobody has in a name, and what a request would be wasted on
        return None
    if key.endswith("/"):
        below = store.list(key)
        first = next(below, None)
        return None if first is None else chain([first], below)
    try:
        return [store.head(key)]
    except (ObjectNotFoundError, ObjectDeniedError):
        return None
