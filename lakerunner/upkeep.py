"""What keeps a lake whole: damage, leftovers of crashes, a catalog that is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakerunner.bars import shown
from lakerunner.damage import find_damage, set_aside_segment
from lakerunner.maintenance import maintain
from lakerunner.model.deletion import Deletion
from lakerunner.recover import recover_catalog
from lakerunner.retain import Retention
from lakerunner.retain.deleting import ask_for, deletions
from lakerunner.retain.retention import collect_orphans
from lakerunner.rollup import Rollup
from lakerunner.rollup.aggregation import aggregate, read_rules
from lakerunner.schema.tables import table_spec
from lakerunner.scope import Closable, time_range
from lakerunner.status import Backlog, waiting
from lakerunner.tasks import Manner

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor
    from os import PathLike
    from typing import Any

    from lakerunner.bars import ProgressLike
    from lakerunner.catalog import Catalog
    from lakerunner.compact import Compactor
    from lakerunner.damage import DamagedSegment
    from lakerunner.discretion import Discretion
    from lakerunner.ingest import Ingestor
    from lakerunner.model.aggregate import AggregateRule
    from lakerunner.model.deletion import Proof
    from lakerunner.model.report import RecoveryReport, WorkReport
    from lakerunner.model.segment import Rejection
    from lakerunner.model.times import TimeLike
    from lakerunner.query import QueryEngine
    from lakerunner.scope import Scope


class Upkeep(Closable):
    """The part of a `Lake` that looks after its segments and its catalog. Safe across threads."""

    catalog: Catalog
    organization: str
    _queries: QueryEngine
    _scope: Scope
    _discretion: Discretion
    _compactor: Compactor
    _ingestor: Ingestor

    def compact(
        self,
        table: str | None = None,
        *,
        dry_run: bool = False,
        progress: ProgressLike | None = None,
    ) -> WorkReport:
        """Merge the small segments of each window into few.

        Each merge is one commit that replaces segments by their merged rows: readers see the one or
        the other. Several processes may compact one lake; a crash costs the window at hand. Of a
        lake that is bound to one organization these are its own, else those of all.

        Args:
            table: Only this one.
            dry_run: Only say what would be merged, in `planned` of the report.
            progress: True draws a bar; a callback is called after each window.

        Returns:
            What was merged; `failed` lists what failed, and why.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            ConfigurationError: There is no such table.
            CatalogMismatchError: The catalog is not this lake's, or the lake was recovered
                meanwhile.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/compact")
            >>> for body in (b"one", b"two"):
            ...     _ = lake.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "' + body + b'"}')
            >>> lake.compact().added, len(lake.segments())
            (1, 1)
        """
        self._require_open("compact")
        if not dry_run:
            self._scope.require_writable("compact")
        with self._discretion.applied(), shown("compact", progress) as told:
            return self._compactor.run(Manner(progress=told), table=table, dry_run=dry_run)

    def backlog(self, *sources: str | PathLike[str]) -> Backlog:
        """How far the lake is behind, as numbers that workers can be added and taken away by.

        Sources are listed for it, and all segments are looked at. Of a lake that is bound to one
        organization these are its own, else those of all.

        Args:
            sources: Where input comes from, as for `ingest`.

        Raises:
            ObjectNotFoundError: A source is an object or folder that is not there.
            StoreError: It cannot be listed.
            CatalogError: The catalog cannot be asked.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/backlog")
            >>> for body in (b"one", b"two"):
            ...     _ = lake.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "' + body + b'"}')
            >>> lake.backlog().merges.files
            2
        """
        self._require_open("backlog")
        with self._discretion.applied():
            new = (one for source in sources for one in self._ingestor.waiting(source))
            merges = self._compactor.waiting()
            now_ns = time.time_ns()
            return Backlog(
                waiting(((one.size, one.modified_ns) for one in new), now_ns),
                waiting(((one.bytes, one.created_ns) for one in merges), now_ns),
            )

    def verify(
        self,
        table: str | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        *,
        progress: ProgressLike | None = None,
    ) -> Sequence[DamagedSegment]:
        """Read all live segments and name those that are damaged.

        Every part of every file is read, and compared with the checksum that its footer has of it.
        Nothing is changed: `set_aside` leaves a damaged segment out.

        Args:
            table: Only those of this table.
            start: Only those that may hold rows from then on.
            end: Only those that may hold rows before then.
            progress: True draws a bar; a callback is called for each segment that was read.

        Returns:
            Those that are damaged or gone, each with its reason.

        Raises:
            InvalidTimeError: `start` or `end` cannot be read.
            ConfigurationError: There is no such table.
            StoreError: A file cannot be read for another reason than being damaged.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/verify")
            >>> _ = lake.ingest(b'{"message": "hello"}')
            >>> lake.verify()
            []
        """
        wanted = time_range(start, end)
        self._require_open("verify")
        with self._discretion.applied(), shown("verify", progress) as told:
            name = None if table is None else table_spec(table).name
            return find_damage(self._scope, name, wanted, told)

    def rollup(
        self,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        *,
        dry_run: bool = False,
        settle_seconds: float | None = None,
        executor: Executor | None = None,
        progress: ProgressLike | None = None,
        stop: threading.Event | None = None,
        again: bool = False,
    ) -> WorkReport:
        """Bring the tiers of `metrics_rollup` up to date: sums of metrics over buckets of time.

        A window is summed up when its points have settled, and again when later ones came: of all
        organizations, or of the one that the lake is bound to.

        Args:
            start: Only windows that reach beyond it.
            end: Only windows that begin before it.
            dry_run: Only say what would be done.
            settle_seconds: Leave windows alone that ended less than so long ago, unless much came.
            executor: Where windows are summed up; threads by default.
            progress: True draws a bar; a callback is called after each window.
            stop: When it is set, no further window is begun.
            again: Do not wait with what failed before.

        Returns:
            What was done. It prints as one line; `failed` lists what failed, and why.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            InvalidTimeError: `start` or `end` cannot be read.
            CatalogMismatchError: The lake was recovered meanwhile; begin again.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/rollup")
            >>> lake.rollup().tasks
            0
        """
        wanted = time_range(start, end)
        self._require_open("rollup")
        with self._discretion.applied(), shown("rollup", progress) as told:
            manner = Manner(executor=executor, progress=told, stop=stop, again=again)
            worker = Rollup(
                self._scope.store, self._scope.catalog, self._scope.organization, self._scope.config
            )
            return worker.within(self._scope).run(
                manner, time_range=wanted, dry_run=dry_run, settle_seconds=settle_seconds
            )

    def aggregate(
        self,
        rules: Sequence[AggregateRule | Mapping[str, Any]] | str | PathLike[str],
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        *,
        anew: bool = False,
        dry_run: bool = False,
        progress: ProgressLike | None = None,
    ) -> WorkReport:
        """Make metrics of logs and spans by rules: how many, or how large, by what.

        Each window of each rule is made once, and again when rows came late. What a rule makes is a
        metric like any other, in `metrics`.

        Args:
            rules: Rules, mappings of their fields, or the path of a YAML file with a list of them.
            start: Windows from then on. Without start and end, those of the last two days.
            end: Windows that begin before then.
            anew: Make again what earlier versions of a rule made.
            dry_run: Only say what would be done.
            progress: True draws a bar; a callback is called after each window.

        Returns:
            What was made; `failed` lists what failed, and why.

        Raises:
            ReadOnlyError: The lake was opened read-only, and this is no dry run.
            ConfigurationError: A rule cannot be read, or is wrong.
            InvalidTimeError: `start` or `end` cannot be read.
            CatalogMismatchError: The lake was recovered meanwhile; begin again.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/aggregate")
            >>> _ = lake.ingest(b'{"time": "2026-01-01T00:00:00Z", "level": "info", "body": "a"}')
            >>> rule = {"metric": "lines", "by": ["level"]}
            >>> lake.aggregate([rule], start="2026-01-01").rows_written
            1
        """
        wanted = None if start is None and end is None else time_range(start, end)
        self._require_open("aggregate")
        if not dry_run:
            self._scope.require_writable("aggregate")
        with self._discretion.applied(), shown("aggregate", progress) as told:
            return aggregate(
                self._scope,
                read_rules(rules),
                Manner(progress=told),
                time_range=wanted,
                anew=anew,
                dry_run=dry_run,
            )

    def set_aside(self, segment_id: str, *, reason: str | None = None) -> Rejection:
        """Leave a damaged segment out of all answers.

        Its rows are gone from answers, and `rejected` lists it. Its file stays for as long as that
        of any segment that was removed.

        Args:
            segment_id: As the error of a query says it, or `verify`.
            reason: Why; told from its file if not given.

        Returns:
            The entry of `rejected` that it became.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            ConfigurationError: There is no such live segment of the organization; or no reason is
                given, and it is as it was written.
            CommitConflictError: It was removed or replaced meanwhile.
        """
        self._require_open("set_aside")
        self._scope.require_writable("set_aside")
        with self._discretion.applied():
            return set_aside_segment(self._scope, segment_id, reason)

    def retain(
        self,
        *,
        dry_run: bool = False,
        progress: ProgressLike | None = None,
        executor: Executor | None = None,
    ) -> WorkReport:
        """Drop windows whose rows are all expired, and rewrite what has deleted rows.

        `Config.retention` says how long rows of each table are kept. A lake that is bound to one
        organization drops only that one's.

        Args:
            dry_run: Only say what would be done, in `planned` of the report.
            progress: True draws a bar; a callback is called after each window.
            executor: Where windows are dropped.

        Returns:
            What was dropped and rewritten; `failed` lists what failed, and why.

        Raises:
            ReadOnlyError: The lake was opened read-only.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/retain", config={"retention": {"logs": "30d"}})
            >>> _ = lake.ingest(b'{"time": "2020-01-01T00:00:00Z", "message": "hello"}')
            >>> lake.retain().rows_removed
            1
        """
        self._require_open("retain")
        self._scope.require_writable("retain")
        with self._discretion.applied(), shown("retain", progress) as told:
            worker = Retention.within(self._scope)
            return worker.run(Manner(executor=executor, progress=told), dry_run=dry_run)

    def maintain(
        self,
        *,
        dry_run: bool = False,
        progress: ProgressLike | None = None,
        stop: threading.Event | None = None,
        executor: Executor | None = None,
        again: bool = False,
    ) -> WorkReport:
        """Delete, merge, sum up, retire and collect, in this order: all that keeps a lake small.

        To be called every few minutes, by any number of processes: tasks are leased. Of a lake that
        is bound to one organization this is its own part, without collection.

        Args:
            dry_run: Only say what would be done, in `planned` of the report.
            progress: True draws a bar; a callback is called after each task.
            stop: When it is set, no further task is begun.
            executor: Where tasks run.
            again: Do not wait with what failed before.

        Returns:
            What was done in all, and by each stage in `parts`.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            CatalogMismatchError: The catalog is not this lake's, or the lake was recovered.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/maintain")
            >>> _ = lake.ingest(b'{"message": "hello"}')
            >>> [part.what for part in lake.maintain().parts][-2:]
            ['retain', 'collect']
        """
        self._require_open("maintain")
        self._scope.require_writable("maintain")
        with self._discretion.applied(), shown("maintain", progress) as told:
            manner = Manner(executor=executor, progress=told, stop=stop, again=again)
            return maintain(self._scope, manner, dry_run=dry_run)

    def delete(
        self,
        table: str,
        where: str,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
    ) -> Deletion:
        r"""Delete rows of the lake's organization for which a condition is true.

        When this returns, no query sees them, in whatever language; `retain` or `maintain` takes
        them out of the files, and `deletions` proves it. States from before (`Lake.at`) show them
        until what was replaced is collected. A row for which the condition is NULL stays, and so do
        rows of whatever is ingested from now on. Rollups are another table: their rows are made
        again of what is left.

        Args:
            table: Which.
            where: The condition, in SQL, over the columns of the table. It must mean the same
                whenever it is judged: no `now()`, and no subqueries.
            start: Only rows from then on.
            end: Only rows before then.

        Returns:
            What was asked for; `deletions` names it by its `id`.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            ConfigurationError: There is no such table.
            InvalidTimeError: `start` or `end` cannot be read.
            QuerySyntaxError: The condition cannot be read, or names a column that nobody sent.
            UnsupportedQueryError: It may mean something else later, or asks other rows.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/delete")
            >>> _ = lake.ingest(b'{"user": "x", "message": "a"}\n{"user": "y", "message": "b"}')
            >>> _ = lake.delete("logs", where="attr_user = 'x'")
            >>> lake.sql("SELECT body FROM logs").to_arrow()["body"].to_pylist()
            ['b']
            >>> _ = lake.retain()
            >>> [(one.complete, one.rows) for one in lake.deletions()]
            [(True, 1)]
        """
        wanted = time_range(start, end)
        self._require_open("delete")
        self._scope.require_writable("delete")
        with self._discretion.applied():
            name = table_spec(table).name
            columns = self._queries.condition(name, where)
            deletion = Deletion("", name, where, wanted.start_ns, wanted.end_ns, columns=columns)
            return ask_for(self._scope, deletion)

    def deletions(self) -> Sequence[Proof]:
        """Every deletion of the lake's organization, complete or under way, as they were asked for.

        Of each: what was asked for and when, by which commit it was completed or went on last, how
        many rows went, and whether it is complete.
        """
        self._require_open("deletions")
        with self._discretion.applied():
            return deletions(self.catalog, self.organization)

    def collect_orphans(self, *, dry_run: bool = False, force: bool = False) -> Sequence[str]:
        """Delete files of segments that a crash left behind: those that no commit names.

        Only those older than `Config.orphan_grace_ns`. They are condemned first, so that no commit
        that is still on its way can name them afterwards, however long its writer was stopped.

        Args:
            dry_run: Only say which.
            force: Delete an unusual share of the lake, too, and make the catalog that of the lake
                even if it is empty, or of another one.

        Returns:
            Keys of what was deleted, or would be, in their order.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            CatalogMismatchError: The catalog is not this lake's, or not up to it.
            CatalogError: An unusual share of the lake would go.
            StoreError: The lake cannot be listed, or an orphan cannot be deleted.
        """
        self._require_open("collect_orphans")
        self._scope.require_writable("collect_orphans")
        self._scope.require_whole("collect_orphans")
        return collect_orphans(
            self._scope.store, self._scope.catalog, self._scope.config, dry_run=dry_run, force=force
        )

    def recover(
        self, *, merge: bool = False, dry_run: bool = False, progress: ProgressLike | None = None
    ) -> RecoveryReport:
        """Make a lost catalog again from the footers of all segments.

        A segment that another one replaced, or that was retired, stays out. What was taken before
        is known again, so that nothing is taken twice.

        Args:
            merge: Add to a catalog that knows segments already what it does not know.
            dry_run: Only say what would be done.
            progress: True draws a bar; a callback is called as footers are read.

        Returns:
            What was found, added and left out, with reasons.

        Raises:
            ReadOnlyError: The lake was opened read-only.
            ConfigurationError: The catalog knows segments, and `merge` is not set.
            StoreError: The lake cannot be read.
            CatalogError: A commit failed; those before it stand.
        """
        self._require_open("recover")
        self._scope.require_writable("recover")
        self._scope.require_whole("recover")
        with shown("recover", progress) as told:
            return recover_catalog(
                self._scope.store,
                self._scope.catalog,
                self._scope.config,
                merge=merge,
                dry_run=dry_run,
                progress=told,
            )
