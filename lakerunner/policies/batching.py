"""Which objects are ingested together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

OWN_FOLDERS = ("segments/", "catalog/", "_lakerunner/")
"""What a lake keeps below its root."""

_MARKERS = frozenset({"_SUCCESS", "_metadata", "_common_metadata", ".DS_Store"})
_MARKED = ("_started_", "_committed_")  # what Spark leaves on some platforms
_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lz4")
_EXPECTED_RATIO = 4
"""How much larger compressed telemetry is taken to be; a wrong guess costs an extra segment."""


class Listed(Protocol):
    """An object as far as batching cares: its key, and its stored size in bytes."""

    @property
    def key(self) -> str:
        """Its key; the suffix tells whether it is compressed."""

    @property
    def size(self) -> int:
        """Stored bytes."""


L = TypeVar("L", bound=Listed)
K = TypeVar("K", bound="Hashable")


def expected_bytes(key: str, size: int) -> int:
    """Bytes an object is expected to hold once decompressed.

    Example:
        >>> expected_bytes("logs_1.binpb.gz", 100), expected_bytes("logs_1.binpb", 100)
        (400, 100)
    """
    return size * _EXPECTED_RATIO if key.lower().endswith(_COMPRESSED) else size


def batches(
    objects: Iterable[L],
    group_of: Callable[[L], K],
    *,
    batch_bytes: int,
    batch_objects: int,
    open_batches: int = 64,
) -> Iterator[tuple[K, tuple[L, ...]]]:
    """Put objects into batches of one group each, so that a batch is about one decoding step.

    Every object is in exactly one batch, and the objects of a group keep their order. A batch holds
    at most `batch_objects` objects, and more than `batch_bytes` of expected bytes only if it is a
    single object. At most `open_batches` are gathered at a time; the longest is given up for a new
    one, so that memory stays bounded however many groups there are.

    Args:
        objects: The objects, as they are listed.
        group_of: Whose an object is: only objects of one group share a batch.
        batch_bytes: Expected bytes of a batch.
        batch_objects: Objects of a batch.
        open_batches: Batches that are gathered at a time.

    Yields:
        A group, and some of its objects.

    Example:
        >>> from types import SimpleNamespace
        >>> objects = [SimpleNamespace(key=key, size=6) for key in ("x/a", "y/b", "x/c", "x/d")]
        >>> found = batches(objects, lambda o: o.key[0], batch_bytes=12, batch_objects=9)
        >>> [(group, [o.key for o in batch]) for group, batch in found]
        [('x', ['x/a', 'x/c']), ('y', ['y/b']), ('x', ['x/d'])]
    """
    pending: dict[K, list[L]] = {}
    totals: dict[K, int] = {}
    for item in objects:
        group, expected = group_of(item), expected_bytes(item.key, item.size)
        batch = pending.get(group)
        if batch and (totals[group] + expected > batch_bytes or len(batch) >= batch_objects):
            yield group, tuple(pending.pop(group))
            totals[group] = 0
        elif batch is None and len(pending) >= open_batches:
            longest = max(pending, key=lambda name: len(pending[name]))
            yield longest, tuple(pending.pop(longest))
            totals.pop(longest)
        pending.setdefault(group, []).append(item)
        totals[group] = totals.get(group, 0) + expected
    for group, batch in pending.items():
        yield group, tuple(batch)


def is_input(key: str, lake_prefix: str | None) -> bool:
    """Whether a listed key may hold telemetry: no marker, and not the lake's own output.

    Markers are folders, and what writers of many files leave beside them: `_SUCCESS`, checksums.

    Args:
        key: Full key in its bucket.
        lake_prefix: Where the lake lies in the same bucket; empty if it is the whole bucket, which
            leaves most of it to others; None if it lies elsewhere.

    Example:
        >>> is_input("raw/a.binpb", "lake"), is_input("lake/segments/x.parquet", "lake")
        (True, False)
        >>> is_input("raw/", None), is_input("segments/x.parquet", "")
        (False, False)
        >>> is_input("raw/_SUCCESS", None), is_input("raw/.part-0.json.crc", None)
        (False, False)
    """
    name = key.rpartition("/")[2]
    if not name or name in _MARKERS or name.startswith(_MARKED):
        return False
    if name.startswith(".") and name.endswith(".crc"):
        return False
    return lake_prefix is None or not is_own(key, lake_prefix)


def is_own(key: str, lake_prefix: str) -> bool:
    """Whether a key, or a prefix, lies where only the lake writes; arguments as in `is_input`.

    Example:
        >>> is_own("lake/anything", "lake"), is_own("anything", ""), is_own("catalog/", "")
        (True, False, True)
    """
    place = lake_prefix.strip("/")
    return key.startswith((f"{place}/",) if place else OWN_FOLDERS)
