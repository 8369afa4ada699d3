"""The worker that keeps tiers of metrics true."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lakerunner.model.config import read_config
from lakerunner.model.profile import check_organization
from lakerunner.model.report import WorkReport
from lakerunner.model.times import MIN_NS, TimeRange, isoformat
from lakerunner.policies.rollup import choose_tiers, due, plan_windows, tier_settings
from lakerunner.rollup.making import roll_window
from lakerunner.scope import Scope
from lakerunner.tasks import Manner, Task, run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.policies.rollup import TierRange, TierSettings, WindowPlan
    from lakerunner.store import ObjectStore

_ALL_TIME = TimeRange()
_ANYHOW = Manner()


class Rollup:
    """Sums the points of metrics up, for each series and bucket of time, in tiers.

    Each tier is a resolution of the table `metrics_rollup`, and holds each point once: a window is
    summed up again when points come or change, in one commit for all tiers. Where points were
    removed since, the tiers live on, and later ones are added to what they hold. May be used from
    several threads and by many machines at once.

    Args:
        store: Where segments are.
        catalog: Which segments there are.
        organization: Whose metrics; see `run`.
        config: Settings: `rollup_tiers_ns`, `workers`, `memory_bytes`.

    Raises:
        ConfigurationError: A setting is unknown or wrong, or `organization` can be no
            organization's name.

    Example:
        >>> from lakerunner.catalog import open_catalog
        >>> from lakerunner.store import open_store
        >>> print(Rollup(open_store("memory://"), open_catalog("memory://")).run())
        rollup: 0 tasks, 0.00 s
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        organization: str = "default",
        config: Config | Mapping[str, Any] | None = None,
    ) -> None:
        check_organization(organization)
        self._scope = Scope(store, catalog, organization, read_config(config))

    def within(self, scope: Scope) -> Rollup:
        """The same worker within another scope of the lake."""
        worker = Rollup(scope.store, scope.catalog, scope.organization, scope.config)
        worker._scope = scope
        return worker

    def run(
        self,
        manner: Manner = _ANYHOW,
        *,
        time_range: TimeRange = _ALL_TIME,
        dry_run: bool = False,
        settle_seconds: float | None = None,
    ) -> WorkReport:
        """Bring the tiers up to date, of all organizations or of the one it is bound to.

        Reads descriptions of the segments of the range, and rows of the windows that changed.

        Args:
            manner: Where tasks run, and how.
            time_range: Only windows that lie in it, in part at least.
            dry_run: Only say what would be done, in `WorkReport.planned`.
            settle_seconds: Leave a window alone that ended less than so long ago, unless much
                came since it was summed up last: for a worker that runs all the time. None does
                all there is.

        Raises:
            CatalogMismatchError: The lake was recovered meanwhile; begin again.
            CatalogUnavailableError: The catalog cannot be reached.
            ReadOnlyError: The lake was opened read-only, and this is no dry run.
        """
        begun = time.perf_counter()
        if not dry_run:
            self._scope.require_writable("rollup")
        tasks = list(self._tasks(time_range, settle_seconds))
        if dry_run:
            lines = tuple(_said(task.name, plan) for task, plan in tasks)
            seconds = time.perf_counter() - begun
            return WorkReport("rollup", planned=lines, seconds=seconds)
        return run_tasks(self._scope, "rollup", [task for task, _ in tasks], roll_window, manner)

    def choose(self, time_range: TimeRange, step_ns: int) -> list[TierRange]:
        """Where to read sums over steps of time: see `lakerunner.policies.rollup.choose_tiers`.

        Args:
            time_range: What is asked for; its start is that of the first step.
            step_ns: Length of a step in nanoseconds.

        Returns:
            The range in parts, in order: the coarsest tier that gives the answer that the points
            would give, finer ones where it is missing or lacks points, and else the points.

        Example:
            >>> from lakerunner.catalog import open_catalog
            >>> from lakerunner.store import open_store
            >>> worker = Rollup(open_store("memory://"), open_catalog("memory://"))
            >>> worker.choose(TimeRange(0, 3600 * 10**9), 60 * 10**9)
            [TierRange(start_ns=0, end_ns=3600000000000, resolution_ns=0)]
        """
        scope = self._scope
        settings = tier_settings(scope.config, scope.organization, time.time_ns())
        early = max(time_range.start_ns - 2 * settings.window_ns, MIN_NS)
        points, tiers = (
            scope.catalog.segments(scope.organization, table, TimeRange(early, time_range.end_ns))
            for table in ("metrics", "metrics_rollup")
        )
        return choose_tiers(
            points, tiers, time_range.start_ns, time_range.end_ns, step_ns, settings
        )

    def _tasks(
        self, time_range: TimeRange, settle_seconds: float | None
    ) -> Iterator[tuple[Task[tuple[tuple[int, int], TierSettings]], WindowPlan]]:
        scope = self._scope
        names = [scope.organization] if scope.bound else scope.catalog.organizations()
        for name in names:
            settings = tier_settings(scope.config, name, time.time_ns())
            for plan in self._plans(name, time_range, settings):
                if settle_seconds is None or due(plan, time.time_ns(), settle_seconds):
                    payload = ((plan.start_ns, plan.end_ns), settings)
                    yield (
                        Task("rollup", name, "metrics_rollup", plan.start_ns, payload),
                        plan,
                    )

    def _plans(
        self, organization: str, time_range: TimeRange, settings: TierSettings
    ) -> Sequence[WindowPlan]:
        length, catalog = settings.window_ns, self._scope.catalog
        wide = time_range
        if time_range.start_ns > MIN_NS + 2 * length:
            wide = TimeRange(time_range.start_ns - 2 * length, time_range.end_ns)
        points = catalog.segments(organization, "metrics", wide)
        tiers = catalog.segments(organization, "metrics_rollup", wide)
        return [
            plan
            for plan in plan_windows(points, tiers, settings)
            if plan.start_ns < time_range.end_ns and plan.end_ns > time_range.start_ns
        ]

    def __repr__(self) -> str:
        return f"Rollup({self._scope.store!r}, {self._scope.catalog!r})"


def _said(name: str, plan: WindowPlan) -> str:
    tiers = ", ".join(f"{each / 10**9:g} s" for each in plan.resolutions)
    rows = sum(one.rows for one in plan.points)
    until = isoformat(plan.end_ns)
    return f"{name} to {until}: {plan.way}, {rows:,} points into {tiers}"
