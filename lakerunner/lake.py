"""The lake: one object store, one catalog, and the workers over them."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from lakerunner.aio import AsyncLake
from lakerunner.asking import Asking
from lakerunner.catalog.past import open_past, present
from lakerunner.compact import Compactor
from lakerunner.discovering import Discovering
from lakerunner.errors import ConfigurationError
from lakerunner.ingest import Ingestor
from lakerunner.model.card import card, listing
from lakerunner.model.config import read_config
from lakerunner.model.profile import check_organization
from lakerunner.model.segment import Segments
from lakerunner.query import QueryEngine
from lakerunner.registry import split_scheme
from lakerunner.schema.tables import table_spec
from lakerunner.scope import Scope, time_range
from lakerunner.status import LakeStatus, status_of
from lakerunner.taking import Taking
from lakerunner.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from lakerunner.catalog import Catalog
    from lakerunner.model.commit import LakeSnapshot
    from lakerunner.model.config import Config
    from lakerunner.model.profile import StorageProfile
    from lakerunner.model.times import TimeLike
    from lakerunner.policies.ownership import Ownership
    from lakerunner.store import ObjectStore


class Lake(Asking, Discovering, Taking, Upkeep):
    """One object store and one catalog, with the workers over them.

    Safe to use from several threads. Use it as a context manager, or call `close`, to release files
    and connections.

    Args:
        store: Where segments lie.
        catalog: What knows them.
        organization: Whose rows are read and written.
        config: Settings, or a mapping of them.
        read_only: Refuse everything that writes.
        executor: Runs ingest batches and parts of large queries; see `open`.
        ownership: Rules that say whose each object is; see `open`.

    Attributes:
        store: Where segments lie.
        catalog: What knows them.
        organization: Whose rows are read and written.

    Example:
        >>> import lakerunner
        >>> with lakerunner.open("memory://doc/lake") as lake:
        ...     lake.rejected()
        []
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        *,
        organization: str = "default",
        config: Config | Mapping[str, Any] | None = None,
        read_only: bool = False,
        executor: Executor | None = None,
        ownership: Ownership | Mapping[str, Any] | None = None,
    ) -> None:
        settings = read_config(config)
        check_organization(organization)
        ingestor = Ingestor(
            store,
            catalog,
            organization=organization,
            config=settings,
            executor=executor,
            ownership=ownership,
        )
        queries = QueryEngine(store, catalog, organization, settings, executor=executor)
        self._compactor = Compactor(store, catalog, config=settings, executor=executor)
        scope = Scope(store, catalog, organization, settings, read_only)
        self._closed = threading.Event()  # shared with all views of it
        self._set(scope, ingestor, queries, borrows=False)

    def _set(
        self, scope: Scope, ingestor: Ingestor, queries: QueryEngine, *, borrows: bool
    ) -> None:
        self.store = scope.store
        self.catalog = scope.catalog
        self.organization = scope.organization
        self._scope = scope
        self._discretion = scope.discretion()
        self._ingestor = ingestor
        self._queries = queries
        self._borrows = borrows

    def _within(self, scope: Scope) -> Lake:
        """The same workers within another scope; what is open stays this lake's to close."""
        view = Lake.__new__(Lake)
        view._closed = self._closed  # noqa: SLF001 - its own class
        view._compactor = self._compactor.within(scope)  # noqa: SLF001 - its own class
        view._set(  # noqa: SLF001 - its own class
            scope, self._ingestor.within(scope), self._queries.within(scope), borrows=True
        )
        return view

    def for_organization(self, organization: str) -> Lake:
        """The same lake, bound to one organization: it reads and writes that one's rows only.

        It shares store, catalog, memory and caches with this lake and costs next to nothing: make
        one for each request. To close it does nothing; it can be used until this lake is closed.
        Where there are rules of ownership, it takes only objects that are its own by them.

        This keeps apart what callers mean, not what they could do: `store` and `catalog` are the
        whole lake's. Its errors and explanations do not say where the lake lies.

        Args:
            organization: Whose; it need not have any rows yet.

        Raises:
            ConfigurationError: It can be no organization's name, or this lake is bound to another.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/bound")
            >>> lake.for_organization("acme").ingest(b'{"message": "hello"}').rows
            1
            >>> lake.organizations()
            ['acme']
        """
        self._require_open("for_organization")
        return self._within(self._scope.of(organization))

    def organizations(self) -> Sequence[str]:
        """Organizations that have rows, in order of their names.

        Of a lake that is bound to one organization, this is that one, or nothing.
        """
        self._require_open("organizations")
        names = self.catalog.organizations()
        return [name for name in names if name == self.organization] if self._scope.bound else names

    @property
    def profiles(self) -> tuple[StorageProfile, ...]:
        """Whose buckets are whose, by the rules that the lake was opened with."""
        rules, whose = self._ingestor.ownership, self.organization
        found = () if rules is None else rules.profiles
        return tuple(one for one in found if not self._scope.bound or one.organization_id == whose)

    def status(self) -> LakeStatus:
        """How the lake is doing: what is in it, what was set aside, and which tasks failed.

        Of a lake that is bound to one organization, only what is that one's.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/status")
            >>> lake.ingest(b'{"message": "hello"}').rows
            1
            >>> print(lake.status())
            1 rows in 1 segments of 1 tables, 0 set aside, 0 tasks put off
        """
        self._require_open("status")
        wanted = [self.organization] if self._scope.bound else None
        with self._discretion.applied():
            return status_of(self.store, self.catalog, wanted)

    def snapshot(self) -> LakeSnapshot:
        """The present state of all tables, for `at`; its text can be kept and given to it, too.

        That of a lake that is bound to one organization has a number that tells nothing of the
        commits of others; it can be given to `at` of a lake that is bound to the same one.
        """
        self._require_open("snapshot")
        with self._discretion.applied():
            return present(self.catalog, self.organization if self._scope.bound else None)

    def at(self, moment: LakeSnapshot | TimeLike) -> Lake:
        """The same lake as it was: to read, and to read the same however often.

        It can be used until this lake is closed. What was set aside is listed as of today.

        Args:
            moment: What `snapshot` returned, its text, or a time: the last commit before then.

        Raises:
            InvalidTimeError: It can be read neither as a snapshot nor as a time.
            SnapshotExpiredError: Segments removed since are no longer kept
                (`Config.removed_grace_ns`). Queries raise it, too, once that is so.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/at")
            >>> before = lake.snapshot()
            >>> lake.ingest(b'{"message": "hello"}').rows
            1
            >>> lake.at(before).sql("SELECT count(*) AS rows FROM logs").to_arrow().to_pylist()
            [{'rows': 0}]
        """
        self._require_open("at")
        scope = self._scope
        with self._discretion.applied():
            past = open_past(self.catalog, moment, scope.organization if scope.bound else None)
        return self._within(scope.over(past))

    def segments(
        self,
        table: str = "logs",
        start: TimeLike | None = None,
        end: TimeLike | None = None,
    ) -> Segments:
        """The live segments of a table that may hold rows in `[start, end)`, in order of time.

        Args:
            table: `logs`, `spans`, `metrics` or `metrics_rollup`.
            start: Only those that may hold rows from then on.
            end: Only those that may hold rows before then.

        Returns:
            A list that prints, and shows itself in a notebook, as a table.

        Raises:
            InvalidTimeError: `start` or `end` cannot be read.
            ConfigurationError: There is no such table.
        """
        wanted = time_range(start, end)
        self._require_open("segments")
        with self._discretion.applied():
            found = self.catalog.segments(self.organization, table_spec(table).name, wanted)
        return Segments(found)

    def close(self) -> None:
        """Release files and connections. Results that are still being read may fail."""
        if self._borrows:
            return
        self._closed.set()
        self._queries.close()
        self.catalog.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @cached_property
    def aio(self) -> AsyncLake:
        """The same lake for programs that run on asyncio: calls are awaited, on threads.

        Whoever cancels a task that awaits a query ends the query.
        """
        return AsyncLake(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if split_scheme(self.store.url)[0] == "memory":
            raise ConfigurationError(
                f"{self.store.url} is in the memory of this process, and cannot be sent to another"
            )
        scope, rules = self._scope, self._ingestor.ownership
        given = scope.organization, scope.config, scope.read_only, rules, scope.bound
        return _received, (self.store, self.catalog, *given)

    def __repr__(self) -> str:
        return f"Lake({self.store.url!r}, organization={self.organization!r})"

    def _repr_html_(self) -> str:
        title = f"Lake {self.store.url}, organization {self.organization}"
        if self._closed.is_set():
            return card(title, [("closed", True)])
        told = self.tables().to_arrow()
        rows = zip(*(told[name].to_pylist() for name in told.schema.names), strict=True)
        return listing(title, told.schema.names, rows)


def _received(  # what `Lake.__reduce__` names
    store: ObjectStore,
    catalog: Catalog,
    organization: str,
    config: Config,
    read_only: bool,  # noqa: FBT001 - as it was packed
    ownership: Ownership | None,
    bound: bool,  # noqa: FBT001 - as it was packed
) -> Lake:
    lake = Lake(
        store,
        catalog,
        organization="default" if bound else organization,
        config=config,
        read_only=read_only,
        ownership=ownership,
    )
    return lake.for_organization(organization) if bound else lake
