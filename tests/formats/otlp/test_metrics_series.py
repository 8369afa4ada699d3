"""A point belongs to the same series whatever else is in its batch, and however it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from lakerunner.formats.otlp import origin
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sent:
    """One point with its attributes, to be written in any order."""

    def __init__(self, own: Sequence[Any], resource: Sequence[Any], kind: str) -> None:
        self.own, self.resource, self.kind = own, resource, kind

    def payload(self, draw: Any | None = None, *, value: float = 1.0) -> bytes:
        def order(pairs: Sequence[Any]) -> Sequence[Any]:
            return pairs if draw is None else draw(st.permutations(list(pairs)))

        request = ExportMetricsServiceRequest()
        by_resource = request.resource_metrics.add()
        by_resource.resource.attributes.extend(order(self.resource))
        metric = by_resource.scope_metrics.add().metrics.add(name="m", unit="s")
        point = getattr(metric, self.kind).data_points.add()
        point.attributes.extend(order(self.own))
        point.time_unix_nano = 1_767_225_600 * 10**9
        if self.kind == "gauge":
            point.as_double = value
        return request.SerializeToString()


def sent(parts: Any) -> st.SearchStrategy[Sent]:
    return st.builds(
        Sent, parts.attributes, parts.attributes, st.sampled_from(["gauge", "histogram"])
    )


def ids_of(payloads: list[bytes]) -> list[int]:
    table = OtlpProtobuf().decode(payloads, Signal.METRICS, [0] * len(payloads)).table
    found: list[int] = table["series_id"].to_pylist()
    return found


@given(data=st.data(), cap=st.integers(0, 3))
def test_neighbours_order_and_overflow_do_not_matter(
    otlp_parts: Any, data: st.DataObject, cap: int
) -> None:
    points = data.draw(st.lists(sent(otlp_parts), min_size=1, max_size=4))
    alone = [ids_of([point.payload()])[0] for point in points]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(origin, "ATTRIBUTE_COLUMNS", 2 * cap)
        together = ids_of([point.payload(data.draw, value=2.0) for point in points])
    assert sorted(together) == sorted(alone)


@pytest.mark.parametrize("value", [5, 10**15, -(2**53)])
def test_an_integer_beside_doubles_and_texts(value: int) -> None:
    def payload(**attribute: Any) -> bytes:
        request = ExportMetricsServiceRequest()
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
        point = metric.gauge.data_points.add(as_int=1)
        for field, held in attribute.items():
            setattr(point.attributes.add(key="k").value, field, held)
        return request.SerializeToString()

    integer = payload(int_value=value)
    (alone,) = ids_of([integer])
    for neighbour in ({"double_value": 0.5}, {"string_value": "x"}, {"bool_value": True}):
        assert ids_of([payload(**neighbour), integer])[1] == alone
    (double,) = ids_of([payload(double_value=1e15)])
    assert ids_of([payload(string_value="x"), payload(double_value=1e15)])[1] == double


def test_type_name_unit_and_scope_tell_series_apart() -> None:
    request = ExportMetricsServiceRequest()
    scopes = request.resource_metrics.add().scope_metrics
    for scope, version in (("a", ""), ("b", ""), ("", "a")):
        by_scope = scopes.add()
        by_scope.scope.name, by_scope.scope.version = scope, version
        for name, unit in (("m", "s"), ("m", "By"), ("n", "s")):
            by_scope.metrics.add(name=name, unit=unit).gauge.data_points.add(as_int=1)
            by_scope.metrics.add(name=name, unit=unit).sum.data_points.add(as_int=1)
            by_scope.metrics.add(name=name, unit=unit).summary.data_points.add(count=1)
    found = ids_of([request.SerializeToString()])
    assert len(found) == len({*found}) == 27


def test_temporality_description_and_flags_do_not() -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for temporality in (0, 1, 2):
        data = metrics.add(name="m", description=str(temporality)).sum
        data.aggregation_temporality = temporality  # type: ignore[assignment]
        data.data_points.add(as_int=temporality, flags=temporality)
    assert len({*ids_of([request.SerializeToString()])}) == 1
