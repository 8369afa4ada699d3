"""Commit what a batch produced: at most once, whatever happens to the replies."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, TypeAlias

from lakerunner.errors import CommitConflictError
from lakerunner.formats.detect import signal_by_name
from lakerunner.ingest.batch import ingest_batch
from lakerunner.ingest.task import commit_id
from lakerunner.model.commit import Commit
from lakerunner.model.report import IngestReport
from lakerunner.model.signal import Signal
from lakerunner.model.source import Rejection, TakenSource
from lakerunner.publish.committing import publish_commit
from lakerunner.retrying import retrying
from lakerunner.schema.tables import TABLE_OF, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.ingest.task import IngestOutcome
    from lakerunner.model.source import Source


Replaced: TypeAlias = "Mapping[str, Sequence[Source]]"
"""By key: versions of objects that were set aside as a whole."""

NONE_REPLACED: Replaced = {}


def replaced_in(rejections: Iterable[Rejection], bucket: str) -> Replaced:
    """The versions of objects of a bucket that were set aside as a whole, by key."""
    found: dict[str, list[Source]] = {}
    for rejection in rejections:
        if rejection.rows is None and rejection.source.bucket == bucket:
            found.setdefault(rejection.source.key, []).append(rejection.source)
    return found


def commit_outcome(
    catalog: Catalog,
    outcome: IngestOutcome,
    *,
    record: bool = True,
    attempt: int = 1,
    replaced: Replaced = NONE_REPLACED,
) -> IngestReport:
    """Commit a batch, table by table, and report on it.

    When another ingestor took some of the sources meanwhile, the batch is made again from the
    others, and the segments made in vain are deleted.

    Args:
        catalog: Where to.
        outcome: What the batch produced.
        record: Whether to record sources; bytes given by hand have no identity.
        attempt: How often these objects have been tried, this time included.
        replaced: Older versions that were set aside. Where a newer one is taken, the older are
            settled: nobody can read them any more.

    Raises:
        CommitConflictError: Bytes given by hand were made into segments so slowly that these can no
            longer be committed; nothing is visible.
        CatalogError: A commit failed. Of each table, all of the batch is visible or nothing.
    """
    task = outcome.task
    report = IngestReport(failed=outcome.failed, bytes_read=outcome.bytes_read)
    if not record:
        aside = tuple(line for lines in outcome.aside.values() for line in lines)
        report += IngestReport(rejected=(*outcome.rejected, *aside))
    for table, commit in _commits(outcome, replaced, record=record):
        try:
            publish_commit(catalog, task.lake, commit, task.config, begun_ns=task.started_ns)
        except CommitConflictError as conflict:
            if not record:
                raise
            report += _again(catalog, outcome, commit, conflict, attempt)
            continue
        taken = outcome.taken.get(table, ())
        report += IngestReport(
            objects=len(taken),
            rows=sum(each.rows for each in taken),
            rejected=commit.rejected,
            segments=len(commit.add),
            bytes_written=sum(segment.bytes for segment in commit.add),
        )
    return report


def _commits(
    outcome: IngestOutcome, replaced: Replaced, *, record: bool
) -> list[tuple[str, Commit]]:
    """One commit for each table of a batch; a rejection goes with the one its name speaks of."""
    rejected: dict[str, list[Rejection]] = {}
    if record:
        rejected |= {table: list(lines) for table, lines in outcome.aside.items()}
        for rejection in outcome.rejected:
            signal = signal_by_name(rejection.source.key) or Signal.LOGS
            rejected.setdefault(TABLE_OF[signal].name, []).append(rejection)
    task = outcome.task
    return [
        (
            table,
            Commit(
                id=commit_id(task.batch_id, table),
                organization=task.account,
                committed_ns=time.time_ns(),
                add=tuple(segment for segment in outcome.segments if segment.table == table),
                taken=_with_replaced(outcome.taken.get(table, ()), replaced) if record else (),
                rejected=tuple(rejected.get(table, ())),
            ),
        )
        for table in TABLES
        if table in outcome.taken or table in rejected
    ]


def _with_replaced(taken: tuple[TakenSource, ...], replaced: Replaced) -> tuple[TakenSource, ...]:
    """Sources, and those of their older versions that were set aside, without any row."""
    new = {each.source: None for each in taken}
    old = {
        source: None
        for source in new
        for source in replaced.get(source.key, ())
        if source not in new
    }
    return (*taken, *(TakenSource(source, 0) for source in old))


def _again(
    catalog: Catalog,
    outcome: IngestOutcome,
    commit: Commit,
    conflict: CommitConflictError,
    attempt: int,
) -> IngestReport:
    """Make and commit a part of a batch again, without what others have taken meanwhile."""
    task = outcome.task
    # A source of which lines were set aside is named twice.
    now = frozenset(taken.source for each in outcome.taken.values() for taken in each)
    named = {taken.source: None for taken in commit.taken if taken.source in now}
    named |= {rejection.source: None for rejection in commit.rejected}
    sources = list(named)
    known = retrying(lambda: catalog.sources(sources), task.config)
    left = {source.key: source for source in sources if source not in known}
    skipped = IngestReport(skipped=len(sources) - len(left))
    if not left:
        return skipped
    # Whoever loses a part of its sources to others has fewer each time, so that this ends: only
    # refusals that leave all of them count as attempts.
    attempt += len(left) == len(sources)
    if attempt > task.config.attempts:
        now_ns = time.time_ns()
        lost = (Rejection(s, conflict.code.value, conflict.message, now_ns) for s in left.values())
        return skipped + IngestReport(failed=tuple(lost))
    smaller = task._replace(
        batch_id=uuid.uuid4().hex,
        objects=tuple(item for item in task.objects if item.key in left),
        started_ns=time.time_ns(),
    )
    return skipped + commit_outcome(catalog, ingest_batch(smaller), attempt=attempt)
