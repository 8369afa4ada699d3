"""Rebuild a lost catalog from the segments in the bucket."""

from __future__ import annotations

import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

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
from lakerunner.fencing.fence import put_height
from lakerunner.fencing.identity import begin_incarnation, newest_number, put_honoured
from lakerunner.fencing.intents import Found as FoundIntent
from lakerunner.fencing.intents import effective_intents
from lakerunner.model.commit import Commit
from lakerunner.model.report import BrokenSegment, ProgressEvent, RecoveryReport
from lakerunner.model.segment import UNKNOWN_ROWS, TakenSource
from lakerunner.model.times import MAX_NS
from lakerunner.policies.entangled import Sieve
from lakerunner.policies.recovery import Adopted, Found, Recovery, Removal, adopt_alone, recover
from lakerunner.publish.committing import read_footer, send_commit
from lakerunner.segments.layout import SEGMENTS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.model.report import Progress
    from lakerunner.model.segment import Segment
    from lakerunner.policies.entangled import Sorted
    from lakerunner.store import ObjectStore

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
    files = _Files(store, config)
    files.read(progress)
    told, decided = _decide(files, intents)
    made = _commit(told, decided, files, _Scope(store, catalog, config, adopts), progress)
    if not dry_run:
        _finish(store, catalog, adopts, intents)
    return RecoveryReport(
        commits=made.commits,
        segments=made.segments,
        rows=made.rows,
        bytes=made.bytes,
        sources=made.sources,
        replaced=_keys(decided.replaced),
        left_out=_keys((*decided.unfinished, *decided.superseded)),
        broken=tuple(sorted(files.broken, key=lambda one: one.key)),
        missing=tuple(sorted(name for one in decided.adopted for name in one.missing)),
        uncovered=decided.uncovered,
        refused=tuple(sorted(made.refused)),
        seconds=time.perf_counter() - begun,
    )


def _decide(files: _Files, intents: Iterable[FoundIntent]) -> tuple[Sorted, Recovery]:
    removals = [Removal(one.intent.remove, one.added, one.done) for one in intents]
    collected = frozenset(name for one in intents for name in one.intent.condemned)
    told = files.sieve.sort(removals, collected)
    return told, recover(files.entangled(told.entangled), removals, collected)


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


class _Files:
    """All segment files of a lake: what of their footers is needed to decide, and no more.

    Of most files nothing is held but a key and some hashes; their footers are read again when their
    commit is made again.
    """

    def __init__(self, store: ObjectStore, config: Config) -> None:
        self._store, self._config = store, config
        self._keys = list[str]()
        self._sizes, self._modified = array("q"), array("q")
        self._places = array("q")  # of each file of the sieve, its place in the listing
        self._held: dict[int, Segment] = {}
        self.sieve = Sieve()
        self.broken: list[BrokenSegment] = []

    def read(self, progress: Progress | None) -> None:
        """List all files, and read their footers."""
        for meta in self._store.list(SEGMENTS_PREFIX):
            self._keys.append(meta.key)
            self._sizes.append(meta.size)
            self._modified.append(meta.modified_ns)
        rows = 0
        outcomes = _in_threads(self._look, range(len(self._keys)), self._config)
        for done, (place, outcome) in enumerate(outcomes, 1):  # as they come, in any order
            if isinstance(outcome, BrokenSegment):
                self.broken.append(outcome)
            elif outcome is not None:
                if len(self._held) < _HELD_WHOLE:
                    self._held[place] = outcome
                self.sieve.add(outcome, self._modified[place])
                self._places.append(place)
                rows += outcome.rows
            if progress is not None:
                progress(ProgressEvent("read", done, len(self._keys), rows))

    def _look(self, place: int) -> tuple[int, Segment | BrokenSegment | None]:
        """What the footer at a place says; None if the object is gone meanwhile."""
        try:
            return place, self._footer(place)
        except ObjectNotFoundError:
            return place, None
        except (SegmentError, ObjectRangeError) as error:
            return place, BrokenSegment(self._keys[place], error.message)

    def _footer(self, place: int) -> Segment:
        held = self._held.get(place)
        return held or read_footer(self._store, self._keys[place], self._sizes[place])

    def entangled(self, numbers: Iterable[int]) -> list[Found]:
        """Files that have to be compared, without the statistics, by which nothing is decided."""

        def stripped(number: int) -> Found:
            place = self._places[number]
            return Found(replace(self._footer(place), columns={}), self._modified[place])

        return list(_in_threads(stripped, numbers, self._config))

    def alone(self, numbers: Iterable[int]) -> Adopted:
        """The commit of files that nothing has to be compared with."""
        return adopt_alone([self._footer(self._places[number]) for number in numbers])


class _Made:
    """What was made again so far."""

    def __init__(self) -> None:
        self.commits = self.segments = self.rows = self.bytes = self.sources = 0
        self.refused: list[str] = []

    def count(self, adopted: Adopted) -> None:
        """Note a commit that was made."""
        self.commits += 1
        self.segments += len(adopted.segments)
        self.rows += sum(one.rows for one in adopted.segments)
        self.bytes += sum(one.bytes for one in adopted.segments)
        self.sources += len(adopted.sources)


def _in_threads(function: Callable[[T], R], items: Iterable[T], config: Config) -> Iterator[R]:
    with ThreadPoolExecutor(config.workers, thread_name_prefix="lakerunner-recover") as threads:
        yield from bounded_map(threads, function, items, in_flight=2 * config.workers)


def _commit(
    told: Sorted,
    decided: Recovery,
    files: _Files,
    scope: _Scope,
    progress: Progress | None,
) -> _Made:
    """Make the commits again; those that the catalog refuses are named."""
    made = _Made()
    live = _still_live(decided, files, scope.catalog)

    def send(adopted: Adopted | Sequence[int]) -> tuple[Adopted, bool]:
        commit = adopted if isinstance(adopted, Adopted) else files.alone(adopted)
        if scope.adopts:
            again = _again(scope.store, commit, live, scope.adopts)
            try:
                send_commit(scope.catalog, again, scope.config)
            except CommitConflictError:
                return commit, False
        return commit, True

    merges = [
        [one for one in decided.adopted if bool(one.replaces) is way] for way in (False, True)
    ]
    rounds: list[Sequence[Adopted | Sequence[int]]] = [told.alone, *merges]
    total = sum(map(len, rounds))
    for some in rounds:
        for adopted, taken in _in_threads(send, some, scope.config):
            if taken:
                made.count(adopted)
            else:
                made.refused.append(adopted.commit_id)
            if progress is not None and scope.adopts:
                done = made.commits + len(made.refused)
                progress(ProgressEvent("commit", done, total))
    return made


def _still_live(decided: Recovery, files: _Files, catalog: Catalog) -> set[str]:
    """What the catalog has, and something stands for.

    One that was restored from a copy may know what a compaction replaced afterwards.
    """
    replaced = {name for one in decided.adopted for name in one.replaces}
    live: set[str] = set()
    for table in catalog.tables():
        for page in catalog.pages(*table):
            ids = [segment.id for segment in page]
            live |= files.sieve.replaced(ids) | replaced.intersection(ids)
    return live


class _Scope(NamedTuple):
    """Where to, and on behalf of which incarnation; 0 only says what would be done."""

    store: ObjectStore
    catalog: Catalog
    config: Config
    adopts: int


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
