"""Rebuild a lost catalog from the segments in the bucket."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from lakerunner.errors import (
    CatalogMismatchError,
    CommitConflictError,
    ConfigurationError,
    ObjectNotFoundError,
    ObjectRangeError,
    SegmentError,
)
from lakerunner.executors import bounded_map
from lakerunner.fencing.heights import put_height
from lakerunner.fencing.identity import begin_incarnation, newest_number, put_honoured
from lakerunner.fencing.intents import Found as FoundIntent
from lakerunner.fencing.intents import effective_intents
from lakerunner.model.commit import Commit
from lakerunner.model.report import BrokenSegment, ProgressEvent, RecoveryReport
from lakerunner.model.segment import UNKNOWN_ROWS, TakenSource
from lakerunner.model.times import MAX_NS
from lakerunner.policies.recovery import Adopted, Found, Recovery, Removal, recover
from lakerunner.publish.committing import read_footer, send_commit
from lakerunner.segments.layout import SEGMENTS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.model.report import Progress
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectMeta, ObjectStore

_HELD_WHOLE = 10_000
"""Footers that are kept as they were read. Nothing is decided by the statistics of columns, which
are most of a footer: those of the rest are read again when they are committed."""

T = TypeVar("T")
R = TypeVar("R")


def recover_catalog(
    store: ObjectStore,
    catalog: Catalog,
    config: Config,
    *,
    merge: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> RecoveryReport:
    """Commit into an empty catalog what a lost one knew, judged by the footers of all segments.

    Reads nothing but footers and intents, and writes nothing but commits and the number of a new
    incarnation: writers and collectors that began before are refused from then on, and the catalog
    takes nothing else until it is whole. The commits are made again under their own ids, so a
    recovery that was interrupted may be run again, with `merge`. Objects without rows and what was
    set aside are in no footer; the next ingest takes them again. See decision 016 for what is
    exact, and what can be no more than likely, and the one on deletion for what was removed.

    Args:
        store: The lake.
        catalog: Where commits go.
        config: `workers` footers are read, and commits sent, at a time.
        merge: Go on although the catalog knows segments. What contradicts it is left out.
        dry_run: Only say what would be done.
        progress: Called for each footer (stage `read`) and each commit (stage `commit`).

    Raises:
        ConfigurationError: The catalog knows segments, and `merge` is not set.
        CatalogMismatchError: It is another lake's, or another recovery began meanwhile.
        StoreError: The lake cannot be listed or read.
        CatalogError: A commit failed. Those before it stand.
    """
    begun = time.perf_counter()
    if not merge:
        _refuse_used(catalog)
    adopts = 0 if dry_run else _claim(store, catalog)
    # Announced before deleted: what is listed after this is not about to go, unless it says so.
    intents = effective_intents(store)
    found, broken = _read_all(store, list(store.list(SEGMENTS_PREFIX)), config, progress)
    decided = _decide(found, intents)
    made, refused = list(decided.adopted), list[str]()
    if not dry_run:
        made, refused = _commit(decided, store, catalog, config, progress, adopts)
        _finish(store, catalog, adopts, intents)
    live = [segment for one in made for segment in one.segments]
    return RecoveryReport(
        commits=len(made),
        segments=len(live),
        rows=sum(segment.rows for segment in live),
        bytes=sum(segment.bytes for segment in live),
        sources=sum(len(one.sources) for one in made),
        replaced=_keys(decided.replaced),
        left_out=_keys((*decided.unfinished, *decided.superseded)),
        broken=tuple(sorted(broken, key=lambda one: one.key)),
        missing=tuple(sorted(name for one in decided.adopted for name in one.missing)),
        uncovered=decided.uncovered,
        refused=tuple(sorted(refused)),
        seconds=time.perf_counter() - begun,
    )


def _decide(found: Iterable[Found], intents: Iterable[FoundIntent]) -> Recovery:
    removals = [Removal(one.intent.remove, one.added, one.done) for one in intents]
    collected = frozenset(name for one in intents for name in one.intent.condemned)
    return recover(found, removals, collected)


def _finish(
    store: ObjectStore, catalog: Catalog, adopts: int, intents: Iterable[FoundIntent]
) -> None:
    """Let everybody write again, and keep which intents count from now on."""
    put_honoured(store, adopts, (one.key for one in intents))
    head = catalog.head()
    catalog.settle(head.lake, adopts, whole=True)
    put_height(store, head.epoch)


def _claim(store: ObjectStore, catalog: Catalog) -> int:
    """Begin a new incarnation, and keep everybody else from the catalog until it is whole."""
    new = begin_incarnation(store, catalog.head())
    catalog.settle(new.lake, new.number, whole=False)
    if newest_number(store) != new.number:
        raise CatalogMismatchError(
            f"another recovery of {store.url} began meanwhile; this one stopped", url=store.url
        )
    return new.number


def _refuse_used(catalog: Catalog) -> None:
    for organization, table in catalog.tables():
        raise ConfigurationError(
            f"the catalog {catalog.url} already knows {table} of {organization!r}; "
            "recover is for a lost one. To add what it lacks, say merge=True",
            url=catalog.url,
            organization=organization,
        )
    if catalog.removed(MAX_NS, limit=1):
        raise ConfigurationError(
            f"the catalog {catalog.url} has had segments; to go on all the same, say merge=True",
            url=catalog.url,
        )


def _read_all(
    store: ObjectStore, listed: Sequence[ObjectMeta], config: Config, progress: Progress | None
) -> tuple[list[Found], list[BrokenSegment]]:
    found: list[Found] = []
    broken: list[BrokenSegment] = []
    rows = 0
    for done, outcome in enumerate(_in_threads(partial(_read, store), listed, config), 1):
        if isinstance(outcome, Found):
            segment = outcome.segment
            whole = len(found) < _HELD_WHOLE
            found.append(Found(segment if whole else replace(segment, columns={}), *outcome[1:]))
            rows += segment.rows
        elif outcome is not None:
            broken.append(outcome)
        if progress is not None:
            progress(ProgressEvent("read", done, len(listed), rows))
    return found, broken


def _in_threads(function: Callable[[T], R], items: Iterable[T], config: Config) -> Iterator[R]:
    with ThreadPoolExecutor(config.workers, thread_name_prefix="lakerunner-recover") as threads:
        yield from bounded_map(threads, function, items, in_flight=2 * config.workers)


def _read(store: ObjectStore, item: ObjectMeta) -> Found | BrokenSegment | None:
    """What a footer says; None if the object is gone meanwhile."""
    try:
        described = read_footer(store, item.key, item.size)
    except ObjectNotFoundError:
        return None
    except (SegmentError, ObjectRangeError) as error:
        return BrokenSegment(item.key, error.message)
    return Found(described, item.modified_ns)


def _commit(
    decided: Recovery,
    store: ObjectStore,
    catalog: Catalog,
    config: Config,
    progress: Progress | None,
    adopts: int,
) -> tuple[list[Adopted], list[str]]:
    """Make the commits again; those that the catalog refuses are named."""
    made: list[Adopted] = []
    refused: list[str] = []
    # A catalog that was restored from a copy may know what a compaction replaced afterwards.
    live = {
        segment.id
        for table in catalog.tables()
        for page in catalog.pages(*table)
        for segment in page
    }

    def send(adopted: Adopted) -> tuple[Adopted, bool]:
        try:
            send_commit(catalog, _again(store, adopted, live, adopts), config)
        except CommitConflictError:
            return adopted, False
        return adopted, True

    for compacted in (False, True):
        some = [one for one in decided.adopted if bool(one.replaces) is compacted]
        for adopted, taken in _in_threads(send, some, config):
            if taken:
                made.append(adopted)
            else:
                refused.append(adopted.commit_id)
            if progress is not None:
                done = len(made) + len(refused)
                progress(ProgressEvent("commit", done, len(decided.adopted)))
    return made, refused


def _again(store: ObjectStore, adopted: Adopted, live: set[str], adopts: int) -> Commit:
    return Commit(
        id=adopted.commit_id,
        organization=adopted.organization,
        committed_ns=time.time_ns(),
        add=tuple(
            one if one.columns else read_footer(store, one.key, one.bytes)
            for one in adopted.segments
        ),
        remove=tuple(name for name in adopted.replaces if name in live),
        taken=tuple(TakenSource(source, UNKNOWN_ROWS) for source in adopted.sources),
        adopts=adopts,
    )


def _keys(segments: Iterable[Segment]) -> tuple[str, ...]:
    return tuple(sorted(segment.key for segment in segments))
