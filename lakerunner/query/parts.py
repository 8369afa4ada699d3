"""A query in parts: handed out, done by workers, and put together.

What a part is told can be pickled: the query, the tables with some of their segments, and where
the lake lies. So any `concurrent.futures.Executor` will do. A worker plans the same query over its
segments and looks after them as any query does; it never looks into the catalog.
"""

from __future__ import annotations

import io
import logging
import pickle
import tempfile
import threading
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lakerunner.compute.execution import ScanMetrics
from lakerunner.compute.planned import PlannedQuery
from lakerunner.compute.table import ScanMode, Table
from lakerunner.compute.turns import Allowance, check_cancelled, refuse_stopped
from lakerunner.errors import ForkedProcessError, LakerunnerError
from lakerunner.limits import FANOUT_PARTS, FANOUT_ROUNDS
from lakerunner.query.backing import Backing
from lakerunner.query.plan import table_of
from lakerunner.query.scan import ScanQuery
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor, Future

    from lakerunner.compute.wire import QuerySession
    from lakerunner.model.config import Config
    from lakerunner.query.plan import TablePlan
    from lakerunner.query.query import Query
    from lakerunner.store.base import ObjectStore

_LOG = logging.getLogger(__name__)
_LOOK_UP_SECONDS = 0.1
_KEPT = 4
"""Lakes that a worker keeps open."""


class Part(NamedTuple):
    """What one worker is told.

    Attributes:
        store: Where the segments lie.
        config: Settings of the lake.
        query: What is asked.
        tables: Of what, each with the segments of this part.
        fetches: Whether the rows are wanted as a Parquet file, for a query that is done at home.
    """

    store: ObjectStore
    config: Config
    query: Query
    tables: tuple[TablePlan, ...]
    fetches: bool = False


class Packed(NamedTuple):
    """A part as it is sent.

    Attributes:
        data: It, pickled.
        table: Whose rows it fetches, if it does.
    """

    data: bytes
    table: str


class Home(NamedTuple):
    """A query that is done here, over rows that parts have read.

    Attributes:
        query: What is asked.
        tables: What it reads.
        session: Where.
    """

    query: Query
    tables: tuple[TablePlan, ...]
    session: Callable[[], QuerySession]

    def planned(self, files: Mapping[str, Sequence[Path]]) -> Any:
        """The query over files that hold the rows of each table."""
        session = self.session()
        tables = [self._table(session, one, files.get(one.name, ())) for one in self.tables]
        return self.query.build(session, tables).mended()

    def _table(self, session: QuerySession, one: TablePlan, files: Sequence[Path]) -> Table:
        view, aliases = one.view, TABLES[one.name].aliases
        empty = Table(one.name, view.schema, (), ScanMode.SWEEP, view.computed)
        types = ScanQuery(one.name, list(view.computed)).build(session, [empty]).schema
        kept = [field for field in view.schema if field.name not in view.computed]
        return empty._replace(
            schema=pa.schema([*kept, *types]),
            files=tuple(file.as_uri() for file in files),
            computed={},
            aliases=aliases,
            numbers=view.numbers(one.segments),
        )


class Spread:
    """A query that is run in parts. It may be run any number of times.

    Args:
        executor: Runs the parts.
        planned: The query over all segments.
        parts: What is handed out.
        how: What parts do, for a person to read.
        home: What is done with rows that parts have only read.
    """

    def __init__(
        self,
        executor: Executor,
        planned: PlannedQuery,
        parts: Sequence[Packed],
        how: str,
        home: Home | None = None,
    ) -> None:
        self.executor = executor
        self.planned = planned
        self.parts = parts
        self.home = home
        self._text = f"on {type(executor).__name__}, {len(parts)} parts: {how}"

    def __str__(self) -> str:
        return self._text

    def execute(self, allowance: Allowance | None = None, *, brief: bool = False) -> SpreadRun:  # noqa: ARG002 - it never is
        """Start a run. Nothing is handed out before the first batch is asked for."""
        return SpreadRun(self, Allowance("") if allowance is None else allowance)


class SpreadRun:
    """One run of a query in parts.

    A part whose worker is lost is handed out once more, and if that fails is done here. Parts that
    have begun go on for a while when the run is given up: an executor cannot call them back, but
    they have the time limit of the query.

    Args:
        spread: The query.
        allowance: Turns, time and bytes of this run.
    """

    def __init__(self, spread: Spread, allowance: Allowance) -> None:
        self._spread = spread
        self._allowance = allowance
        self._bytes = self._rows = 0

    def metrics(self) -> ScanMetrics:
        """What the scans of all parts have read."""
        return ScanMetrics(self._bytes, self._rows)

    def listed(self) -> Mapping[str, int]:
        """Nothing: workers have looked after their files."""
        return {}

    def __iter__(self) -> Generator[Any]:
        """Batches of `pyarrow`; to be consumed once, by one thread.

        Raises:
            QueryError: As of a query that runs here.
        """
        planned = self._spread.planned
        if self._spread.home is not None:
            yield from self._at_home(self._spread.home)
        elif planned.split.merges:
            found = dict(self._found())
            tables = [_read(found[place]) for place in sorted(found)]
            yield from planned.execute_whole(pa.concat_tables(tables), self._allowance)
        else:
            for _, data in self._found():
                yield from map(planned.shown, _read(data).to_batches())

    def _at_home(self, home: Home) -> Iterator[Any]:
        with tempfile.TemporaryDirectory(prefix="lakerunner-", ignore_cleanup_errors=True) as named:
            files: dict[str, list[Path]] = {}
            for place, data in self._found():
                path = Path(named) / f"{place:06}.parquet"
                path.write_bytes(data)
                files.setdefault(self._spread.parts[place].table, []).append(path)
            inside = {name: sorted(paths) for name, paths in files.items()}
            yield from home.planned(inside).execute(self._allowance)

    def _found(self) -> Generator[tuple[int, bytes]]:
        """What parts have found, with their places, as they end."""
        waiting: dict[Future[tuple[bytes, int, int]], tuple[int, bool]] = {}
        places = iter(range(len(self._spread.parts)))
        ahead = FANOUT_ROUNDS * getattr(self._spread.executor, "_max_workers", FANOUT_PARTS)
        try:
            while True:
                while len(waiting) < ahead and (place := next(places, None)) is not None:
                    future = self._handed_out(place)
                    if future is None:
                        yield place, self._taken(self._done_here(place))
                    else:
                        waiting[future] = place, True
                if not waiting:
                    return
                for future in self._ended(waiting):
                    place, first = waiting.pop(future)
                    found = self._outcome(future)
                    again = self._handed_out(place) if found is None and first else None
                    if again is not None:
                        waiting[again] = place, False
                        continue
                    yield place, self._taken(self._done_here(place) if found is None else found)
        finally:
            for future in waiting:
                future.cancel()

    def _handed_out(self, place: int) -> Future[tuple[bytes, int, int]] | None:
        """Hand a part out; None if the executor takes no more."""
        seconds = self._allowance.left()
        most = self._allowance.most_bytes
        try:
            return self._spread.executor.submit(work, self._spread.parts[place].data, seconds, most)
        except (BrokenExecutor, RuntimeError) as error:
            _LOG.warning("a part of a query is done here: %s takes no more: %s", self._who, error)
            return None

    @property
    def _who(self) -> str:
        return type(self._spread.executor).__name__

    def _ended(
        self, waiting: Mapping[Future[tuple[bytes, int, int]], object]
    ) -> set[Future[tuple[bytes, int, int]]]:
        with self._allowance.turn():
            while True:
                done, _ = wait(waiting, _LOOK_UP_SECONDS, FIRST_COMPLETED)
                if done:
                    return done
                check_cancelled()
                refuse_stopped(self._spread.planned.text)
                self._allowance.left()

    def _outcome(self, future: Future[tuple[bytes, int, int]]) -> tuple[bytes, int, int] | None:
        """What a worker found; None if it was lost, or cannot answer queries."""
        try:
            return future.result()
        except ForkedProcessError as error:
            _LOG.warning("a part of a query is done here: %s", error)
            return None
        except LakerunnerError as error:
            error.add_note(f"said by a worker of {self._who}")
            raise
        except (Exception, CancelledError) as error:  # noqa: BLE001 - whatever ends a worker
            _LOG.warning("a part of a query was lost on %s: %r", self._who, error)
            return None

    def _done_here(self, place: int) -> tuple[bytes, int, int]:
        with self._allowance.turn() as seconds:
            most = self._allowance.most_bytes
            return work(self._spread.parts[place].data, seconds, most)

    def _taken(self, found: tuple[bytes, int, int]) -> bytes:
        data, size, rows = found
        self._bytes += size
        self._rows += rows
        self._allowance.read(size, ended=True)
        return data


def _read(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


# At work: in the process of a worker.

_LOCK = threading.Lock()
_OPEN: dict[tuple[Any, ...], Backing] = {}


def work(data: bytes, seconds: float | None, most_bytes: int | None) -> tuple[bytes, int, int]:
    """Do one part of a query; this is what executors run.

    Args:
        data: The part, pickled.
        seconds: How long it may take.
        most_bytes: How many bytes of segments it may read.

    Returns:
        What it found, as an Arrow stream or a Parquet file, and the bytes and rows it read for it.

    Raises:
        QueryError: As of a query that runs at home.
    """
    part: Part = pickle.loads(data)  # noqa: S301 - from the process that hands out work
    backing = _backing(part.store, part.config)
    files, session = backing.files(), backing.session()
    planned = part.query.build(session, [table_of(one, files) for one in part.tables])
    if part.query.needs() is None:
        planned = planned.mended()
    if not isinstance(planned, PlannedQuery):
        raise TypeError("a worker plans in its own process")
    allowance = Allowance("", seconds, None, part.query.text, most_bytes)
    segments = [segment for one in part.tables for segment in one.segments]
    with files.held(segments, {one.name: one.columns for one in part.tables}) as held:
        run = planned.execute(allowance) if part.fetches else planned.execute_part(allowance)
        held.listed = run.listed
        written = (_parquet if part.fetches else _stream)(run, run.schema)
        read = run.metrics()
    return written, read.bytes, read.rows


def _stream(batches: Iterable[Any], schema: pa.Schema) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def _parquet(batches: Iterable[Any], schema: pa.Schema) -> bytes:
    sink = io.BytesIO()
    # Without statistics, which would be wrong of what has NaN in it.
    with pq.ParquetWriter(sink, schema, compression="lz4", write_statistics=False) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def _backing(store: ObjectStore, config: Config) -> Backing:
    """Sessions, caches and copies of a lake, kept between the parts that this process does."""
    key = store.url, repr(sorted(store.storage_options.items())), repr(config)
    with _LOCK:
        found = _OPEN.pop(key, None) or Backing(store, config)
        _OPEN[key] = found  # now the most recent
        while len(_OPEN) > _KEPT:
            del _OPEN[next(iter(_OPEN))]
        return found
