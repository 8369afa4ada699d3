"""A lake on an engine that speaks Spark Connect: views over the files that a query can need.

Nothing of Spark is imported here: a session is the caller's, and brings along what it needs.
"""

from __future__ import annotations

import re
import time
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pyarrow as pa
from msgspec.structs import replace

from lakerunner.errors import (
    ConfigurationError,
    LakerunnerError,
    QueryExecutionError,
    QuerySyntaxError,
    SnapshotExpiredError,
    UnsupportedQueryError,
)
from lakerunner.limits import STORE_REQUESTS
from lakerunner.model.times import MAX_NS, MIN_NS
from lakerunner.outside.reach import file_urls, reached
from lakerunner.outside.table import outside_table, pinned
from lakerunner.query.explanation import QueryStats
from lakerunner.query.result import Result
from lakerunner.query.sql.tokens import Edit, Kind, rewrite, tokens
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from lakerunner.model.commit import LakeSnapshot
    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeRange
    from lakerunner.outside.table import OutsideTable
    from lakerunner.query.plan import QueryPlan
    from lakerunner.scope import Scope

_SCALARS = {
    pa.string(): "string",
    pa.bool_(): "boolean",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.uint32(): "bigint",
    pa.uint64(): "decimal(20,0)",
    pa.float64(): "double",
}
_S3A = {
    "endpoint": "endpoint",
    "access_key_id": "access.key",
    "secret_access_key": "secret.key",
    "session_token": "session.token",
    "region": "endpoint.region",
}


class SparkViews(NamedTuple):
    """What `Lake.spark` registered.

    Attributes:
        snapshot: The state of the lake that the views show, however it goes on.
        files: How many files each view reads, by its name.
        rows: How many rows these have; those of other times are not shown.
    """

    snapshot: LakeSnapshot
    files: Mapping[str, int]
    rows: Mapping[str, int]


def register_views(
    scope: Scope, session: Any, times: TimeRange, snapshot: LakeSnapshot, prefix: str = ""
) -> SparkViews:
    """Register every table as a temporary view of a session; see `Lake.spark`.

    Args:
        scope: A state of the past, so that all views are of the same one.
        session: Of Spark Connect.
        times: Only rows of these times.
        snapshot: The state, for the report.
        prefix: Before the names of the tables.

    Raises:
        ConfigurationError: The session is none, or the lake lies where no engine can read it, or
            rows are to be deleted and not gone yet.
        QueryExecutionError: The engine cannot be reached, or cannot reach the lake.
    """
    _check_session(session)
    _hand_over(scope, session)
    files, rows = {}, {}
    for name in TABLES:
        table = pinned(scope, name, times, time.time_ns())
        _create_view(scope, session, prefix + name, table, table.columns, times)
        files[prefix + name], rows[prefix + name] = len(table.segments), table.rows
    return SparkViews(snapshot, files, rows)


def run_on(
    scope: Scope, session: Any, text: str, plan: QueryPlan, *, limit: int | None = None
) -> SparkResult:
    """Run SQL on an engine over the files that a plan of it at home has left.

    Args:
        scope: The lake.
        session: Of Spark Connect.
        text: The query, as our engine understands it, too.
        plan: What our planner made of it.
        limit: Rows at most.

    Raises:
        QuerySyntaxError: The engine cannot parse the text.
        UnsupportedQueryError: The engine cannot run it; the message says what of it.
        ConfigurationError: As for `register_views`.
        QueryExecutionError: Likewise.
    """
    _check_session(session)
    _hand_over(scope, session)
    mark = f"lakerunner_{uuid.uuid4().hex}"
    said = {one.name for one in tokens(text)}
    views: dict[str, str] = {}
    named: list[Segment] = []
    try:
        for one in plan.tables:
            table = outside_table(scope, one.name, one.snapshot, one.segments, time.time_ns())
            wanted = {
                name: dtype
                for name, dtype in table.columns.items()
                if name in said or name in one.columns
            }
            view = f"{mark}_{one.name}"
            wanted = wanted or {"timestamp": table.columns["timestamp"]}
            _create_view(scope, session, view, table, wanted)
            views |= {name: view for name in (one.name, *TABLES[one.name].aliases) if name in said}
            named += table.segments
        query = spark_text(text, views)
        with _Failures(scope, session, text, named):
            frame = session.sql(query)
            frame = frame if limit is None else frame.limit(limit)
            schema = _arrow_schema(frame)
    except LakerunnerError as error:
        if not _is_gone(error.__cause__):
            _drop(session, views.values())
        raise
    total = sum(one.snapshot.segments for one in plan.tables)
    stats = QueryStats(
        segments=total,
        pruned=total - len(named),
        scanned=len(named),
        planning_seconds=plan.seconds,
    )
    return SparkResult(scope, session, text, frame, schema, stats, named, list(views.values()))


class SparkResult(Result):
    """The answer of an engine, streamed as Arrow; a `Result` in all else.

    Its `stats` tell what was handed to the engine: `bytes_read` and `rows_scanned` are those of all
    files that were named to it, of which it may have read less. There is no `cursor`.
    """

    def __init__(
        self,
        scope: Scope,
        session: Any,
        text: str,
        frame: Any,
        schema: pa.Schema,
        stats: QueryStats,
        segments: Sequence[Segment],
        views: Sequence[str],
    ) -> None:
        self._scope, self._session, self._text = scope, session, text
        self._frame, self._segments = frame, segments
        self._table = self._preview = None
        self._most_rows = scope.config.query_max_rows
        self._discretion = scope.discretion()
        self._stats = stats
        self.schema = schema
        self._forget = weakref.finalize(self, _drop, session, views)

    @property
    def cursor(self) -> str:
        """Refused.

        Raises:
            UnsupportedQueryError: Always: no other engine orders rows of one time as ours does.
        """
        raise UnsupportedQueryError("a result of another engine has no cursor", query=self._text)

    def _run(self) -> Generator[Any]:
        self._begin()
        segments = self._segments
        yield from self._timed(self._batches())
        self._stats = replace(
            self._stats,
            bytes_read=sum(one.bytes for one in segments),
            rows_scanned=sum(one.rows for one in segments),
        )

    def _batches(self) -> Generator[Any]:
        client = self._session.client
        with self._while_there(), _Failures(self._scope, self._session, self._text, self._segments):
            plan = self._frame._plan  # noqa: SLF001 - its own iterator makes objects of rows
            for found in client.to_table_as_iterator(plan.to_proto(client), plan.observations):
                if isinstance(found, pa.Table):
                    table = found if found.schema == self.schema else found.cast(self.schema)
                    yield from table.to_batches()
        self._check_files()

    @contextmanager
    def _while_there(self) -> Iterator[None]:
        """A server that is gone has no views to forget: its client would try for minutes."""
        try:
            yield
        except QueryExecutionError as error:
            if _is_gone(error.__cause__):
                self._forget.detach()
            raise

    def _check_files(self) -> None:
        """Some engines take a file that is missing for an empty one; so it is looked for after."""
        known = self._scope.catalog.known([one.id for one in self._segments])
        if any(one.id not in known for one in self._segments):
            raise _expired(self._text)
        with ThreadPoolExecutor(STORE_REQUESTS) as threads:
            there = threads.map(self._scope.store.exists, [one.key for one in self._segments])
            for segment, found in zip(self._segments, there, strict=True):
                if not found:
                    raise QueryExecutionError(
                        f"segment '{segment.key}' is in the catalog, but its file is missing; "
                        f"restore the object, or leave it out: lake.set_aside('{segment.id}')",
                        key=segment.key,
                        segment=segment.id,
                    )


def spark_text(text: str, views: Mapping[str, str]) -> str:
    r"""A query in the words of Spark: names in backticks, texts with escapes, tables as views.

    Args:
        text: The query; names stand in double quotes.
        views: By name of a table, the view it is.

    Example:
        >>> spark_text("SELECT body AS \"the body\" FROM logs WHERE body = 'a\\b'", {"logs": "v1"})
        "WITH logs AS (SELECT * FROM v1) SELECT body AS `the body` FROM logs WHERE body = 'a\\\\b'"
    """
    said = tokens(text)
    edits = [
        Edit(one.start, one.end, replaced)
        for one in said
        if (replaced := _replaced(one)) is not None
    ]
    if views:
        parts = [f"{name} AS (SELECT * FROM {view})" for name, view in sorted(views.items())]  # noqa: S608 - names of our own
        tables = ", ".join(parts)
        first = next((one for one in said if one.kind is Kind.WORD), None)
        if first is not None and first.is_word("with"):
            edits.append(Edit(first.end, first.end, f" {tables},"))
        else:
            edits.append(Edit(0, 0, f"WITH {tables} "))
    return rewrite(text, sorted(edits)).text.strip().rstrip(";")


def _replaced(token: Any) -> str | None:
    if token.kind is Kind.QUOTED:
        name = token.name.replace("`", "``")
        return f"`{name}`"
    if token.value is not None:
        escaped = token.value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return None


def _create_view(
    scope: Scope,
    session: Any,
    view: str,
    table: OutsideTable,
    columns: Mapping[str, pa.DataType],
    times: TimeRange | None = None,
) -> None:
    """Register some columns of a table; files of the same types are read together."""
    groups: dict[tuple[Any, ...], list[Segment]] = {}
    for segment in table.segments:
        types = table.own_types(segment)
        own = tuple(item for item in types.items() if item[0] in columns)
        groups.setdefault((own, table.bound_ns(segment)), []).append(segment)
    with _Failures(scope, session, view, table.segments):
        frames = [
            _frame(scope, session, table, columns, segments, bound, times)
            for (_, bound), segments in groups.items()
        ]
        if not frames:
            nothing = ", ".join(
                f"CAST(NULL AS {spark_type(dtype)}) AS {_quoted(name)}"
                for name, dtype in columns.items()
            )
            frames = [session.sql(f"SELECT {nothing} WHERE 1 = 0")]
        reduce(_union, frames).createOrReplaceTempView(view)


def _union(one: Any, other: Any) -> Any:
    return one.unionAll(other)


def _frame(
    scope: Scope,
    session: Any,
    table: OutsideTable,
    columns: Mapping[str, pa.DataType],
    segments: Sequence[Segment],
    bound_ns: int,
    times: TimeRange | None,
) -> Any:
    raw = session.read.option("mergeSchema", "true").parquet(
        *file_urls(scope.store, segments, "s3a")
    )
    physical = {
        name for one in segments for name, stats in one.columns.items() if not stats.overflow
    }
    start_ns = max(bound_ns, MIN_NS if times is None else times.start_ns)
    end_ns = MAX_NS if times is None else times.end_ns
    if start_ns > MIN_NS:
        raw = raw.where(f"unix_micros(timestamp) >= {-(-start_ns // 1000)}")
    if end_ns < MAX_NS:
        raw = raw.where(f"unix_micros(timestamp) < {-(-end_ns // 1000)}")
    return raw.selectExpr(
        *(_expression(table, name, dtype, physical) for name, dtype in columns.items())
    )


def _expression(table: OutsideTable, name: str, dtype: pa.DataType, physical: set[str]) -> str:
    wanted, column = spark_type(dtype), _quoted(name)
    found = f"CAST({column} AS {wanted})" if name in physical else f"CAST(NULL AS {wanted})"
    if name in table.overflow and OVERFLOW in physical:
        escaped = name.replace("'", "\\'")
        held = f"try_cast({OVERFLOW}['{escaped}'] AS {wanted})"
        found = f"coalesce({found}, {held})" if name in physical else held
    return f"{found} AS {column}"


def spark_type(dtype: pa.DataType) -> str:
    """What Spark calls an Arrow type; times have microseconds there.

    Example:
        >>> spark_type(pa.list_(pa.struct([("at", pa.timestamp("ns", "UTC")), ("n", pa.uint64())])))
        'array<struct<at: timestamp, n: decimal(20,0)>>'
    """
    if pa.types.is_timestamp(dtype):
        return "timestamp"
    if pa.types.is_map(dtype):
        return f"map<{spark_type(dtype.key_type)}, {spark_type(dtype.item_type)}>"
    if pa.types.is_list(dtype):
        return f"array<{spark_type(dtype.value_type)}>"
    if pa.types.is_struct(dtype):
        fields = ", ".join(f"{one.name}: {spark_type(one.type)}" for one in dtype)
        return f"struct<{fields}>"
    return _SCALARS[dtype]


def _quoted(name: str) -> str:
    escaped = name.replace("`", "``")
    return f"`{escaped}`"


def _arrow_schema(frame: Any) -> pa.Schema:
    """Of the rows of a frame; the engine analyses the query for it."""
    from pyspark.sql.pandas.types import (  # noqa: PLC0415 - there is a session, so it is installed
        to_arrow_schema,
    )

    schema: pa.Schema = to_arrow_schema(frame.schema, timezone="UTC")
    return schema


def _check_session(session: Any) -> None:
    if not (hasattr(session, "client") and hasattr(session, "read") and hasattr(session, "sql")):
        raise ConfigurationError(
            f"{type(session).__name__!r} is no session of Spark Connect: make one with "
            "SparkSession.builder.remote('sc://host:port').getOrCreate(), which "
            "pip install 'lakerunner[spark]' brings",
            setting="engine",
        )


def _hand_over(scope: Scope, session: Any) -> None:
    """Tell the engine how the lake's bucket is reached, in the words of Hadoop's client of S3."""
    given = reached(scope.store)
    if given is None:
        return  # what the engine has by itself must do
    with _Failures(scope, session, "SET", ()):
        for ours, theirs in _S3A.items():
            if given[ours]:
                session.conf.set(f"spark.hadoop.fs.s3a.{theirs}", str(given[ours]))
        session.conf.set("spark.hadoop.fs.s3a.path.style.access", str(bool(given["endpoint"])))


def _is_gone(error: BaseException | None) -> bool:
    """Whether an error says that nobody answers any more."""
    said = {type(error).__name__, *re.findall(r"[A-Z_]{6,}", str(error))}
    return not said.isdisjoint({"RetriesExceeded", "RETRIES_EXCEEDED", "UNAVAILABLE"})


def _drop(session: Any, views: Iterable[str]) -> None:
    """Forget views; a session that is gone has none."""
    for view in views:
        try:
            session.catalog.dropTempView(view)
        except Exception:  # noqa: BLE001 - the session ended before the result
            return


def _expired(text: str) -> SnapshotExpiredError:
    return SnapshotExpiredError(
        "segments that the engine was told of were removed and collected meanwhile: ask again, or "
        "raise removed_grace_ns",
        query=text,
    )


class _Failures:
    """What the engine raises, as errors of ours that say what to do."""

    def __init__(self, scope: Scope, session: Any, text: str, segments: Sequence[Segment]) -> None:
        self._scope, self._session, self._text, self._segments = scope, session, text, segments

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, LakerunnerError):
            return
        self._raise(error)

    def _raise(self, error: Exception) -> NoReturn:
        names = {one.__name__ for one in type(error).__mro__}
        said = str(error).strip()
        if "ParseException" in names:
            raise QuerySyntaxError(
                f"the engine cannot parse it: {said}", query=self._text
            ) from error
        ids = [one.id for one in self._segments]
        if ids and len(self._scope.catalog.known(ids)) < len(set(ids)):
            raise _expired(self._text) from error
        if names & {"AnalysisException", "UnsupportedOperationException"}:
            raise UnsupportedQueryError(
                f"the engine cannot run it: {said}", query=self._text
            ) from error
        told = reached(self._scope.store) or {}
        place = " at ".join(filter(None, [self._scope.store.url, told.get("endpoint")]))
        raise QueryExecutionError(
            f"the engine failed on files of {self._scope.discretion().kept_from(place)}: {said}; "
            "if it cannot reach them, give its processes the address and credentials of the store "
            "(bucket_environment of lakerunner.outside.reach)",
            query=self._text,
        ) from error
