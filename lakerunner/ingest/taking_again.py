"""What was set aside, as input once more: objects that are still there, and stored lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import ObjectNotFoundError
from lakerunner.ingest.aside import are_kept, are_lines, stored_lines, unlisted_lines
from lakerunner.ingest.inputs import Inputs
from lakerunner.limits import MIB
from lakerunner.model.segment import HANDED, LAKE
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.text import repair_utf8
from lakerunner.store.base import ByteRange, GetResult, ObjectMeta
from lakerunner.store.counting import WrapperStore
from lakerunner.store.urls import bounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lakerunner.ingest.aside import StoredLines
    from lakerunner.model.segment import Rejection, Source
    from lakerunner.store import ObjectStore

_BLANK_LINES = 8 * MIB


class LinesAgain(NamedTuple):
    """Lines that were set aside, as objects to be taken.

    Attributes:
        inputs: The objects; each has the key and the place of the one whose lines it holds.
        format: Name of the format to read them in.
    """

    inputs: Inputs
    format: str


def objects_waiting(rejections: Iterable[Rejection]) -> dict[str, list[str]]:
    """Keys of the objects that were set aside as a whole, by bucket."""
    waiting: dict[str, dict[str, None]] = {}
    for rejection in rejections:
        source = rejection.source
        if not source.bucket.startswith((LAKE, *HANDED)) and not are_lines(source):
            waiting.setdefault(source.bucket, {})[source.key] = None
    return {bucket: list(keys) for bucket, keys in waiting.items()}


def lines_waiting(
    lake: ObjectStore,
    organization: str,
    rejections: Iterable[Rejection],
    format_name: str | None = None,
) -> Iterator[LinesAgain]:
    """Lines that were set aside and whose text was kept.

    Args:
        lake: The lake that keeps them.
        organization: Whose they are.
        rejections: What is set aside.
        format_name: As what to read them now; as before if not given.

    Yields:
        Objects of one bucket and one format, each key once; two versions of one object come one
        after the other.
    """
    waves: dict[tuple[str, str, int], dict[str, Source]] = {}
    seen: dict[tuple[str, str], int] = {}
    for source in dict.fromkeys(each.source for each in rejections if are_kept(each.source)):
        lines = stored_lines(lake, organization, source)
        if lines is None:
            continue
        version = seen.get((source.bucket, source.key), 0)
        seen[source.bucket, source.key] = version + 1
        waves.setdefault((source.bucket, lines.format, version), {})[source.key] = source
    for (bucket, before, _), sources in waves.items():
        now = format_name or before
        store = _LinesStore(lake, bucket, organization, sources, headed=now == before)
        yield LinesAgain(Inputs(store, map(store.head, sources)), now)


def clean_up(
    lake: ObjectStore, organization: str, rejections: Iterable[Rejection], before_ns: int
) -> None:
    """Delete stored lines that are listed no more; see `unlisted_lines`."""
    listed = [each.source for each in rejections]
    lake.delete_many(unlisted_lines(lake, organization, listed, before_ns))


def list_lines(lake: ObjectStore, organization: str, rejections: Sequence[Rejection]) -> pa.Table:
    """Every line that is set aside.

    Args:
        lake: The lake that keeps them.
        organization: Whose they are.
        rejections: What is set aside.

    Returns:
        A table of `at` (timestamp), `source` (URL), `line` (int64, from 1; NULL where a format has
        none), `code`, `reason` and `text` (NULL where it was too long to be kept), in the order of
        the rejections and of the lines.
    """
    at: dict[Source, int] = {}
    for each in rejections:
        if are_lines(each.source):
            at.setdefault(each.source, each.rejected_at_ns)
    tables = [_SHOWN.empty_table()]
    for source, moment in at.items():
        found = stored_lines(lake, organization, source)
        if found is None:
            continue
        wanted = pc.is_valid(found.table["text"])
        table = found.table.filter(wanted if are_kept(source) else pc.invert(wanted))
        text = repair_utf8(table["text"].combine_chunks()).text
        columns = {
            "at": pa.repeat(pa.scalar(moment, pa.int64()), len(table)).cast(TIMESTAMP),
            "source": pa.repeat(source.url, len(table)),
            **{name: table[name] for name in ("line", "code", "reason")},
            "text": text.cast(pa.string()),
        }
        tables.append(pa.table(columns, schema=_SHOWN))
    return pa.concat_tables(tables)


_SHOWN = pa.schema(
    [
        pa.field("at", TIMESTAMP),
        pa.field("source", pa.string()),
        pa.field("line", pa.int64()),
        pa.field("code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("text", pa.string()),
    ]
)


class _LinesStore(WrapperStore):
    """Presents stored lines as objects of the bucket that they came from; nothing can be put.

    Args:
        lake: The lake that keeps them.
        bucket: URL of the bucket.
        organization: Whose they are.
        sources: What they are to the catalog, by key.
        headed: Whether they are read in the format that their header is of.
    """

    def __init__(
        self,
        lake: ObjectStore,
        bucket: str,
        organization: str,
        sources: Mapping[str, Source],
        *,
        headed: bool,
    ) -> None:
        super().__init__(lake)
        self._headed = headed
        self.url = bucket
        self._organization = organization
        self._sources = sources

    def local_path(self, key: str) -> None:
        """Lines are no file."""
        del key

    def head(self, key: str) -> ObjectMeta:
        """Describe lines."""
        return self.get(key).meta

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read lines, or a part of them."""
        source = self._sources[key]
        lines = stored_lines(self.inner, self._organization, source)
        if lines is None:
            raise ObjectNotFoundError(f"the lines of {source.url} are not there", key=key)
        data = _written(lines if self._headed else lines._replace(head=b""))
        start, end = bounds(byte_range, len(data), key)
        meta = ObjectMeta(key, len(data), source.etag, lines.modified_ns)
        return GetResult(meta, data[start:end])


def _written(lines: StoredLines) -> bytes:
    """Lines one after the other, each with the number it had as far as that is no waste."""
    table = lines.table.filter(pc.is_valid(lines.table["text"]))
    texts, numbers = table["text"].to_pylist(), table["line"].to_pylist()
    parts, line = [lines.head], 1 + lines.head.count(b"\n")
    for text, number in zip(texts, numbers, strict=True):
        missing = max(number - line, 0)
        parts += [b"\n" * missing if number < _BLANK_LINES else b"", text, b"\n"]
        line = max(number, line) + 1 + text.count(b"\n")
    return b"".join(parts)
