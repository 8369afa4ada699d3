"""Lines that were set aside, each with its text: objects beside the lake, told by the catalog.

A catalog knows only how many they are and why. For it they are a source of their own, whose etag
is that of their object with a mark and the name of the batch: so they can be taken once.
"""

from __future__ import annotations

import io
import time
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lakerunner.fencing.identity import PREFIX
from lakerunner.formats.records.delimited_split import PREAMBLE
from lakerunner.formats.records.lines import slices
from lakerunner.limits import MIB, REJECTIONS_OF_AN_OBJECT
from lakerunner.model.segment import Rejection, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.formats.base import Part
    from lakerunner.schema.tables import SetAside
    from lakerunner.store import ObjectStore

_PREFIX = f"{PREFIX}aside/"
_MARK = "+lines:"
_UNREAD = "+unread:"
_FLUSH_BYTES = 8 * MIB
_DELIMITED = frozenset({"csv", "tsv"})
_NEWLINE, _QUOTE = ord("\n"), ord('"')
_MOST_LINES = 1000  # of a row in quotes

SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64()),
        pa.field("code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("text", pa.binary()),
    ]
)
"""Columns of the objects: `line` is NULL where a format has none, `text` where it is not kept."""


class StoredLines(NamedTuple):
    """Lines of one object that were set aside, as they are read again.

    Attributes:
        table: As `SCHEMA`.
        format: Name of the format they were read as.
        head: What stands before them, if they have a header.
        modified_ns: Time of their object.
    """

    table: pa.Table
    format: str
    head: bytes
    modified_ns: int


def source_of_lines(source: Source, batch: str, *, kept: bool) -> Source:
    """What lines of an object are to a catalog.

    Args:
        source: The object, or lines of it that were set aside before.
        batch: The batch in which they were set aside.
        kept: Whether their text is there, so that they can be taken again.

    Example:
        >>> once = source_of_lines(Source("s3://raw", "a.json", "9a"), "b1", kept=True)
        >>> once.etag, source_of_lines(once, "b2", kept=False).etag
        ('9a+lines:b1', '9a+unread:b2')
    """
    etag = object_of(source).etag
    return Source(source.bucket, source.key, f"{etag}{_MARK if kept else _UNREAD}{batch}")


def object_of(source: Source) -> Source:
    """The object that a source is, or is lines of."""
    etag = source.etag.partition(_MARK)[0].partition(_UNREAD)[0]
    return source if etag == source.etag else Source(source.bucket, source.key, etag)


def are_lines(source: Source) -> bool:
    """Whether a source is lines of an object."""
    return object_of(source) != source


def are_kept(source: Source) -> bool:
    """Whether a source is lines of an object whose text was kept."""
    return _MARK in source.etag


def batch_of(source: Source) -> str:
    """The batch in which the lines of a source were set aside; empty for an object."""
    return source.etag.rpartition(":")[2] if are_lines(source) else ""


def stored_lines(store: ObjectStore, organization: str, source: Source) -> StoredLines | None:
    """Read lines of an object that were set aside; None if they are not there.

    Args:
        store: The lake.
        organization: Whose they are.
        source: As `source_of_lines` gave it.
    """
    prefix = f"{_PREFIX}{organization}/{batch_of(source)}/{_name(object_of(source))}-"
    tables = [
        pq.read_table(pa.BufferReader(store.get(item.key).data)) for item in store.list(prefix)
    ]
    if not tables:
        return None
    said = tables[0].schema.metadata
    return StoredLines(
        pa.concat_tables(tables).replace_schema_metadata(None),
        said[b"format"].decode(),
        said[b"head"],
        int(said[b"modified_ns"]),
    )


def unlisted_lines(
    store: ObjectStore, organization: str, listed: Iterable[Source], before_ns: int
) -> list[str]:
    """Keys of lines that no catalog lists any more: they were taken, or a crash left them behind.

    Args:
        store: The lake.
        organization: Whose they are.
        listed: The sources of all that is set aside.
        before_ns: What was put later may be of a commit that is on its way.
    """
    place = f"{_PREFIX}{organization}/"
    names = {f"{batch_of(each)}/{_name(object_of(each))}" for each in listed if are_lines(each)}
    return [
        item.key
        for item in store.list(place)
        if item.modified_ns < before_ns
        and item.key.removeprefix(place).rpartition("-")[0] not in names
    ]


def organizations_of_lines(store: ObjectStore) -> list[str]:
    """The organizations of which a lake keeps lines, in order."""
    keys = (item.key.removeprefix(_PREFIX) for item in store.list(_PREFIX))
    return sorted({key.partition("/")[0] for key in keys})


def _name(source: Source) -> str:
    named = f"{source.bucket}\0{source.key}\0{source.etag}"
    return blake2b(named.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def head_of_rows(data: bytes, format_name: str) -> bytes:
    r"""What stands before the rows of a part, and is needed to read some of them again.

    Example:
        >>> head_of_rows(b"# made today\na,b\n1,2\n", "csv"), head_of_rows(b"a\n", "json")
        (b'# made today\na,b\n', b'')
    """
    if format_name not in _DELIMITED:
        return b""
    preamble = PREAMBLE.match(data)
    end = data.find(b"\n", preamble.end() if preamble else 0) + 1
    return data[: end or len(data)]


def texts_of(data: bytes, numbers: tuple[int, ...], format_name: str) -> Any:
    r"""Lines of a part, as binary, by their numbers.

    Args:
        data: The part.
        numbers: From 1, ascending.
        format_name: Rows of delimited text go on behind their line while a quote is open.

    Example:
        >>> texts_of(b"a\nb\r\nc", (2, 3), "json").to_pylist()
        [b'b\r', b'c']
    """
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
    starts = np.concatenate([[0], newlines + 1])
    ends = np.concatenate([newlines, [len(data)]])
    wanted = np.array(numbers, np.int64) - 1
    wanted = wanted[wanted < len(starts)]
    last = wanted.copy()
    if format_name in _DELIMITED:
        bounds = np.append(wanted, len(starts))
        for place, (first, following) in enumerate(pairwise(bounds.tolist())):
            limit = min(following, first + _MOST_LINES)
            while last[place] + 1 < limit and (
                data.count(_QUOTE, int(starts[first]), int(ends[last[place]])) % 2
            ):
                last[place] += 1
    return slices(data, starts[wanted], ends[last], pa.binary())


def _table(found: Found) -> pa.Table:
    aside = found.aside
    lines = np.array(aside.lines, np.int64) + (found.first_line - 1)
    unnumbered = aside.rows if not len(lines) else 0
    count = len(lines) + unnumbered
    line = pa.concat_arrays([pa.array(lines, pa.int64()), pa.nulls(unnumbered, pa.int64())])
    texts = pa.nulls(count, pa.binary()) if found.texts is None else found.texts
    code, reason = (pa.repeat(text, count) for text in (str(aside.code), aside.reason))
    return pa.Table.from_arrays([line, code, reason, texts], schema=SCHEMA)


# Lines that were set aside, as rejections of the object they stand in.

_NAMED_LINES = 10


class Found(NamedTuple):
    """Lines of one part of an object that were set aside.

    Attributes:
        aside: The lines, numbered within the part.
        first_line: Number of the part's first line within the object.
        texts: `pa.BinaryArray` of the lines; None where they are not kept.
        head: What stands before them in their part and is needed to read them again.
    """

    aside: SetAside
    first_line: int
    texts: Any = None
    head: bytes = b""

    @classmethod
    def of(cls, lines: SetAside, part: Part, format_name: str) -> Found:
        """Lines of a part, with their text where it can be told."""
        texts = texts_of(part.data, lines.lines, format_name) if lines.lines else None
        if texts is None or len(texts) != lines.rows:
            return cls(lines, part.line)
        return cls(lines, part.line, texts, head_of_rows(part.data, format_name))


class LinesAside:
    """Lines of one object that are set aside: put beside the lake as they come, and counted.

    Not more than `_FLUSH_BYTES` of their text are held. What is put of an object that is refused
    afterwards belongs to nobody, and is swept. Used by one thread.

    Args:
        store: The lake.
        organization: Whose they are.
        batch: Names the batch; empty for an object that is not recorded, of which nothing is put.
        source: The object, or lines of it that were set aside before.
        format_name: As what they were read.
        modified_ns: Time of the object.
    """

    def __init__(
        self,
        store: ObjectStore,
        organization: str,
        batch: str,
        source: Source,
        format_name: str,
        modified_ns: int,
    ) -> None:
        self._store = store
        self._place = f"{_PREFIX}{organization}/{batch}/{_name(object_of(source))}-"
        self._metadata = {
            b"format": format_name.encode(),
            b"modified_ns": str(modified_ns).encode(),
        }
        self._recorded = bool(batch)
        self._kinds = dict.fromkeys((True, False), source)
        if batch:
            self._kinds = {
                kept: source_of_lines(source, batch, kept=kept) for kept in (True, False)
            }
        self._waiting: list[pa.Table] = []
        self._pieces = 0
        self._lines: dict[tuple[bool, str, str], list[int]] = {}
        self._counts: dict[tuple[bool, str, str], int] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._counts)

    def add(self, found: Iterable[Found]) -> None:
        """Set lines aside.

        Args:
            found: Of one part, behind those that were added before.

        Raises:
            StoreError: They cannot be put.
        """
        for each in found:
            self._count(each)
            if self._recorded:
                self._metadata.setdefault(b"head", each.head)
                self._waiting.append(_table(each))
        if sum(table.nbytes for table in self._waiting) > _FLUSH_BYTES:
            self.put()

    def put(self) -> None:
        """Put all that was added; durable on return.

        Raises:
            StoreError: They cannot be put.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        table = pa.concat_tables(waiting).sort_by("line")
        rows = max(1, table.num_rows * _FLUSH_BYTES // max(table.nbytes, 1))
        for at in range(0, table.num_rows, rows):
            piece = table.slice(at, rows).replace_schema_metadata(self._metadata)
            buffer = io.BytesIO()
            pq.write_table(piece, buffer, compression="zstd")
            self._store.put(f"{self._place}{self._pieces:06d}", buffer.getvalue())
            self._pieces += 1

    def rejections(self) -> list[Rejection]:
        """One rejection for each reason, which names the first lines it holds for.

        Beyond `limits.REJECTIONS_OF_AN_OBJECT` reasons, the last stands for all others.
        """
        now_ns = time.time_ns()
        return [
            Rejection(
                self._kinds[kept],
                code,
                f"{_say(self._lines[kept, code, reason], rows)}: {reason}",
                now_ns,
                rows,
            )
            for (kept, code, reason), rows in self._counts.items()
        ]

    def _count(self, found: Found) -> None:
        aside, kept = found.aside, found.texts is not None
        reason = (kept, aside.code, aside.reason)
        if reason not in self._counts and len(self._counts) >= REJECTIONS_OF_AN_OBJECT:
            reason = (kept, aside.code, "other reasons")
        self._counts[reason] = self._counts.get(reason, 0) + aside.rows
        named = self._lines.setdefault(reason, [])
        first = found.first_line - 1
        named += [first + line for line in aside.lines[: _NAMED_LINES - len(named)]]


def _say(lines: list[int], rows: int) -> str:
    """Name lines, or count records where there are none.

    Example:
        >>> _say([3], 1), _say([3, 17], 40), _say([], 2)
        ('line 3', 'lines 3, 17 and 38 more', '2 records')
    """
    if not lines:
        return f"{rows:,} {'record' if rows == 1 else 'records'}"
    named = ", ".join(map(str, lines))
    rest = f" and {rows - len(lines):,} more" if rows > len(lines) else ""
    return f"{'line' if rows == 1 else 'lines'} {named}{rest}"
