"""Prometheus' HTTP API over `Lake.promql`: what Grafana, promtool and client libraries speak.

Paths, parameters, statuses and the shape of answers are those of
https://prometheus.io/docs/prometheus/latest/querying/api/.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from starlette.responses import Response

import lakerunner
from lakerunner.errors import ConfigurationError, ErrorCode, LakerunnerError
from lakerunner.gateway.forms import END, LIMIT, SPAN, START, Kind, Parameter, sent_form_of
from lakerunner.gateway.openapi import FORM, DescribedRoute, Operation
from lakerunner.gateway.problems import headers_of, problem_of
from lakerunner.gateway.sample_json import (
    data_json,
    exemplars_json,
    json_list,
    metric_objects,
    numbers_first,
)
from lakerunner.model.times import isoformat, to_nanoseconds
from lakerunner.query.promql.parser import parse
from lakerunner.query.promql.printing import formatted, syntax_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from starlette.requests import Request

    from lakerunner.gateway.forms import Form
    from lakerunner.gateway.serving import Serving, Visit
    from lakerunner.query.promql.answering import SampleResult

_ERROR_TYPES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    422: "execution",
    429: "too_many_requests",
    503: "unavailable",
}
_FIRST_SERVER_ERROR = 500
_TRUNCATED = "results truncated due to limit"
"""The warning, in Prometheus' words."""

_NS_PER_MS = 1_000_000
_TSDB_ENTRIES = 10
_STARTED = isoformat(time.time_ns())
"""About when this process began to serve."""

_PROMETHEUS = "3.0.0"
"""The version that clients are told: they look at it to see what the API can do."""

_BOUNDS = {"histogram": "le", "summary": "quantile"}
"""The label that tells the parts of a metric of each type apart."""

_TYPES = {
    "gauge": "gauge",
    "sum": "counter",
    "histogram": "histogram",
    "exponential_histogram": "histogram",
    "summary": "summary",
}


_QUERY = Parameter("query", about="PromQL.", required=True)
_AT = Parameter("time", Kind.TIME, "When; now if nothing is said.")
_RANGE = (
    START.needed(),
    END.needed(),
    Parameter("step", Kind.SECONDS, "How often: seconds, or 5m.", required=True),
)
_EVALUATED = (
    _QUERY,
    Parameter("timeout", Kind.SECONDS, "What it may take."),
    Parameter("lookback_delta", Kind.SECONDS, "How old a sample may be that is still seen."),
    Parameter("stats", about="Any text: tell what it took."),
    LIMIT,
)
_FEATURES = {
    "api": dict.fromkeys(("query", "query_range", "series", "labels", "query_exemplars"), True),
    "lakerunner": dict.fromkeys(("metrics", "logs", "spans", "tail", "sql"), True),
}
"""What clients may ask for; see also `cardinal`, whose clients look here, too."""

_MATCH = Parameter("match[]", about="Selectors; series meet one of them.", several=True)
_EACH = Parameter("limit_per_metric", Kind.NUMBER, "Entries of one metric at most; 0 for all.")


class PrometheusFailure(msgspec.Struct, frozen=True):
    """The body of an answer that failed, as this API words it.

    Attributes:
        status: Always `error`.
        errorType: Such as `bad_data`, `execution` or `timeout`.
        error: For a person.
    """

    status: str
    errorType: str  # noqa: N815 - as it is sent
    error: str


class Answered(NamedTuple):
    """What an endpoint found.

    Attributes:
        data: The member `data`, as JSON.
        warnings: What may be wrong with it.
        infos: What may be odd about it.
    """

    data: bytes
    warnings: Sequence[str] = ()
    infos: Sequence[str] = ()


def prometheus_routes(serving: Serving) -> list[DescribedRoute]:
    """The routes below `/api/v1`."""

    def route(
        path: str,
        about: str,
        work: Callable[[Visit, Form, Mapping[str, str]], Answered],
        *parameters: Parameter,
    ) -> DescribedRoute:
        async def endpoint(request: Request) -> Response:
            try:
                form = await sent_form_of(request, parameters, serving.settings.body_bytes)
                found = await serving.query(
                    request, lambda visit: work(visit, form, request.path_params)
                )
            except Exception as error:  # noqa: BLE001 - each is told in this API's own words
                return _failure(error, serving)
            return _success(found)

        told = Operation(about, parameters, bodies=(FORM,), failure=PrometheusFailure)
        return DescribedRoute(path, endpoint, told, ("GET", "POST"))

    def static(path: str, data: Any) -> DescribedRoute:
        answered = Answered(msgspec.json.encode(data))
        about = "What a server of Prometheus says here; the same for every lake."
        return route(path, about, lambda _visit, _form, _parts: answered)

    matching = (_MATCH, *SPAN, LIMIT)
    described = (LIMIT, Parameter("metric", about="Of which one."), _EACH)
    return [
        route("/api/v1/query", "PromQL at one moment.", _query, _AT, *_EVALUATED),
        route("/api/v1/query_range", "PromQL over a time.", _query_range, *_RANGE, *_EVALUATED),
        route("/api/v1/series", "Series that match.", _series, *matching),
        route("/api/v1/labels", "Names of labels.", _labels, *matching),
        route("/api/v1/label/{name:path}/values", "Values of a label.", _label_values, *matching),
        route("/api/v1/metadata", "Types, helps and units of metrics.", _metadata, *described),
        route("/api/v1/query_exemplars", "Exemplars.", _exemplars, _QUERY, *SPAN),
        route("/api/v1/format_query", "A PromQL text, laid out.", _format, _QUERY),
        route("/api/v1/parse_query", "A PromQL text as a tree.", _parsed, _QUERY),
        static("/api/v1/rules", {"groups": []}),
        static("/api/v1/alerts", {"alerts": []}),
        static("/api/v1/targets", {"activeTargets": [], "droppedTargets": []}),
        static("/api/v1/targets/metadata", []),
        static("/api/v1/alertmanagers", {"activeAlertmanagers": [], "droppedAlertmanagers": []}),
        static("/api/v1/notifications", []),
        static("/api/v1/features", _FEATURES),
        static("/api/v1/status/buildinfo", _build()),
        static("/api/v1/status/flags", {}),
        static("/api/v1/status/config", {"yaml": ""}),
        route("/api/v1/status/runtimeinfo", "About the server.", _runtime),
        route("/api/v1/status/tsdb", "How many series there are of what.", _tsdb, LIMIT),
        static("/api/v1/status/walreplay", {"min": 0, "max": 0, "current": 0}),
    ]


def _build() -> dict[str, str]:
    return {
        "version": _PROMETHEUS,
        "revision": lakerunner.__version__,
        "branch": "lakerunner",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }


def _success(found: Answered) -> Response:
    parts = [b'{"status":"success","data":', found.data]
    for name, notes in (("warnings", found.warnings), ("infos", found.infos)):
        if notes:
            parts.append(b',"%s":%s' % (name.encode(), msgspec.json.encode(list(notes))))
    return Response(b"".join([*parts, b"}"]), media_type="application/json")


def _failure(error: Exception, serving: Serving) -> Response:
    problem = problem_of(error)
    if problem.status >= _FIRST_SERVER_ERROR and not isinstance(error, LakerunnerError):
        serving.log.error("a request failed", exc_info=error)
    status, kind = problem.status, _ERROR_TYPES.get(problem.status, "internal")
    if problem.code in (ErrorCode.QUERY_TIMEOUT, ErrorCode.QUERY_BUSY):
        status, kind = 503, "timeout"
    elif 400 <= status < _FIRST_SERVER_ERROR and status not in _ERROR_TYPES:  # noqa: PLR2004 - as HTTP calls it
        status, kind = 400, "bad_data"
    message = problem.message
    if problem.code == ErrorCode.QUERY_SYNTAX:
        message = f'invalid parameter "query": {message}'
    body = PrometheusFailure("error", kind, message)
    return Response(msgspec.json.encode(body), status, headers_of(problem), "application/json")


def _query(visit: Visit, form: Form, _: Mapping[str, str]) -> Answered:
    at = form.time("time")
    return _evaluated(visit, form, {"time": datetime.now(UTC) if at is None else at})


def _query_range(visit: Visit, form: Form, _: Mapping[str, str]) -> Answered:
    start, end = form.needed_time("start"), form.needed_time("end")
    return _evaluated(
        visit, form, {"start": start, "end": end, "step": form.needed_seconds("step")}
    )


def _evaluated(visit: Visit, form: Form, times: dict[str, Any]) -> Answered:
    seconds = form.seconds("timeout")
    visit.account.query = form.needed("query")
    result = visit.lake.promql(
        visit.account.query,
        **times,
        lookback=form.seconds("lookback_delta"),
        timeout=visit.seconds if seconds is None else min(seconds, visit.seconds),
    )
    table = result.to_arrow()
    visit.account.add(result.stats)
    data, cut = data_json(numbers_first(table), result.kind, form.limit())
    if form.text("stats"):
        data = data[:-1] + b',"stats":' + _stats(result) + b"}"
    warnings = (*result.warnings, *([_TRUNCATED] if cut else []))
    return Answered(data, warnings, result.infos)


def _stats(result: SampleResult) -> bytes:
    stats = result.stats
    timings = {
        "evalTotalTime": stats.seconds,
        "resultSortTime": 0,
        "queryPreparationTime": stats.planning_seconds,
        "innerEvalTime": stats.execution_seconds,
        "execQueueTime": 0,
        "execTotalTime": stats.seconds,
    }
    samples = {"totalQueryableSamples": stats.rows_scanned, "peakSamples": stats.rows_scanned}
    return msgspec.json.encode({"timings": timings, "samples": samples})


def _found(visit: Visit, form: Form, *, bounds: bool) -> pa.Table:
    """The series that fulfil any of the selectors, one row each."""
    start, end = form.time("start"), form.time("end")
    matchers = form.texts("match[]")
    result = visit.lake.series(matchers, start=start, end=_included(end), bounds=bounds)
    found: pa.Table = result.to_arrow()
    return found


def _included(end: str | None) -> str | None:
    """The end of a range as ours are, which do not hold their end, of one that does."""
    if end is None:
        return None
    return isoformat(to_nanoseconds(end, now_ns=time.time_ns()) + _NS_PER_MS)


def _series(visit: Visit, form: Form, _: Mapping[str, str]) -> Answered:
    if not form.texts("match[]"):
        raise ConfigurationError("no match[] parameter provided")
    found = metric_objects(_found(visit, form, bounds=True))
    limit = form.limit()
    if 0 < limit < len(found):
        return Answered(json_list(found.slice(0, limit)), [_TRUNCATED])
    return Answered(json_list(found))


def _labels(visit: Visit, form: Form, _: Mapping[str, str]) -> Answered:
    given = bool(form.texts("match[]"))
    names = set(_found(visit, form, bounds=given).schema.names)
    if not given:  # then it would take all points of all histograms to say what their types tell
        types = set(visit.lake.metrics().to_arrow()["type"].to_pylist())
        names |= {label for kind, label in _BOUNDS.items() if kind in types}
    return _listed(sorted(names), form)


def _label_values(visit: Visit, form: Form, parts: Mapping[str, str]) -> Answered:
    name = _unescaped(parts["name"])
    bounds = name in _BOUNDS.values() or bool(form.texts("match[]"))
    table = _found(visit, form, bounds=bounds)
    if name not in table.schema.names:
        return Answered(b"[]")
    values = pc.unique(table[name].drop_null()).sort().to_pylist()
    return _listed(values, form)


def _unescaped(name: str) -> str:
    """A label's name as it is: clients write `U__` before one that they had to escape."""
    if not name.startswith("U__"):
        return name
    parts = name[3:].replace("__", "\0").split("_")
    # Between two underscores stands the number of a character in hex.
    whole = "".join(chr(int(part, 16)) if place % 2 else part for place, part in enumerate(parts))
    return whole.replace("\0", "_")


def _listed(values: list[Any], form: Form) -> Answered:
    limit = form.limit()
    if 0 < limit < len(values):
        return Answered(msgspec.json.encode(values[:limit]), [_TRUNCATED])
    return Answered(msgspec.json.encode(values))


def _metadata(visit: Visit, form: Form, _: Mapping[str, str]) -> Answered:
    wanted = form.text("metric")
    described: dict[str, list[dict[str, str]]] = {}
    for row in visit.lake.metrics().to_arrow().to_pylist():
        counter = row["type"] != "sum" or row["is_monotonic"]
        entry = {
            "type": _TYPES.get(row["type"], "unknown") if counter else "gauge",
            "help": row["description"] or "",
            "unit": row["unit"] or "",
        }
        known = described.setdefault(row["name"], [])
        if (not wanted or row["name"] == wanted) and entry not in known:
            known.append(entry)
    each = form.limit("limit_per_metric")
    found = {name: one[: each or None] for name, one in described.items() if one}
    limit = form.limit()
    if limit:
        found = dict(list(found.items())[:limit])
    return Answered(msgspec.json.encode(found))


def _exemplars(visit: Visit, form: Form, _: Mapping[str, str]) -> Answered:
    start, end = form.time("start"), _included(form.time("end"))
    found = visit.lake.exemplars(form.needed("query"), start=start, end=end).to_arrow()
    return Answered(exemplars_json(found))


def _format(_: Visit, form: Form, __: Mapping[str, str]) -> Answered:
    return Answered(msgspec.json.encode(formatted(parse(form.needed("query")))))


def _parsed(_: Visit, form: Form, __: Mapping[str, str]) -> Answered:
    return Answered(msgspec.json.encode(syntax_json(parse(form.needed("query")))))


def _runtime(visit: Visit, _: Form, __: Mapping[str, str]) -> Answered:
    segments = visit.lake.segments("metrics")
    first = min((one.min_timestamp_ns for one in segments), default=0)
    data = {
        "startTime": _STARTED,
        "CWD": "",
        "hostname": "",
        "serverTime": isoformat(time.time_ns()),
        "reloadConfigSuccess": True,
        "lastConfigTime": _STARTED,
        "corruptionCount": 0,
        "storageRetention": "",
        "oldestTime": isoformat(first),
    }
    return Answered(msgspec.json.encode(data))


def _tsdb(visit: Visit, form: Form, _: Mapping[str, str]) -> Answered:
    """What a database of series says of itself, told of the segments and series of the metrics."""
    segments, most = visit.lake.segments("metrics"), form.limit() or _TSDB_ENTRIES
    series = visit.lake.series(bounds=False).to_arrow()
    counts = {name: pc.value_counts(series[name].drop_null()) for name in series.schema.names}
    sizes = {name: pc.sum(pc.binary_length(series[name])).as_py() or 0 for name in counts}
    pairs = [
        (f"{name}={value}", count)
        for name, found in counts.items()
        for value, count in _largest(found, most)
    ]
    head = {
        "numSeries": series.num_rows,
        "numLabelPairs": sum(len(found) for found in counts.values()),
        "chunkCount": len(segments),
        "minTime": min((one.min_timestamp_ns for one in segments), default=0) // _NS_PER_MS,
        "maxTime": max((one.max_timestamp_ns for one in segments), default=0) // _NS_PER_MS,
    }
    data = {
        "headStats": head,
        "seriesCountByMetricName": _entries(_largest(counts.get("__name__"), most), most),
        "labelValueCountByLabelName": _entries(
            [(name, len(found)) for name, found in counts.items()], most
        ),
        "memoryInBytesByLabelName": _entries(sizes.items(), most),
        "seriesCountByLabelValuePair": _entries(pairs, most),
    }
    return Answered(msgspec.json.encode(data))


def _largest(counted: Any, most: int) -> list[tuple[str, int]]:
    """The values that occur most often, and how often, of what `value_counts` found."""
    if counted is None:
        return []
    table = pa.table({"value": counted.field(0), "count": counted.field(1)})
    table = table.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, most)
    return list(zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True))


def _entries(found: Iterable[tuple[str, int]], most: int) -> list[dict[str, Any]]:
    ordered = sorted(found, key=lambda one: (-one[1], one[0]))[:most]
    return [{"name": name, "value": count} for name, count in ordered]
