"""Find the objects that a user's source names: an object, a prefix or a glob."""

from __future__ import annotations

import os
import uuid
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lakerunner.errors import ConfigurationError, ObjectDeniedError, ObjectNotFoundError
from lakerunner.ingest.reading import piece_span
from lakerunner.model.profile import SourceMapping, read_mapping
from lakerunner.model.segment import Source, SourceState
from lakerunner.policies.batching import batches, compile_glob, is_input, is_own, literal_prefix
from lakerunner.policies.ownership import Owner, owner_of
from lakerunner.retrying import retrying
from lakerunner.schema.tables import TABLE_OF
from lakerunner.schema.timestamps import layout_of_format
from lakerunner.store.urls import Location, locate, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike

    from lakerunner.catalog import Catalog
    from lakerunner.ingest.local_files import LocalFiles
    from lakerunner.model.config import Config
    from lakerunner.model.segment import Rejection, Segment, TakenSource
    from lakerunner.model.signal import Signal
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


# Check what a user says of records before anything is read.

_COLUMNS = frozenset(name for table in TABLE_OF.values() for name in table.schema.names)


def check_mapping(mapping: SourceMapping | Mapping[str, Any] | None) -> SourceMapping | None:
    """A mapping, checked against the columns there are.

    Raises:
        ConfigurationError: A field is unknown or of a wrong type, a column is not in any table, or
            the time format cannot be read.

    Example:
        >>> check_mapping({"columns": {"bdy": "msg"}})
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: mapping: 'bdy' is no table column
    """
    said = read_mapping(mapping)
    if said is None:
        return None
    for column in said.columns:
        if column not in _COLUMNS:
            raise ConfigurationError(f"mapping: {column!r} is no table column", column=column)
    if said.timestamp_format is not None:
        layout_of_format(said.timestamp_format)
    return said


# The listed objects that the catalog does not know yet.

_LOOKUP_OBJECTS = 1000  # sources looked up in the catalog in one call


class NewObjects:
    """Passes over listed objects that were taken or set aside; looks a thousand up at a time.

    Used by one thread.

    Args:
        catalog: Knows what was taken and what was set aside.
        inputs: What was listed.
        config: How often to ask the catalog.
        again: Whether to hand on what was set aside.
        files: For files of this machine: knows what of them was taken.

    Attributes:
        seen: New objects handed on so far.
        skipped: Known objects passed over so far.
        exhausted: Whether the listing has come to its end.
    """

    def __init__(
        self,
        catalog: Catalog,
        inputs: Inputs,
        config: Config,
        *,
        again: bool,
        files: LocalFiles | None = None,
    ) -> None:
        self._files = files
        self._catalog = catalog
        self._inputs = inputs
        self._config = config
        self._again = again
        self.seen = 0
        self.skipped = 0
        self.exhausted = False

    def __iter__(self) -> Iterator[ObjectMeta]:
        for listed in _chunks(self._inputs.objects, _LOOKUP_OBJECTS):
            for item in self._unknown(listed):
                self.seen += 1
                yield item
        self.exhausted = True

    def _unknown(self, listed: list[ObjectMeta]) -> list[ObjectMeta]:
        bucket = self._inputs.store.url
        sources = [Source(bucket, item.key, item.etag) for item in listed]
        known = retrying(lambda: self._catalog.sources(sources), self._config)
        found = listed
        if self._files is not None:
            found = self._files.left_of(listed, known)
            sources = [Source(bucket, item.key, item.etag) for item in found]
            others = [source for source in sources if piece_span(source.etag)]
            known |= retrying(lambda: self._catalog.sources(others), self._config) if others else {}
        new = [
            item
            for item, source in zip(found, sources, strict=True)
            if source not in known or (self._again and known[source] is SourceState.REJECTED)
        ]
        self.skipped += len(listed) - len(new)
        return new


def _chunks(items: Iterable[ObjectMeta], size: int) -> Iterator[list[ObjectMeta]]:
    chunk: list[ObjectMeta] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


# One batch of objects on its way through ingestion: what goes in, and what comes out.
#
# Both travel between processes when the executor is a process pool: they hold no table and no
# bytes.


class IngestTask(NamedTuple):
    """A batch to be ingested.

    Attributes:
        batch_id: Names the commit of this batch.
        lake: Where segments go.
        source: The bucket the objects lie in.
        objects: The objects, as they were listed.
        organization: Whose rows they hold; None where no rule says, so that they are set aside.
        steward: Who is told of objects without an owner.
        signal: The signal the user named, if any.
        hint: The signal that the objects' place speaks of, if any.
        format: The format the user named, if any.
        mapping: What the user says of records of named fields, if anything.
        config: The settings.
        epoch: Where the catalog stood when the batch was begun: see `Fence.begin`.
        announced: Whether the objects were announced, not listed: one that is not there may be yet
            to come, so it counts as failed and is not set aside.
        record: Whether the catalog learns of the sources; bytes given by hand have no identity.
    """

    batch_id: str
    lake: ObjectStore
    source: ObjectStore
    objects: tuple[ObjectMeta, ...]
    organization: str | None
    steward: str
    signal: Signal | None
    hint: Signal | None
    format: str | None
    mapping: SourceMapping | None
    config: Config
    epoch: int
    announced: bool = False
    record: bool = True

    @property
    def account(self) -> str:
        """The organization whose commit this becomes."""
        return self.steward if self.organization is None else self.organization


class IngestOutcome(NamedTuple):
    """What became of a batch; nothing of it is committed yet.

    Attributes:
        task: The batch.
        segments: Segments that were put.
        taken: Sources whose every row is in `segments`, whatever tables these are of.
        aside: Lines that were set aside of sources in `taken`.
        rejected: Sources that cannot be taken.
        failed: Sources that cannot be taken for now.
        bytes_read: Stored bytes of all objects that were read.
        untimed: By format, rows that have the time of their object.
    """

    task: IngestTask
    segments: tuple[Segment, ...]
    taken: tuple[TakenSource, ...]
    aside: tuple[Rejection, ...]
    rejected: tuple[Rejection, ...]
    failed: tuple[Rejection, ...]
    bytes_read: int
    untimed: Mapping[str, int]


def tasks_of(
    objects: Iterable[ObjectMeta],
    common: IngestTask,
    rules: Ownership | None,
    admits: Callable[[str], bool] = bool,
) -> Iterator[IngestTask]:
    """Put objects into batches, each of one owner.

    Args:
        objects: What is to be taken, as it is listed.
        common: What all batches have in common.
        rules: Who owns which object; None if all are the steward's.
        admits: Whether the lake can hold an organization of this name beside the others.
    """

    def owner(item: ObjectMeta) -> Owner | None:
        if rules is None:
            return Owner(common.steward)
        found = owner_of(common.source.url, item.key, rules)
        # Collectors may share a batch: their rows lie together anyway.
        if found is None or not admits(found.organization):
            return None
        return found._replace(collector="")

    sizes = common.config.batch_bytes, common.config.batch_objects
    for found, batch in batches(objects, owner, batch_bytes=sizes[0], batch_objects=sizes[1]):
        yield common._replace(
            batch_id=uuid.uuid4().hex,
            objects=batch,
            organization=None if found is None else found.organization,
            hint=None if found is None else found.signal,
        )
