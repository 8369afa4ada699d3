"""Segments, sources and commits for tests: everything a test does not care about has a default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.limits import WINDOW_NS
from lakerunner.model.commit import Commit
from lakerunner.model.segment import ColumnStats, Rejection, Segment, Source, TakenSource
from lakerunner.model.times import window_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ORGANIZATION = "acme"


def make_source(name: str, *, bucket: str = "s3://raw", etag: str = "1") -> Source:
    """The identity of an object.

    Example:
        >>> make_source("a.binpb").url
        's3://raw/a.binpb'
    """
    return Source(bucket, name, etag)


def make_segment(
    segment_id: str,
    first_ns: int = 0,
    last_ns: int = 0,
    *,
    organization: str = ORGANIZATION,
    table: str = "logs",
    rows: int = 1,
    size: int = 100,
    columns: Mapping[str, ColumnStats] | None = None,
) -> Segment:
    """A segment's entry; no file belongs to it.

    Args:
        segment_id: Its id, also part of its key.
        first_ns: Smallest timestamp.
        last_ns: Largest timestamp, inclusive; never taken to be below `first_ns`.
        organization: Whose it is.
        table: Which table it belongs to.
        rows: Number of rows.
        size: Bytes.
        columns: Statistics by column name; by default only `timestamp`.

    Example:
        >>> make_segment("s1", 10, 20).max_timestamp_ns
        20
    """
    last_ns = max(first_ns, last_ns)
    return Segment(
        id=segment_id,
        organization=organization,
        table=table,
        key=f"{organization}/{table}/{segment_id}.parquet",
        window_start_ns=window_start(first_ns, WINDOW_NS),
        window_ns=WINDOW_NS,
        min_timestamp_ns=first_ns,
        max_timestamp_ns=last_ns,
        rows=rows,
        bytes=size,
        sort=("resource_service_name", "timestamp"),
        columns=dict(columns)
        if columns is not None
        else {"timestamp": ColumnStats("timestamp", min=first_ns, max=last_ns)},
        created_ns=0,
        commit_id="",
    )


def make_commit(
    commit_id: str,
    *,
    organization: str = ORGANIZATION,
    add: Iterable[Segment] = (),
    remove: Iterable[str] = (),
    take: Iterable[Source] = (),
    reject: Iterable[Source] = (),
    committed_ns: int = 0,
) -> Commit:
    """A commit; every source it takes has one row, every source it rejects has one reason.

    Example:
        >>> make_commit("c1", take=[make_source("a")]).taken[0].rows
        1
    """
    return Commit(
        id=commit_id,
        organization=organization,
        committed_ns=committed_ns,
        add=tuple(add),
        remove=tuple(remove),
        taken=tuple(TakenSource(source, rows=1) for source in take),
        rejected=tuple(make_rejection(source, at_ns=committed_ns) for source in reject),
    )


def make_rejection(
    source: Source, reason: str = "broken", *, at_ns: int = 0, rows: int | None = None
) -> Rejection:
    """A reason for which a source, or some of its rows, was set aside.

    Example:
        >>> make_rejection(make_source("a"), rows=3).code
        'corrupt_object'
    """
    return Rejection(source, "corrupt_object", reason, rejected_at_ns=at_ns, rows=rows)
