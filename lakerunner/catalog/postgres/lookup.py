"""Finding many sources or segments by their keys, in one statement each."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

from lakerunner.model.segment import Source, SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_INDEXED_BYTES = 800
"""Bytes of one text in an index: with three of them an entry still fits into a third of a page,
which is all that PostgreSQL allows."""

# OFFSET 0 keeps the inner query as it is: a lookup by the whole key. Joined freely, the server may
# walk all rejections of a bucket for each one, as long as it believes that there are few.
ASIDE: LiteralString = """
    SELECT asked.position, false AS taken
    FROM unnest(%(bucket)s::text[], %(key)s::text[], %(etag)s::text[])
        WITH ORDINALITY AS asked (bucket, key, etag, position)
    JOIN buckets ON buckets.url = asked.bucket
    WHERE EXISTS (
        SELECT FROM rejections
        WHERE bucket = buckets.number AND key = asked.key AND etag = asked.etag OFFSET 0)"""
"""Positions of those that are set aside, wholly or in part; they count from 1."""

SEGMENTS: LiteralString = """
    SELECT id, removed, payload FROM segments WHERE id = ANY(%(ids)s::text[])"""


class SegmentRow(NamedTuple):
    """What decides whether a segment may be added, removed or purged.

    Attributes:
        id: Its id.
        removed: The commit that removed it, if any did.
        payload: Its description.
    """

    id: str
    removed: int | None
    payload: bytes

    @property
    def live(self) -> bool:
        """Whether it is part of the current state."""
        return self.removed is None


def fold(text: str) -> str:
    """A text as the indexes hold it: itself, unless it is too long or has a NUL in it.

    Of such a one it is the beginning and a digest of the whole, which no other text has.

    Example:
        >>> fold("logs/1.binpb"), len(fold("é" * 5000).encode()) < 900
        ('logs/1.binpb', True)
    """
    data = text.encode()
    if len(data) <= _INDEXED_BYTES and b"\0" not in data:
        return text
    head = data[: _INDEXED_BYTES // 2].decode(errors="ignore").replace("\0", "")
    return f"{head}…{blake2b(data, digest_size=32).hexdigest()}"


def folded(source: Source) -> Source:
    """A source with all of its parts folded."""
    return Source(fold(source.bucket), fold(source.key), fold(source.etag))


def identities(sources: Iterable[Source]) -> dict[str, list[str]]:
    """The parts of many sources, folded, as the arrays `bucket`, `key` and `etag`."""
    all_folded = [folded(source) for source in sources]
    return {
        "bucket": [source.bucket for source in all_folded],
        "key": [source.key for source in all_folded],
        "etag": [source.etag for source in all_folded],
    }


def states_of(
    sources: Sequence[Source], rows: Iterable[tuple[Any, ...]]
) -> dict[Source, SourceState]:
    """The answers to `ledger.TAKEN` and `ASIDE`, by source: what was taken is taken."""
    known = sorted(rows)
    return {
        sources[position - 1]: SourceState.TAKEN if taken else SourceState.REJECTED
        for position, taken in known
    }
