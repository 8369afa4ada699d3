"""Which objects are ingested together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from lakerunner.errors import ConfigurationError
from lakerunner.limits import ATTRIBUTE_COLUMNS

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


# What decoding a payload takes in memory, and how much of one is decoded at once.
#
# The numbers were measured: the peak resident memory of a process that takes one payload to an
# encoded segment, over what it had before, for payloads that are each extreme in one way: long
# lines, empty records, many columns (docs/benchmarks.md). They are meant to be too large rather
# than
# too small, by a third for what is usual.

COPIES = 12
"""Times the bytes of a payload of text are held at the peak: as they came, cut into values, as
columns, sorted, and as pages of the segment."""

COPIES_OF_PROTOBUF = 5
"""The same of protobuf, whose values are smaller as columns."""

_ROW_BYTES = 280
_VALUE_BYTES = 26
_CELL_BYTES = 16
_OVERFLOW_BYTES = 180


class Measured(Protocol):
    """What a payload holds: see `lakerunner.formats.base.Measure`."""

    @property
    def size(self) -> int:
        """Bytes, unpacked."""

    @property
    def rows(self) -> int:
        """Records or data points."""

    @property
    def values(self) -> int:
        """Elements and pairs."""

    @property
    def columns(self) -> frozenset[bytes]:
        """Names of columns that each row takes a place in."""


def decoding_bytes(measured: Measured, *, protobuf: bool = False) -> int:
    """Bytes of memory that decoding takes at its peak, beside the payload itself.

    Args:
        measured: What is decoded.
        protobuf: Whether it is protobuf, and not text.

    Example:
        >>> from types import SimpleNamespace
        >>> decoding_bytes(SimpleNamespace(size=1000, rows=10, values=50, columns=frozenset()))
        16100
    """
    cells = measured.rows * min(len(measured.columns), ATTRIBUTE_COLUMNS)
    overflow = measured.rows * max(len(measured.columns) - ATTRIBUTE_COLUMNS, 0)
    return (
        (COPIES_OF_PROTOBUF if protobuf else COPIES) * measured.size
        + _ROW_BYTES * measured.rows
        + _VALUE_BYTES * measured.values
        + _CELL_BYTES * cells
        + _OVERFLOW_BYTES * overflow
    )


def smaller_limit(size: int, cost: int, room: int) -> int:
    """Bytes of the parts of a payload that takes more memory than there is.

    Args:
        size: Bytes of the payload.
        cost: What decoding it would take.
        room: What it may take, less than `cost`.

    Example:
        >>> smaller_limit(1000, 30_000, 10_000)
        300
    """
    return max(size * room * 9 // (cost * 10), 1)


# When what was announced so far is ingested: by bytes, by count, and by age.


class GatherLimits(NamedTuple):
    """What ends a gathering.

    Attributes:
        max_bytes: Expected bytes, decompressed.
        max_objects: Objects.
        max_age_s: Seconds that the first object has waited.
    """

    max_bytes: int
    max_objects: int
    max_age_s: float


class Gathered(NamedTuple):
    """What was gathered so far.

    Attributes:
        bytes: Expected bytes of all objects, decompressed.
        objects: How many they are.
        first_s: When the first one came, on a clock that only goes forward; in seconds.
    """

    bytes: int = 0
    objects: int = 0
    first_s: float = 0.0

    def plus(self, expected_bytes: int, now_s: float) -> Gathered:
        """This with one more object.

        Example:
            >>> Gathered().plus(10, 7.0).plus(5, 9.0)
            Gathered(bytes=15, objects=2, first_s=7.0)
        """
        first_s = self.first_s if self.objects else now_s
        return Gathered(self.bytes + expected_bytes, self.objects + 1, first_s)


def wait_s(gathered: Gathered, limits: GatherLimits, now_s: float) -> float | None:
    """How many seconds more to gather before all of it is ingested.

    Args:
        gathered: What there is.
        limits: What ends a gathering.
        now_s: The present, on the clock of `Gathered.first_s`.

    Returns:
        0 if it is to be ingested now, None if nothing was gathered yet.

    Example:
        >>> limits = GatherLimits(max_bytes=100, max_objects=3, max_age_s=10.0)
        >>> one = Gathered().plus(40, now_s=5.0)
        >>> wait_s(one, limits, 6.0), wait_s(one, limits, 15.0), wait_s(Gathered(), limits, 6.0)
        (9.0, 0.0, None)
        >>> wait_s(one.plus(60, now_s=6.0), limits, 6.0)
        0.0
    """
    if not gathered.objects:
        return None
    if gathered.bytes >= limits.max_bytes or gathered.objects >= limits.max_objects:
        return 0.0
    return max(0.0, gathered.first_s + limits.max_age_s - now_s)


def retry_delay_s(tries: int, limit_s: float) -> float:
    """Seconds before something that failed `tries` times is tried again: 1, 2, 4, … `limit_s`.

    Example:
        >>> [retry_delay_s(tries, 60.0) for tries in (1, 2, 6, 7, 5000)]
        [1.0, 2.0, 32.0, 60.0, 60.0]
    """
    return min(limit_s, 2.0 ** min(tries - 1, 60))


# Match object keys with shell patterns.

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?+\]?+[^\]]*\]|.", re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")
_FIXED = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def literal_prefix(pattern: str) -> str:
    """The part of a pattern before its first wildcard; the whole text if it has none.

    Example:
        >>> literal_prefix("raw/2026-*/logs_?.binpb"), literal_prefix("raw/a")
        ('raw/2026-', 'raw/a')
    """
    match = _MAGIC.search(pattern)
    return pattern[: match.start()] if match else pattern


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Compile a pattern; use `fullmatch`.

    `*` and `?` stay within one part of a key, `**` crosses parts, `[abc]` and `[!abc]` are one
    character. A bracket without its partner stands for itself.

    Raises:
        ConfigurationError: A range in brackets runs backwards.

    Example:
        >>> bool(compile_glob("raw/**/logs_*.gz").fullmatch("raw/a/b/logs_1.gz"))
        True
        >>> bool(compile_glob("raw/*.gz").fullmatch("raw/a/logs_1.gz"))
        False
    """
    parts = []
    for token in _TOKEN.findall(pattern):
        if token in _FIXED:
            parts.append(_FIXED[token])
        elif token.startswith("[") and len(token) > 1:
            inside = re.sub(r"([\\\[&~|])", r"\\\1", token[1:-1])
            parts.append(f"(?!/)[{'^' + inside[1:] if inside[:1] in ('!', '^') else inside}]")
        else:
            parts.append(re.escape(token))
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ConfigurationError(
            f"{pattern!r} is not a pattern: {error}", pattern=pattern
        ) from None
