"""What the shop measures: the metrics, and which series of them its spans belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lakerunner.generate.plans import CLIENT, PLANS, SERVER, SpanPlan
from lakerunner.generate.wire import VARINT, nested, tag, varint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.generate.config import Temporality
    from lakerunner.generate.plans import Attributes
    from lakerunner.generate.shop import Resource

_SECONDS, _MILLISECONDS = 1e-9, 1e-6
_FIELDS = {"gauge": 5, "sum": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}
_TEMPORALITIES = {"delta": 1, "cumulative": 2}

HTTP_BOUNDS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
RPC_BOUNDS = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0,
    10000.0,
)  # fmt: skip
"""Bounds of buckets that the semantic conventions recommend."""


class Instrument(NamedTuple):
    """One metric.

    Attributes:
        name: As sent.
        unit: In UCUM.
        description: As sent.
        kind: A key of the oneof in `Metric`.
        monotonic: Of a sum, whether it only grows.
        lasting: The temporality is cumulative whatever the config says, or there is none.
    """

    name: str
    unit: str
    description: str
    kind: str
    monotonic: bool = False
    lasting: bool = False

    def frame(self, points: bytes, temporality: Temporality) -> bytes:
        """The `Metric` around points, as the field of the `ScopeMetrics` around it."""
        tail = b""
        if self.kind not in {"gauge", "summary"}:
            kept = "cumulative" if self.lasting else temporality
            tail = tag(2, VARINT) + varint(_TEMPORALITIES[kept])
        if self.monotonic:
            tail += tag(3, VARINT) + varint(1)
        texts = (self.name, self.description, self.unit)
        head = b"".join(nested(field, text.encode()) for field, text in enumerate(texts, 1))
        return nested(2, head + nested(_FIELDS[self.kind], points + tail))


INSTRUMENTS = (
    Instrument("http.server.request.duration", "s", "Duration of HTTP requests.", "histogram"),
    Instrument("rpc.server.duration", "ms", "Duration of remote procedure calls.", "histogram"),
    Instrument(
        "db.client.operation.duration", "s", "Duration of statements.", "exponential_histogram"
    ),
    Instrument("shop.orders", "{order}", "Orders by what became of them.", "sum", monotonic=True),
    Instrument("process.cpu.time", "s", "Processor time used.", "sum", monotonic=True),
    Instrument("process.memory.usage", "By", "Resident memory.", "sum", lasting=True),
    Instrument("k8s.pod.cpu.usage", "{cpu}", "Processors in use.", "gauge"),
    Instrument("runtime.gc.pause", "s", "Pauses for garbage collection.", "summary"),
    Instrument("shop.stock.level", "{item}", "Items in a warehouse.", "gauge"),
    Instrument("shop.items.sold", "{item}", "Items sold.", "sum", monotonic=True),
)
"""Every metric; points refer to them by position."""

(
    HTTP_DURATION, RPC_DURATION, DB_DURATION, ORDERS, CPU_TIME, MEMORY, CPU_USAGE, GC_PAUSE,
    STOCK, SOLD,
) = range(len(INSTRUMENTS))  # fmt: skip


class Labels(NamedTuple):
    """How spans become measurements.

    Attributes:
        instrument: Position of the metric.
        scale: What a nanosecond is in its unit.
        labels: The attributes of the point that a span counts in; None if it is not measured.
    """

    instrument: int
    scale: float
    labels: Callable[[SpanPlan], Attributes | None]


def _picked(plan: SpanPlan, prefixes: tuple[str, ...]) -> Attributes:
    return {key: value for key, value in plan.attributes.items() if key.startswith(prefixes)}


def _http(plan: SpanPlan) -> Attributes | None:
    if plan.kind != SERVER or "http.route" not in plan.attributes:
        return None
    return _picked(plan, ("http.", "url.scheme", "error.type", "network."))


def _rpc(plan: SpanPlan) -> Attributes | None:
    return _picked(plan, ("rpc.", "error.type")) if _is_rpc_server(plan) else None


def _is_rpc_server(plan: SpanPlan) -> bool:
    return plan.kind == SERVER and "rpc.system" in plan.attributes


def _statements(plan: SpanPlan) -> Attributes | None:
    if plan.kind != CLIENT or "db.system.name" not in plan.attributes:
        return None
    wanted = ("db.system", "db.operation", "db.collection", "db.namespace", "server.")
    return _picked(plan, wanted)


def _orders(plan: SpanPlan) -> Attributes | None:
    if not _is_rpc_server(plan) or plan.service != "checkout":
        return None
    outcomes = {0: "placed", 9: "declined"}
    code = plan.attributes["rpc.grpc.status_code"]
    return {"shop.order.outcome": outcomes.get(int(code), "failed")}


HTTP = Labels(HTTP_DURATION, _SECONDS, _http)
RPC = Labels(RPC_DURATION, _MILLISECONDS, _rpc)
STATEMENTS = Labels(DB_DURATION, _SECONDS, _statements)
OUTCOMES = Labels(ORDERS, 0.0, _orders)


class SpanSeries(NamedTuple):
    """The series that measure spans.

    Attributes:
        resources: The resource of each series.
        attributes: Those of its points.
        lookup: Series by plan and resource; -1 where a span is not measured.
    """

    resources: npt.NDArray[np.intp]
    attributes: list[Attributes]
    lookup: npt.NDArray[np.intp]


def span_series(labels: Labels, resources: Sequence[Resource]) -> SpanSeries:
    """Every series that spans of these resources can belong to."""
    lookup = np.full((len(PLANS), len(resources)), -1, np.intp)
    owners: list[int] = []
    attributes: list[Attributes] = []
    measured = [(place, labels.labels(plan)) for place, plan in enumerate(PLANS)]
    for position, resource in enumerate(resources):
        known: dict[tuple[tuple[str, object], ...], int] = {}
        for place, found in measured:
            if found is not None and PLANS[place].service == resource.service.name:
                key = tuple(found.items())
                if key not in known:
                    known[key] = len(owners)
                    owners.append(position)
                    attributes.append(found)
                lookup[place, position] = known[key]
    return SpanSeries(np.array(owners, np.intp), attributes, lookup)
