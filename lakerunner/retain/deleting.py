"""Deletions by condition: asked for in one commit, carried out window by window, and proven."""

from __future__ import annotations

import time
import uuid
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from lakerunner.catalog.change import concerned, pending_deletions
from lakerunner.fencing import Fence
from lakerunner.fencing.intents import withdraw_intent
from lakerunner.model.commit import Commit
from lakerunner.model.deletion import (
    DELETED,
    DELETIONS,
    Deletion,
    Proof,
    age_of,
    statement_of,
)
from lakerunner.model.report import WorkReport
from lakerunner.model.times import NANOS
from lakerunner.publish import Origin, SegmentWriter, make_segments, publish_commit
from lakerunner.publish.committing import announce_removal, publish_removal, read_footer
from lakerunner.retain.rewriting import judge_rows, write_rest
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import OWN_TABLES
from lakerunner.tasks import Manner, Task, run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.commit import Head
    from lakerunner.model.segment import Segment
    from lakerunner.publish import MadeSegment
    from lakerunner.retain.rewriting import Judged
    from lakerunner.scope import Scope
    from lakerunner.tasks import Hold

_WHAT = "delete"
_WINDOW = attrgetter("window_start_ns", "resolution_ns")
_WINDOW_NS = 3600 * NANOS


def ask_for(scope: Scope, deletion: Deletion) -> Deletion:
    """Make rows invisible, from one commit on; `carry_out` takes them out of the files.

    Args:
        scope: Whose rows.
        deletion: Which; its id, its epoch and its time are filled in.

    Returns:
        The deletion as it is held from now on.

    Raises:
        CatalogMismatchError: The catalog is not this lake's, or was recovered meanwhile.
        CatalogError: There is no answer: it may have been applied; to ask again does no harm.
        StoreError: It cannot be put.
    """
    fence = Fence(scope.store, scope.catalog)
    head = fence.begin()
    name, now_ns = uuid.uuid4().hex, time.time_ns()
    asked = replace(deletion, id=name, asked_ns=now_ns, epoch=head.epoch)
    origin = Origin(scope.organization, name, epoch=head.epoch)
    writer = SegmentWriter(scope.store, scope.config)
    writer.add(_stated(DELETIONS, asked, now_ns, origin))
    commit = Commit(name, scope.organization, now_ns, add=writer.finish())
    publish_commit(fence, commit, scope.config)
    fence.leave_height()
    return asked


def carry_out(scope: Scope, manner: Manner, *, dry_run: bool = False) -> WorkReport:
    """Rewrite whatever has rows that are to be deleted, and prove what is complete.

    Args:
        scope: The lake; if it is bound, only deletions of its organization.
        manner: How.
        dry_run: Only say what would be done.

    Raises:
        CatalogMismatchError: The catalog is not this lake's, or was recovered meanwhile.
    """
    tasks = _rewrites(scope)
    if dry_run:
        return WorkReport(_WHAT, planned=tuple(map(_line, tasks)))
    done = run_tasks(scope, _WHAT, tasks, _rewrite, manner)
    return done + run_tasks(scope, _WHAT, list(_completions(scope)), _complete, manner)


def _owners(scope: Scope) -> Iterator[str]:
    for owner, table in scope.catalog.tables():
        if table == DELETIONS and (not scope.bound or owner == scope.organization):
            yield owner


def _rewrites(scope: Scope) -> Iterator[Task[tuple[Segment, ...]]]:
    for owner in _owners(scope):
        pending = pending_deletions(scope.catalog, owner)
        clean = _clean(scope.catalog, owner)
        for table in sorted({one.table for one in pending}):
            found = sorted(_left(scope.catalog, owner, table, pending, clean), key=_WINDOW)
            for (start_ns, resolution_ns), segments in groupby(found, _WINDOW):
                part = str(resolution_ns) if resolution_ns else ""
                yield Task(_WHAT, owner, table, start_ns, tuple(segments), part)


def _left(
    catalog: Catalog,
    owner: str,
    table: str,
    pending: Sequence[Deletion],
    clean: set[tuple[str, str]],
) -> Iterator[Segment]:
    """Live segments of a table that have not been judged yet by all deletions that concern them."""
    for page in catalog.pages(owner, table):
        for segment in page:
            if any((one.id, segment.id) not in clean for one in concerned(pending, segment)):
                yield segment


def _clean(catalog: Catalog, owner: str) -> set[tuple[str, str]]:
    """Deletions and segments of which it is known that the one concerns no row of the other."""
    stated = (statement_of(one, Proof) for one in catalog.segments(owner, DELETED))
    return {(one.deletion.id, name) for one in stated for name in one.clean}


def _line(task: Task[tuple[Segment, ...]]) -> str:
    rows, size = sum(one.rows for one in task.payload), sum(one.bytes for one in task.payload)
    return (
        f"{task.name}: judge {rows:,} rows of {len(task.payload):,} segments "
        f"({size / 1e6:,.1f} MB), and rewrite those with rows to be deleted"
    )


class _Found(NamedTuple):
    """A segment as it was judged, and the deletions that it was judged by."""

    judged: Judged
    deletions: tuple[Deletion, ...]


def _rewrite(scope: Scope, task: Task[tuple[Segment, ...]], hold: Hold) -> WorkReport:
    fence = Fence(scope.store, scope.catalog)
    head = fence.begin()
    pending = pending_deletions(scope.catalog, task.organization, task.table)
    clean = _clean(scope.catalog, task.organization)
    wanted = {one.id for one in task.payload}
    found: list[_Found] = []
    failure: Exception | None = None
    for segment in _left(scope.catalog, task.organization, task.table, pending, clean):
        if segment.id not in wanted:
            continue
        hold.check()
        deletions = tuple(concerned(pending, segment))
        try:
            found.append(_Found(judge_rows(scope.store, segment, deletions), deletions))
        except Exception as error:  # noqa: BLE001 - the other segments of the window go on
            failure = error
    report = _replace(scope, fence, head, found, pending, hold) if found else WorkReport(_WHAT)
    if failure is not None:
        raise failure  # what was done stays; the task is tried again later
    return report


def _replace(
    scope: Scope,
    fence: Fence,
    head: Head,
    found: Sequence[_Found],
    pending: Sequence[Deletion],
    hold: Hold,
) -> WorkReport:
    """One commit: segments without their deleted rows in the place of others, and proof of it."""
    commit_id, now_ns = uuid.uuid4().hex, time.time_ns()
    dirty = [one.judged for one in found if one.judged.gone is not None]
    gone = [one.segment for one in dirty]
    described = [read_footer(scope.store, one.key, one.bytes) for one in gone]
    announced = announce_removal(fence, _WHAT, gone, head, commit_id=commit_id) if gone else None
    writer = SegmentWriter(scope.store, scope.config)
    applied = tuple(one.id for one in pending)
    try:
        for judged, footer in zip(dirty, described, strict=True):
            origin = _origin(footer, commit_id, head, applied)
            rest = write_rest(scope.store, judged, origin, hold)
            if rest is not None:
                writer.add(rest)
        origin = _proof_origin(scope.organization, described, commit_id, head)
        for proof in _proofs(found, commit_id, now_ns):
            writer.add(_stated(DELETED, proof, now_ns, origin))
        added = writer.finish()
    except Exception:
        writer.discard()
        if announced is not None:
            withdraw_intent(scope.store, announced)
        raise
    commit = Commit(
        commit_id, scope.organization, now_ns, add=added, remove=tuple(one.id for one in gone)
    )
    if announced is None:
        publish_commit(fence, commit, scope.config)
    else:
        publish_removal(fence, commit, announced, head, scope.config)
    fence.leave_height()
    rows = [one for one in added if one.table != DELETED]
    return WorkReport(
        _WHAT,
        tasks=1,
        removed=len(gone),
        added=len(rows),
        rows_read=sum(one.judged.segment.rows for one in found),
        rows_written=sum(one.rows for one in rows),
        rows_removed=sum(one.segment.rows - one.left for one in dirty),
        bytes_read=sum(one.judged.segment.bytes for one in found),
        bytes_written=sum(one.bytes for one in rows),
    )


def _origin(footer: Segment, commit_id: str, head: Head, applied: tuple[str, ...]) -> Origin:
    """The lineage of a rewrite: it stands for one segment, and for all that this one stood for."""
    kept = {name: getattr(footer, name) for name in Origin._fields}
    kept |= {
        "commit_id": commit_id,
        "parents": (footer.id,),
        "replaces": (footer.id, *footer.replaces),
        "attests": tuple(dict.fromkeys([*footer.siblings, *footer.attests])),
        "kind": "rewrite",
        "epoch": head.epoch,
        "oldest": age_of(footer),
        "applied": applied,
    }
    return Origin(**kept)


def _proof_origin(
    organization: str, described: Sequence[Segment], commit_id: str, head: Head
) -> Origin:
    """A proof stands for all that went: of a window of which nothing is left, it alone does."""
    return Origin(
        organization,
        commit_id,
        sources=tuple(dict.fromkeys(source for one in described for source in one.sources)),
        parents=tuple(one.id for one in described),
        replaces=tuple(dict.fromkeys(n for one in described for n in (one.id, *one.replaces))),
        attests=tuple(dict.fromkeys(n for one in described for n in (*one.siblings, *one.attests))),
        kind="rewrite" if described else "",
        epoch=head.epoch,
    )


def _proofs(found: Sequence[_Found], commit_id: str, now_ns: int) -> Iterator[Proof]:
    """For each deletion, what a commit does for it."""
    deletions = {one.id: one for each in found for one in each.deletions}
    for name, deletion in sorted(deletions.items()):
        rows = {
            each.judged.segment.id: number
            for each in found
            for one, number in zip(each.deletions, each.judged.rows, strict=True)
            if one.id == name
        }
        clean = tuple(segment for segment, number in rows.items() if not number)
        dirty = len(rows) - len(clean)
        yield Proof(deletion, commit_id, now_ns, sum(rows.values()), dirty, clean)


def _stated(table: str, said: Deletion | Proof, now_ns: int, origin: Origin) -> MadeSegment:
    """A segment of one row that states something; the catalog keeps the statement, too."""
    text = msgspec.json.encode(said).decode()
    rows = pa.table({"timestamp": pa.array([now_ns]).cast(TIMESTAMP), "statement": [text]})
    origin = origin._replace(statement=text)
    (made,) = make_segments(rows, OWN_TABLES[table], origin, _WINDOW_NS, filters=False)
    columns = {"timestamp": made.described.columns["timestamp"]}
    return made._replace(described=replace(made.described, columns=columns))


def _completions(scope: Scope) -> Iterator[Task[Deletion]]:
    for owner in _owners(scope):
        pending, clean = pending_deletions(scope.catalog, owner), _clean(scope.catalog, owner)
        undone = {
            one.id
            for table in {one.table for one in pending}
            for page in scope.catalog.pages(owner, table)
            for segment in page
            for one in concerned(pending, segment)
            if (one.id, segment.id) not in clean
        }
        for one in pending:
            if one.id not in undone:
                yield Task(_WHAT, owner, DELETIONS, 0, one, part=one.id)


def _complete(scope: Scope, task: Task[Deletion], hold: Hold) -> WorkReport:
    """One commit: the deletion is no longer pending, and one proof stands for all its parts."""
    fence = Fence(scope.store, scope.catalog)
    head = fence.begin()
    name, catalog = task.payload.id, scope.catalog
    asked = [
        one
        for one in catalog.segments(task.organization, DELETIONS)
        if statement_of(one, Deletion).id == name
    ]
    if not asked:
        return WorkReport(_WHAT)  # somebody else was here since this was planned
    parts = [
        one
        for one in catalog.segments(task.organization, DELETED)
        if statement_of(one, Proof).deletion.id == name
    ]
    commit_id, now_ns = uuid.uuid4().hex, time.time_ns()
    said = [statement_of(one, Proof) for one in parts]
    rows, segments = sum(one.rows for one in said), sum(one.segments for one in said)
    proof = Proof(task.payload, commit_id, now_ns, rows, segments, complete=True)
    gone = [*asked, *parts]
    described = [read_footer(scope.store, one.key, one.bytes) for one in gone]
    announced = announce_removal(fence, _WHAT, gone, head, commit_id=commit_id)
    hold.check()
    writer = SegmentWriter(scope.store, scope.config)
    origin = _proof_origin(scope.organization, described, commit_id, head)
    writer.add(_stated(DELETED, proof, now_ns, origin))
    removed = tuple(one.id for one in gone)
    commit = Commit(commit_id, scope.organization, now_ns, add=writer.finish(), remove=removed)
    publish_removal(fence, commit, announced, head, scope.config)
    fence.leave_height()
    return WorkReport(_WHAT)


def deletions(catalog: Catalog, organization: str) -> Sequence[Proof]:
    """Every deletion of an organization, in the order in which they were asked for.

    Of one that is not complete, what was done so far.
    """
    stated = [statement_of(one, Proof) for one in catalog.segments(organization, DELETED)]
    found = {one.deletion.id: one for one in stated if one.complete}
    for pending in pending_deletions(catalog, organization):
        if pending.id in found:
            continue
        parts = [one for one in stated if one.deletion.id == pending.id]
        found[pending.id] = Proof(
            pending,
            max(parts, key=attrgetter("done_ns")).commit_id if parts else "",
            max((one.done_ns for one in parts), default=0),
            sum(one.rows for one in parts),
            sum(one.segments for one in parts),
        )
    return sorted(found.values(), key=lambda one: (one.deletion.asked_ns, one.deletion.id))
