"""Which field fills which table column, told by the names people use.

Names are compared without case and punctuation (`squash`), so one entry stands for `trace_id`,
`traceId`, `TraceID` and `trace.id`. The first name of a row counts most.
"""

from __future__ import annotations

from lakerunner.model.signal import Signal

TIME = (
    "timestamp",
    "time",
    "ts",
    "datetime",
    "eventtime",
    "eventtimestamp",
    "timeunixnano",
    "publishtime",
    "logtime",
    "logtimestamp",
    "asctime",
    "date",
    "createdat",
    "updatedat",
)
"""Names of the time of a record."""

START = ("starttimestamp", "starttime", "starttimeunixnano", "start")
END = ("endtimestamp", "endtime", "endtimeunixnano", "end")
OBSERVED = ("observedtimestamp", "observedtime", "observedtimeunixnano", "ingestiontime")

DURATIONS = {
    "durationns": 1,
    "durationnano": 1,
    "durationnanos": 1,
    "durationus": 10**3,
    "durationmicros": 10**3,
    "durationms": 10**6,
    "durationmillis": 10**6,
    "durations": 10**9,
    "durationseconds": 10**9,
}
"""Names of a span's duration, and their unit in nanoseconds. A bare `duration` says no unit."""

SERVICE_NAMES = ("servicename", "resourceservicename", "resourceattributesservicename", "service")
"""Names of the service that sent a record; they become `resource_service_name`."""

_SHARED = {
    "trace_id": ("traceid", "oteltraceid"),
    "span_id": ("spanid", "otelspanid"),
    "flags": ("flags", "traceflags", "oteltraceflags"),
    "scope_name": ("scopename", "instrumentationscopename"),
    "scope_version": ("scopeversion", "instrumentationscopeversion"),
    "scope_schema_url": ("scopeschemaurl",),
    "resource_schema_url": ("resourceschemaurl",),
    "dropped_attributes_count": ("droppedattributescount",),
}

_LOGS = {
    "severity_number": ("severitynumber",),
    "severity_text": ("severitytext", "level", "severity", "loglevel", "levelname", "lvl"),
    "event_name": ("eventname",),
    "body": (
        "body",
        "message",
        "msg",
        "log",
        "logmessage",
        "text",
        "content",
        "rawmessage",
        "textpayload",
        "line",
        "raw",
        "event",
        "data",
    ),
}

_SPANS = {
    "name": ("name", "spanname", "operationname", "operation"),
    "kind": ("kind", "spankind"),
    "status_code": ("statuscode",),
    "status_message": ("statusmessage",),
    "parent_span_id": ("parentspanid", "parentid"),
    "trace_state": ("tracestate",),
    "events": ("events",),
    "links": ("links",),
    "dropped_events_count": ("droppedeventscount",),
    "dropped_links_count": ("droppedlinkscount",),
}

_METRICS = {
    "metric_name": ("metricname", "metric", "name"),
    "metric_type": ("metrictype", "type"),
    "unit": ("unit", "metricunit"),
    "description": ("description", "metricdescription"),
    "temporality": ("temporality", "aggregationtemporality"),
    "is_monotonic": ("ismonotonic",),
    "value": ("value", "valuedouble", "asdouble", "gauge"),
    "value_int": ("valueint", "asint"),
    "count": ("count",),
    "sum": ("sum",),
    "min": ("min",),
    "max": ("max",),
    "bucket_counts": ("bucketcounts",),
    "explicit_bounds": ("explicitbounds",),
    "scale": ("scale",),
    "zero_count": ("zerocount",),
    "zero_threshold": ("zerothreshold",),
    "positive_offset": ("positiveoffset",),
    "positive_bucket_counts": ("positivebucketcounts",),
    "negative_offset": ("negativeoffset",),
    "negative_bucket_counts": ("negativebucketcounts",),
    "quantiles": ("quantiles", "quantilevalues"),
    "exemplars": ("exemplars",),
}

NAMES: dict[Signal, dict[str, tuple[str, ...]]] = {
    Signal.LOGS: {**_LOGS, **_SHARED},
    Signal.SPANS: {**_SPANS, **_SHARED},
    Signal.METRICS: {**_METRICS, **_SHARED},
}
"""Field names by table column, without times."""


def tell_signal(names: frozenset[str]) -> Signal | None:
    """The signal that squashed field names speak of, or None.

    Example:
        >>> tell_signal(frozenset({"traceid", "spanid", "name", "duration"}))
        <Signal.SPANS: 'spans'>
    """
    if "metricname" in names or {"metric", "value"} <= names:
        return Signal.METRICS
    if {"name", "value"} <= names and names & {*TIME}:
        return Signal.METRICS
    spanned = names & {*END, *DURATIONS, "duration", "parentspanid"}
    if {"traceid", "spanid"} <= names and spanned and names & {*_SPANS["name"]}:
        return Signal.SPANS
    if names & {*_LOGS["body"][:8], *_LOGS["severity_text"]}:
        return Signal.LOGS
    return None
