"""All of maintenance in its right order, once or for as long as a process runs."""

from __future__ import annotations

import logging
import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec.structs import replace

from lakerunner.compact import Compactor
from lakerunner.errors import CatalogMismatchError, LakerunnerError
from lakerunner.limits import MAINTAIN_SECONDS, MAINTAIN_SECONDS_MOST, ROLLUP_SETTLE_SECONDS
from lakerunner.model.config import read_config
from lakerunner.model.report import Setback, WorkReport
from lakerunner.retain import Retention
from lakerunner.retain.collecting import collect
from lakerunner.rollup import Rollup
from lakerunner.scope import Scope
from lakerunner.tasks import Manner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.model.report import Progress
    from lakerunner.store import ObjectStore

_LOG = logging.getLogger(__name__)


def maintain(
    scope: Scope, manner: Manner, *, dry_run: bool = False, eager: bool = True
) -> WorkReport:
    """Do whatever there is to do: deletions, merges, rollups, retention, collection.

    Deletions come first, for merges leave alone what has rows that are to be deleted. Rollups come
    after merges, which leave them less to read, and before retention, so that nothing expires that
    was not summed up. Files are collected last.

    A stage that fails as a whole is named in `failed`, and the next ones go on: where a disk is
    full, nothing can be merged, and collection makes room. It may be killed at any time and run
    again, and any number of machines may run it at once: windows are leased.

    Args:
        scope: The lake; if it is bound to one organization, that one's part, without collection.
        manner: How; see `lakerunner.tasks`.
        dry_run: Only say what would be done as things stand.
        eager: Merge and sum up what is there. Otherwise segments and windows wait for what may yet
            come: this is for those who call again and again, and writes fewer bytes.

    Returns:
        The sum of all stages, and each of them in `parts`.

    Raises:
        CatalogMismatchError: The catalog is not this lake's, or the lake was recovered meanwhile.
    """
    parts = []
    for what, stage in stages(scope, manner, dry_run=dry_run, eager=eager).items():
        if manner.stop is not None and manner.stop.is_set():
            break
        begun = time.perf_counter()
        try:
            parts.append(stage())
        except CatalogMismatchError:
            raise
        except (LakerunnerError, OSError) as error:
            _LOG.warning("%s: %s failed: %s", scope.store.url, what, error)
            code = error.code if isinstance(error, LakerunnerError) else type(error).__name__
            failed = Setback(what, code, scope.discretion().kept_from(str(error)))
            seconds = time.perf_counter() - begun
            parts.append(WorkReport(what, failed=(failed,), seconds=seconds))
    return WorkReport.of("maintain", parts)


def stages(
    scope: Scope, manner: Manner, *, dry_run: bool, eager: bool
) -> dict[str, Callable[[], WorkReport]]:
    """The stages of maintenance by name, in their order."""
    retention = Retention.within(scope)
    compactor = Compactor(scope.store, scope.catalog, config=scope.config).within(scope)
    rollup = Rollup(scope.store, scope.catalog, config=scope.config).within(scope)
    found: dict[str, Callable[[], WorkReport]] = {
        "delete": partial(retention.delete, manner, dry_run=dry_run),
        "compact": partial(compactor.run, manner, dry_run=dry_run, eager=eager),
        "rollup": partial(
            rollup.run,
            manner,
            dry_run=dry_run,
            settle_seconds=None if eager else ROLLUP_SETTLE_SECONDS,
        ),
        "retain": partial(retention.drop, manner, dry_run=dry_run),
    }
    if not scope.bound:
        found["collect"] = partial(collect, scope, manner, dry_run=dry_run)
    return found


class MaintainerState(msgspec.Struct, frozen=True):
    """How a `Maintainer` is doing.

    Attributes:
        runs: How often it has maintained the lake.
        report: What it did last; None before the first run.
        failures: Runs in a row that ended with an error; 0 if the last one did not.
        error: That error, for a person.
        pause_seconds: How long it waits now, at most.
    """

    runs: int = 0
    report: WorkReport | None = None
    failures: int = 0
    error: str = ""
    pause_seconds: float = 0.0

    def __str__(self) -> str:
        if self.failures:
            return f"failed {self.failures:,} times: {self.error}; waits {self.pause_seconds:.0f} s"
        return f"{self.runs:,} runs; {self.report}" if self.report else "not run yet"


class Maintainer:
    """Maintains a lake again and again, for as long as a process runs.

    It never ends because of a failure: one of a task is put off by itself (see `lakerunner.tasks`),
    and after one of a whole run, such as a catalog out of reach, it waits twice as long each time.
    Pauses are spread at random, so that many machines do not come at once; they share the work.

    Args:
        store: Where segments lie.
        catalog: What knows them.
        config: Settings, or a mapping of them.
        executor: Where tasks run; threads of its own if not given.
        seconds: From the end of a run to the next one, at most; half of it at least.
        progress: Called after each task.
        reported: Called after each run, by the thread that runs.

    Example:
        >>> import lakerunner
        >>> lake = lakerunner.open("memory://doc/maintainer")
        >>> with lakerunner.Maintainer(lake.store, lake.catalog) as maintainer:
        ...     _ = lake.ingest(b'{"message": "hello"}')
        >>> maintainer.state.failures
        0
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        *,
        config: Config | Mapping[str, Any] | None = None,
        executor: Executor | None = None,
        seconds: float = MAINTAIN_SECONDS,
        progress: Progress | None = None,
        reported: Callable[[MaintainerState], None] | None = None,
    ) -> None:
        self._scope = Scope(store, catalog, "default", read_config(config))
        self._stop = threading.Event()
        self._manner = Manner(executor=executor, progress=progress, stop=self._stop)
        self._seconds = seconds
        self._reported = reported
        self._thread: threading.Thread | None = None
        self._state = MaintainerState(pause_seconds=seconds)

    @property
    def state(self) -> MaintainerState:
        """How it is doing; a value of its own, from whatever thread it is asked."""
        return self._state

    def run(self, stop: threading.Event | None = None) -> MaintainerState:
        """Maintain the lake in the calling thread, until stopped.

        Args:
            stop: Ends it when set, after the tasks that are under way; `close` does, too.
        """
        if stop is not None:
            self._stop = stop
            self._manner = self._manner._replace(stop=stop)
        while not self._stop.is_set():
            self._state = self._once()
            if self._reported is not None:
                self._reported(self._state)
            pause = self._state.pause_seconds
            self._stop.wait(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret depends on it
        return self._state

    def _once(self) -> MaintainerState:
        before = self._state
        try:
            report = maintain(self._scope, self._manner, eager=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next run may succeed
            failures = before.failures + 1
            _LOG.warning("%s: maintenance failed %d times", self._scope.store.url, failures)
            _LOG.info("the last failure", exc_info=True)
            pause = min(self._seconds * 2 ** min(failures, 32), MAINTAIN_SECONDS_MOST)
            text = f"{error} ({type(error).__name__})"
            return replace(
                before, failures=failures, error=text, pause_seconds=max(pause, self._seconds)
            )
        return MaintainerState(before.runs + 1, report, pause_seconds=self._seconds)

    def start(self) -> Self:
        """Maintain the lake in a thread of its own, until `close`."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self.run, name="lakerunner-maintainer", daemon=True
            )
            self._thread.start()
        return self

    def close(self) -> None:
        """End it, after the tasks that are under way. The lake stays open."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()
