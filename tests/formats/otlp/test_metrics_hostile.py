"""Metrics that make no sense: they are kept as they were sent, and SQL reads them back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

import lakerunner
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.limits import ATTRIBUTE_COLUMNS
from lakerunner.model.signal import Signal

TIME = 1_767_225_600 * 10**9
TRACE, SPAN = bytes(range(16)), bytes(range(8))


def metric_of(name: str = "m", **fields: Any) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add(name=name, **fields)
    return request


def rows_of(request: ExportMetricsServiceRequest) -> list[dict[str, Any]]:
    """Every row as SQL returns it."""
    with lakerunner.open("memory://") as lake:
        report = lake.ingest(request.SerializeToString())
        assert not report.rejected
        found: list[dict[str, Any]] = lake.sql("SELECT * FROM metrics").to_arrow().to_pylist()
        assert report.rows == len(found)
        return found


def histogram(**fields: Any) -> dict[str, Any]:
    point = {"time_unix_nano": TIME, **fields}
    (row,) = rows_of(metric_of(histogram={"data_points": [point]}))
    return row


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [
        ([1, 2, 3], [1.0]),
        ([1], [1.0, 2.0, 3.0]),
        ([], [1.0]),
        ([2**64 - 1], []),
        ([], []),
        ([1, 2, 3], [5.0, -5.0]),
        ([1, 2, 3], [1.0, 1.0]),
        ([1, 2, 3], [-math.inf, math.inf]),
        ([1, 2, 3], [math.nan, 0.0]),
    ],
)
def test_buckets_that_make_no_sense_are_kept(counts: list[int], bounds: list[float]) -> None:
    row = histogram(bucket_counts=counts, explicit_bounds=bounds, count=7, sum=math.nan)
    held = [row["bucket_counts"], row["explicit_bounds"], row["count"], row["sum"]]
    assert repr(held) == repr([counts, bounds, 7, math.nan])


def test_what_was_not_sent_is_null_and_never_zero() -> None:
    row = histogram(count=3)
    assert (row["sum"], row["min"], row["max"], row["start_timestamp"]) == (None,) * 4
    assert (row["count"], row["flags"], row["bucket_counts"]) == (3, 0, [])
    zero = histogram(sum=0.0, min=0.0, max=-0.0)
    assert repr([zero["sum"], zero["min"], zero["max"]]) == "[0.0, 0.0, -0.0]"


def test_an_exponential_histogram_keeps_all_its_ranges() -> None:
    point = {
        "time_unix_nano": TIME,
        "count": 2**64 - 1,
        "scale": -10,
        "zero_count": 2**63,
        "zero_threshold": math.inf,
        "positive": {"offset": -(2**31), "bucket_counts": [0, 2**64 - 1]},
    }
    data = {"data_points": [point], "aggregation_temporality": 1}
    (row,) = rows_of(metric_of(exponential_histogram=data))
    wanted = {
        **{name: point[name] for name in ("count", "scale", "zero_count", "zero_threshold")},
        "positive_offset": -(2**31),
        "positive_bucket_counts": [0, 2**64 - 1],
        "negative_offset": None,
        "negative_bucket_counts": None,
        "bucket_counts": None,
        "explicit_bounds": None,
        "temporality": "delta",
    }
    assert {name: row[name] for name in wanted} == wanted


def test_a_summary_keeps_quantiles_in_any_order() -> None:
    quantiles = [{"quantile": 2.0, "value": math.inf}, {"quantile": -1.0, "value": 0.0}]
    point = {"time_unix_nano": TIME, "count": 1, "quantile_values": quantiles}
    (row,) = rows_of(metric_of(summary={"data_points": [point]}))
    assert row["quantiles"] == quantiles
    assert (row["count"], row["sum"], row["value"]) == (1, 0.0, None)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**53 + 1, 0])
def test_integers_are_not_rounded(number: int) -> None:
    exemplar = {"as_int": number, "trace_id": TRACE, "span_id": SPAN, "time_unix_nano": TIME}
    point = {"time_unix_nano": TIME, "as_int": number, "exemplars": [exemplar]}
    (row,) = rows_of(metric_of(sum={"data_points": [point], "aggregation_temporality": 9}))
    assert (row["value"], row["value_int"], row["temporality"]) == (float(number), number, "9")
    (held,) = row["exemplars"]
    assert (held["value"], held["value_int"]) == (float(number), number)
    assert (held["trace_id"], held["span_id"]) == (TRACE.hex(), SPAN.hex())


@pytest.mark.parametrize("sent", [{}, {"as_double": math.nan}, {"as_int": 0}])
def test_a_staleness_marker_has_no_value(sent: dict[str, Any]) -> None:
    points = [
        {"time_unix_nano": TIME, "as_double": 1.5},
        {"time_unix_nano": TIME + 1, "flags": 1, **sent},
        {"time_unix_nano": TIME + 2, "as_double": math.nan},
    ]
    rows = rows_of(metric_of(gauge={"data_points": points}))
    assert len({row["series_id"] for row in rows}) == 1
    assert [row["flags"] for row in rows] == [0, 1, 0]
    assert repr([row["value"] for row in rows]) == "[1.5, None, nan]"
    assert [row["value_int"] for row in rows] == [None] * 3


@pytest.mark.parametrize("raw", [1, 2**63, 2**64 - 1, 1_767_225_600, 2**63 - 1])
def test_absurd_times_are_kept_as_numbers(raw: int) -> None:
    exemplar = {"time_unix_nano": raw}
    point = {"time_unix_nano": raw, "start_time_unix_nano": raw, "exemplars": [exemplar]}
    payload = metric_of(gauge={"data_points": [point]}).SerializeToString()
    table = OtlpProtobuf().decode([payload], Signal.METRICS, [5]).table
    assert table["timestamp"].null_count == 0

    def sent(time: Any, number: Any) -> Any:
        return number.as_py() if number.is_valid else time.value

    # A number that cannot be read as it stands is in the column of raw numbers beside it.
    raws = "timestamp_raw" in table.schema.names
    number = table["timestamp_raw"][0] if raws else None
    assert (number.as_py() if number is not None else table["timestamp"][0].value) == raw
    start = "start_timestamp_raw" in table.schema.names
    number = table["start_timestamp_raw"][0] if start else None
    assert (number.as_py() if number is not None else table["start_timestamp"][0].value) == raw
    (held,) = table["exemplars"][0]
    assert sent(held["timestamp"], held["timestamp_raw"]) == raw


@pytest.mark.parametrize(
    "request_",
    [
        metric_of(),
        metric_of(gauge={}),
        metric_of(summary={"data_points": []}, description="nothing"),
        ExportMetricsServiceRequest(),
    ],
)
def test_metrics_without_points_have_no_rows(request_: ExportMetricsServiceRequest) -> None:
    decoded = OtlpProtobuf().decode([request_.SerializeToString(), b""], Signal.METRICS, [0, 0])
    assert decoded.table.num_rows == 0
    assert decoded.rows.tolist() == [0, 0]


def test_a_kind_of_data_that_nobody_knows_has_no_rows() -> None:
    # Field 13 of `Metric`, as a later protocol may define it, beside a metric with one point.
    metric = b"\x0a\x01x" + b"\x6a\x02\x08\x01"
    scope = b"\x12" + bytes([len(metric)]) + metric
    resource = b"\x12" + bytes([len(scope)]) + scope
    unknown = b"\x0a" + bytes([len(resource)]) + resource
    known = metric_of(gauge={"data_points": [{"as_int": 1}]}).SerializeToString()
    decoded = OtlpProtobuf().decode([unknown, known], Signal.METRICS, [0, 0])
    assert decoded.rows.tolist() == [0, 1]


def test_runaway_attributes_go_to_the_overflow() -> None:
    keys = 2000
    request = metric_of()
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    points = [metric.gauge.data_points.add(as_int=row, time_unix_nano=TIME) for row in range(10)]
    for index in range(keys):
        points[index % 10].attributes.add(key=f"key.{index}").value.int_value = index
    with lakerunner.open("memory://") as lake:
        lake.ingest(request.SerializeToString())
        found = lake.sql(
            "SELECT value_int FROM metrics WHERE attr_key_7 = 7 OR attr_key_1998 = 1998 ORDER BY 1"
        ).to_arrow()
        assert found["value_int"].to_pylist() == [7, 8]
    table = OtlpProtobuf().decode([request.SerializeToString()], Signal.METRICS, [0]).table
    assert sum(name.startswith("attr_") for name in table.schema.names) == ATTRIBUTE_COLUMNS
    assert len({*table["series_id"].to_pylist()}) == 10


def test_text_that_is_not_utf8_is_mended() -> None:
    payload = metric_of("ab", unit="cd", gauge={"data_points": [{"as_int": 1}]})
    broken = payload.SerializeToString().replace(b"ab", b"a\xff").replace(b"cd", b"\xfed")
    table = OtlpProtobuf().decode([broken], Signal.METRICS, [0]).table
    assert table["metric_name"].to_pylist() == ["a\ufffd"]
    assert table["unit"].to_pylist() == ["\ufffdd"]


def test_metadata_and_exemplar_attributes_are_json() -> None:
    filtered = [{"key": "user", "value": {"int_value": 2**60}}]
    point = {"time_unix_nano": TIME, "exemplars": [{"filtered_attributes": filtered}]}
    metadata = [{"key": "prometheus.type", "value": {"string_value": "gauge"}}]
    (row,) = rows_of(metric_of(gauge={"data_points": [point]}, metadata=metadata))
    assert row["metadata"] == '{"prometheus.type":"gauge"}'
    assert row["exemplars"][0]["attributes"] == '{"user":1152921504606846976}'
