"""The atomic step: segments come and go together with the sources they account for."""

from __future__ import annotations

import re
from hashlib import blake2s

import msgspec

from lakerunner.errors import InvalidTimeError
from lakerunner.model.segment import ColumnStats, Rejection, Segment, TakenSource
from lakerunner.model.times import TimeLike, isoformat, to_nanoseconds


class Unchanged(msgspec.Struct, frozen=True):
    """A part of a table that must be as it was: the same segments are live in it.

    Attributes:
        sequence: As it was after this commit.
        table: Of the organization of the commit.
        start_ns: Start of the time range, in nanoseconds since the epoch.
        end_ns: Its end, which is not part of it.
    """

    sequence: int
    table: str
    start_ns: int
    end_ns: int


class Commit(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that becomes visible at once, for one organization, in any of its tables.

    A commit may be sent again after a lost reply: its `id` makes the second sending harmless.

    Attributes:
        id: Unique; chosen by the writer before the first attempt.
        organization: Whose lake it changes.
        add: Segments that become visible, each in its own table.
        remove: Ids of segments that are replaced or retired, of any table.
        taken: Sources whose rows are in `add`.
        rejected: Sources, or parts of them, that were set aside.
        committed_ns: The writer's clock, in nanoseconds since the epoch.
        require_live: Ids of segments that must be live and stay so: what a rollup was made of.
        unchanged_since: What must not have changed since the writer looked.
        adopts: For a commit that `recover` makes again, the incarnation on whose behalf; its
            segments may then be of older ones. 0 for all others.
    """

    id: str
    organization: str
    committed_ns: int
    add: tuple[Segment, ...] = ()
    remove: tuple[str, ...] = ()
    taken: tuple[TakenSource, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    require_live: tuple[str, ...] = ()
    unchanged_since: tuple[Unchanged, ...] = ()
    adopts: int = 0


class ColumnSummary(msgspec.Struct, frozen=True):
    """How one column appears across all live segments of a table.

    Attributes:
        types: The distinct column types, sorted.
        physical: Segments in which it is a column of its own.
        overflow: Segments in which it lives in the overflow map.
    """

    types: tuple[str, ...]
    physical: int
    overflow: int


class Snapshot(msgspec.Struct, frozen=True):
    """The state of one table after some commit.

    Attributes:
        sequence: Number of the last commit it includes; grows with every commit to the catalog.
        segments: Live segments.
        rows: Rows in them.
        bytes: Bytes in them.
        columns: Every column of every live segment, by name.
    """

    sequence: int
    segments: int
    rows: int
    bytes: int
    columns: dict[str, ColumnSummary]


def summarise_columns(columns: list[dict[str, ColumnStats]]) -> dict[str, ColumnSummary]:
    """Fold the columns of many segments into one summary by name.

    Example:
        >>> a, b = {"x": ColumnStats("int64")}, {"x": ColumnStats("string", overflow=True)}
        >>> summarise_columns([a, b])
        {'x': ColumnSummary(types=('int64', 'string'), physical=1, overflow=1)}
    """
    types: dict[str, set[str]] = {}
    counts: dict[str, list[int]] = {}
    for stats in columns:
        for name, column in stats.items():
            types.setdefault(name, set()).add(column.type)
            counts.setdefault(name, [0, 0])[column.overflow] += 1
    return {
        name: ColumnSummary(tuple(sorted(types[name])), physical, overflow)
        for name, (physical, overflow) in counts.items()
    }


# Where a catalog stands, and the epochs by which late writers are told from timely ones.

EPOCH_BITS = 40
"""Bits of an epoch that hold the sequence; those above hold the incarnation."""

_ID = re.compile(r"[0-9a-f]{16}-([0-9a-f]{16})-[0-9a-f]{16}")


class Head(msgspec.Struct, frozen=True):
    """Where a catalog stands.

    Attributes:
        sequence: Number of the last commit; 0 before the first.
        lake: Identity of the lake it belongs to; empty if none has claimed it.
        incarnation: How often the lake was recovered, counted from 1; 0 if no lake has claimed it.
        whole: Whether all of the lake is in it. Not so while it is being recovered.
        floor: Epoch below which no segment is added.
        purged: Sequence of the last removal that was forgotten; states before it cannot be read.

    Example:
        >>> Head(sequence=7, incarnation=1).epoch == (1 << EPOCH_BITS) + 7
        True
    """

    sequence: int
    lake: str = ""
    incarnation: int = 0
    whole: bool = True
    floor: int = 0
    purged: int = 0

    @property
    def epoch(self) -> int:
        """Incarnation and sequence as one number, which only grows."""
        return (self.incarnation << EPOCH_BITS) + self.sequence


def epoch_of(segment_id: str) -> int | None:
    """The epoch in a segment's id: what its writer had read before it put anything.

    None for an id that has none. Such a one is never too late, and is condemned for ever.

    Example:
        >>> epoch_of("18867251edfa0000-0000010000000007-0000000000000000") == (1 << 40) + 7
        True
        >>> epoch_of("s1")
    """
    match = _ID.fullmatch(segment_id)
    return int(match[1], 16) if match else None


def incarnation_of(epoch: int) -> int:
    """The incarnation in an epoch.

    Example:
        >>> incarnation_of((3 << EPOCH_BITS) + 7)
        3
    """
    return epoch >> EPOCH_BITS


# A state of a lake that can be returned to: its number, and when it was the current one.

_TEXT = re.compile(r"(\d+)(?:\.(\d+))?@(\S+)")


class LakeSnapshot(msgspec.Struct, frozen=True, order=True):
    """A state of a whole lake, for `Lake.at`. Its text can be kept, and read by `read_snapshot`.

    Attributes:
        sequence: Number of the last commit it includes.
        time_ns: When it was the current one, in nanoseconds since the epoch.
        incarnation: Of the lake: a recovery begins another one, with numbers of its own. 0 for a
            catalog that no lake has claimed.

    Example:
        >>> str(LakeSnapshot(42, 1767225600000000000, incarnation=1))
        '42.1@2026-01-01T00:00:00Z'
    """

    sequence: int
    time_ns: int
    incarnation: int = 0

    def __str__(self) -> str:
        life = f".{self.incarnation}" if self.incarnation else ""
        return f"{self.sequence}{life}@{isoformat(self.time_ns)}"


_SEALED = 1 << 62
_HALF, _ROUNDS = 31, 4


def seal(sequence: int, key: str) -> int:
    """A number that stands for a sequence and tells nothing of it to who does not know the key.

    Args:
        sequence: Below 2**62.
        key: A secret; each makes another permutation of all numbers.

    Example:
        >>> sealed = seal(42, "secret")
        >>> sealed >= 2**62, unseal(sealed, "secret"), unseal(42, "secret")
        (True, 42, 42)
    """
    left, right = divmod(sequence, 1 << _HALF)
    for turn in range(_ROUNDS):
        left, right = right, left ^ _mixed(right, turn, key)
    return _SEALED | left << _HALF | right


def unseal(number: int, key: str) -> int:
    """The sequence that `seal` made a number of; any smaller number is a sequence as it stands."""
    if number < _SEALED:
        return number
    left, right = divmod(number - _SEALED, 1 << _HALF)
    for turn in reversed(range(_ROUNDS)):
        left, right = right ^ _mixed(left, turn, key), left
    return left << _HALF | right


def _mixed(half: int, turn: int, key: str) -> int:
    digest = blake2s(f"{turn}.{half}".encode(), key=blake2s(key.encode()).digest()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def read_snapshot(value: LakeSnapshot | TimeLike, *, now_ns: int) -> LakeSnapshot | int:
    """Read what a person wrote as a state of the past.

    Args:
        value: A snapshot, the text of one, or a time.
        now_ns: What `now` means, in nanoseconds since the epoch.

    Returns:
        The snapshot, or nanoseconds since the epoch if it is a time.

    Raises:
        InvalidTimeError: It is neither.

    Example:
        >>> read_snapshot("42.1@2026-01-01T00:00:00Z", now_ns=0)
        LakeSnapshot(sequence=42, time_ns=1767225600000000000, incarnation=1)
        >>> read_snapshot("now-1s", now_ns=3 * 10**9)
        2000000000
    """
    if isinstance(value, LakeSnapshot):
        return value
    if isinstance(value, str) and (match := _TEXT.fullmatch(value.strip())):
        sequence, incarnation, time = match.groups()
        time_ns = to_nanoseconds(time, now_ns=now_ns)
        return LakeSnapshot(int(sequence), time_ns, int(incarnation or 0))
    try:
        return to_nanoseconds(value, now_ns=now_ns)
    except InvalidTimeError as error:
        raise InvalidTimeError(
            f"{error}; or give a snapshot, such as '42.1@2026-01-01T00:00:00Z'", value=value
        ) from None
