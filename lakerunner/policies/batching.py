"""Which objects are ingested together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")
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


def expected_bytes(key: str, size: int) -> int:
    """Bytes an object is expected to hold once decompressed.

    Example:
        >>> expected_bytes("logs_1.binpb.gz", 100), expected_bytes("logs_1.binpb", 100)
        (400, 100)
    """
    return size * _EXPECTED_RATIO if key.lower().endswith(_COMPRESSED) else size


def batches(
    objects: Iterable[L], *, batch_bytes: int, batch_objects: int
) -> Iterator[tuple[L, ...]]:
    """Group objects, in order, so that each group is about one decoding step.

    Every object is in exactly one group. A group holds at most `batch_objects` objects, and more
    than `batch_bytes` of expected bytes only if it is a single object.

    Example:
        >>> from types import SimpleNamespace
        >>> objects = [SimpleNamespace(key=key, size=6) for key in "abc"]
        >>> [[o.key for o in group] for group in batches(objects, batch_bytes=12, batch_objects=9)]
        [['a', 'b'], ['c']]
    """
    group: list[L] = []
    total = 0
    for item in objects:
        expected = expected_bytes(item.key, item.size)
        if group and (total + expected > batch_bytes or len(group) >= batch_objects):
            yield tuple(group)
            group, total = [], 0
        group.append(item)
        total += expected
    if group:
        yield tuple(group)


def is_input(key: str, lake_prefix: str | None) -> bool:
    """Whether a listed key may hold telemetry: no directory marker, and not the lake's own output.

    Args:
        key: Full key in its bucket.
        lake_prefix: Where the lake lies in the same bucket, or None if it lies elsewhere.

    Example:
        >>> is_input("raw/a.binpb", "lake"), is_input("lake/segments/x.parquet", "lake")
        (True, False)
        >>> is_input("raw/", None)
        False
    """
    if not key or key.endswith("/"):
        return False
    return lake_prefix is None or not key.startswith(f"{lake_prefix.strip('/')}/".lstrip("/"))
