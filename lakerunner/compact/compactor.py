"""The public compactor: which windows of a lake have anything to merge, and the merging of them."""

from __future__ import annotations

import time
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from lakerunner.compact.rewriting import KIND
from lakerunner.compact.window import Window, compact_window, merges_of, settings_of
from lakerunner.fencing import Fence
from lakerunner.model.config import read_config
from lakerunner.model.profile import check_organization
from lakerunner.model.report import WorkReport
from lakerunner.model.times import isoformat
from lakerunner.policies.compaction import unfinished
from lakerunner.schema.tables import TABLES, check_settings, table_spec
from lakerunner.scope import Scope
from lakerunner.tasks import Manner, Task, run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor

    from lakerunner.catalog import Catalog
    from lakerunner.errors import SegmentDamagedError
    from lakerunner.model.config import Config
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore

_ANYHOW = Manner()
_FEWEST = 2


class Compactor:
    """Merges the small segments of each window into few, without changing a row.

    Whoever reads meanwhile sees each row once: the segments of a merge are swapped for the result
    in one commit, and stay readable for as long as all that was removed. Any number of compactors
    may work on one lake; where two merge the same, one of them has worked in vain. It may be killed
    at any time. Safe to use from several threads.

    Args:
        store: The lake.
        catalog: What knows its segments.
        organization: Whose segments are merged; None for those of all.
        config: Settings, or a mapping of them: `compact_memory_bytes`, `compact_target_bytes`,
            `compact_settle_ns`, `tables` and `workers`.
        executor: Where windows are merged at the same time; `config.workers` threads if not given.

    Example:
        >>> import lakerunner
        >>> lake = lakerunner.open("memory://doc/compactor")
        >>> for body in (b"one", b"two", b"three"):
        ...     _ = lake.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "' + body + b'"}')
        >>> report = lakerunner.Compactor(lake.store, lake.catalog).run()
        >>> report.removed, report.added, len(lake.segments())
        (3, 1, 1)
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        *,
        organization: str | None = None,
        config: Config | Mapping[str, Any] | None = None,
        executor: Executor | None = None,
    ) -> None:
        if organization is not None:
            check_organization(organization)
        settings = read_config(config)
        check_settings(settings)
        self._set(Scope(store, catalog, organization or "default", settings), organization)
        self._executor = executor
        self._damaged: dict[str, SegmentDamagedError] = {}

    def _set(self, scope: Scope, organization: str | None) -> None:
        self._scope = scope
        self._organization = organization

    def within(self, scope: Scope) -> Self:
        """The same within another scope: of one organization if it is bound to one, or of all."""
        view = copy(self)
        view._set(scope, scope.organization if scope.bound else None)  # noqa: SLF001 - its own class
        return view

    def run(
        self,
        manner: Manner = _ANYHOW,
        *,
        table: str | None = None,
        dry_run: bool = False,
        eager: bool = True,
    ) -> WorkReport:
        """Merge whatever there is to merge.

        What is damaged is left where it is and reported in `failed`, and the rest goes on.

        Args:
            manner: Where tasks run, progress, and when to stop. A task is a window of a table.
            table: Only this one.
            dry_run: Change nothing; `planned` of the report has a line for each merge. What these
                would leave to be merged again is not told.
            eager: Merge what is there. Otherwise segments wait for others that may come: this is
                for those who call again and again, and writes fewer bytes.

        Raises:
            ConfigurationError: There is no such table.
            CatalogMismatchError: The catalog is not this lake's, or the lake was recovered
                meanwhile; begin again.
            CatalogUnavailableError: The catalog cannot be reached.
        """
        begun = time.perf_counter()
        wanted = None if table is None else table_spec(table).name
        tasks = self._tasks(wanted, eager=eager)
        if dry_run:
            planned = tuple(line for task in tasks for line in self._planned(task))
            return WorkReport(KIND, planned=planned, seconds=time.perf_counter() - begun)
        Fence(self._scope.store, self._scope.catalog).begin()
        if manner.executor is None:
            manner = manner._replace(executor=self._executor)
        return run_tasks(self._scope, KIND, tasks, partial(compact_window, self._damaged), manner)

    def waiting(self) -> Iterator[Segment]:
        """Segments that are to be merged now."""
        for task in self._tasks(None, eager=False):
            scope = self._scope._replace(organization=task.organization)
            for merge in merges_of(scope, task):
                yield from merge.segments

    def _planned(self, task: Task[Window]) -> Iterator[str]:
        scope = self._scope._replace(organization=task.organization)
        for merge in merges_of(scope, task):
            size = sum(one.bytes for one in merge.segments)
            yield (
                f"{task.organization}/{task.table} {isoformat(task.window_start_ns)}: "
                f"{len(merge.segments)} segments, {size:,} bytes ({merge.reason})"
            )

    def _tasks(self, table: str | None, *, eager: bool) -> Iterator[Task[Window]]:
        """A task for each window that has two segments which are not finished."""
        settings = settings_of(self._scope, eager=eager)
        for organization, name in self._scope.catalog.tables():
            chosen = table in {None, name} and self._organization in {None, organization}
            if not chosen or name not in TABLES:  # a later version may have others
                continue
            # Of each segment nothing is kept but that it is there: a table may have a million.
            counts: dict[tuple[int, int, int, str], int] = {}
            for page in self._scope.catalog.pages(organization, name):
                for one in page:
                    if unfinished(one, settings):
                        counts[_window_of(one)] = counts.get(_window_of(one), 0) + 1
            for (start_ns, window_ns, resolution_ns, made_by), count in sorted(counts.items()):
                if count >= _FEWEST:
                    window = Window(window_ns, resolution_ns, made_by, eager)
                    part = f"{resolution_ns // 10**9}s" if resolution_ns else ""
                    yield Task(KIND, organization, name, start_ns, window, part)


def _window_of(segment: Segment) -> tuple[int, int, int, str]:
    return segment.window_start_ns, segment.window_ns, segment.resolution_ns, segment.made_by
