"""Spans to the bytes of OTLP `ExportTraceServiceRequest` messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakerunner.generate.framing import Frames
from lakerunner.generate.logs import digits, sessions
from lakerunner.generate.plans import MOST_EVENTS, PLANS, SpanPlan
from lakerunner.generate.traffic import PRODUCTS
from lakerunner.generate.vocabulary import ADDRESSES, AGENTS, product_names
from lakerunner.generate.wire import (
    FIXED32,
    FIXED64,
    VARINT,
    Prefixes,
    beside,
    fixed,
    hexadecimal,
    join,
    key_value,
    key_values,
    nested,
    table,
    tag,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.generate.shop import Resource
    from lakerunner.generate.tracing import Spans
    from lakerunner.generate.wire import AttributeValue

# Field numbers of opentelemetry.proto.trace.v1.Span; pieces are joined in this order.
_TRACE, _SPAN, _STATE, _PARENT, _NAME, _KIND, _START, _END, _ATTRIBUTES = 1, 2, 3, 4, 5, 6, 7, 8, 9
_EVENTS, _LINKS, _STATUS, _FLAGS = 11, 13, 15, 16

_SAMPLED, _KNOWN, _REMOTE = 0x1, 0x100, 0x200  # flags; the latter two of the parent
_PARTITIONS = 12
_LONGEST = 8192
_LINK_ATTRIBUTES = key_values(4, {"messaging.operation.name": "send"})


def _flags(plan: SpanPlan) -> bytes:
    flags = _SAMPLED | _KNOWN | (_REMOTE if plan.remote else 0)
    return tag(_FLAGS, FIXED32) + flags.to_bytes(4, "little")


def _status(plan: SpanPlan) -> bytes:
    code, message = plan.status
    text = nested(2, message.encode()) if message else b""
    return nested(_STATUS, text + tag(3, VARINT) + varint(code)) if code else b""


def _state(plan: SpanPlan) -> bytes:
    return nested(_STATE, b"acme=checkout") if plan.name.endswith("PlaceOrder") else b""


def _event(plan: SpanPlan, number: int) -> tuple[bytes, bytes]:
    """What stands before and after the time of an event; nothing if there is no such event."""
    if number >= len(plan.events):
        return b"", b""
    event = plan.events[number]
    tail = nested(2, event.name.encode()) + key_values(3, event.attributes)
    time = tag(1, FIXED64)
    head = tag(_EVENTS, 2) + varint(len(time) + 8 + len(tail)) + time
    return head, tail


class SpansEncoder:
    """Writes spans as requests; its tables depend on nothing but the resources."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._frames = Frames(resources)
        self._states = table(map(_state, PLANS))
        self._names = table(
            nested(_NAME, plan.name.encode()) + tag(_KIND, VARINT) + varint(plan.kind)
            for plan in PLANS
        )
        self._statics = table(key_values(_ATTRIBUTES, plan.attributes) for plan in PLANS)
        self._ends = table(_status(plan) + _flags(plan) for plan in PLANS)
        self._child = np.array([plan.parent is not None for plan in PLANS])
        self._linked = np.array([plan.link is not None for plan in PLANS])
        self._events = [
            tuple(table(_event(plan, number)[side] for plan in PLANS) for side in (0, 1))
            for number in range(MOST_EVENTS)
        ]
        self._happened = np.array([len(plan.events) for plan in PLANS])
        names = {name for plan in PLANS for name in plan.carries}
        self._carries = {name: np.array([name in plan.carries for plan in PLANS]) for name in names}
        self._clients = self._choice("client.address", ADDRESSES)
        self._agents = self._choice("user_agent.original", AGENTS)
        self._products = self._choice("shop.product.id", product_names(PRODUCTS))
        self._cached = self._choice("cache.hit", [False, True])
        partitions = list(map(str, range(_PARTITIONS)))
        self._partitions = self._choice("messaging.destination.partition.id", partitions)
        self._span = Prefixes(2, longest=_LONGEST)

    @staticmethod
    def _choice(key: str, values: Sequence[AttributeValue]) -> Any:
        """Attributes with few values; the first entry is for spans that do not carry them."""
        return table([b"", *(key_value(_ATTRIBUTES, key, value) for value in values)])

    def requests(self, rows: Spans, spans_per_request: int) -> Iterator[bytes]:
        """Write spans, ordered by end, as one request for each `spans_per_request` of them."""
        request = np.arange(len(rows)) // spans_per_request
        order = np.lexsort((rows["resource"], request))
        rows = rows[order]
        return self._frames.requests(request[order], rows["resource"], self._spans(rows))

    def _spans(self, rows: Spans) -> Any:
        plans = rows["plan"]
        index = pa.array(plans)
        ids = beside(
            nested(_TRACE, bytes(16))[:2], rows["trace"],
            nested(_SPAN, bytes(8))[:2], rows["span"],
        )  # fmt: skip
        parent = beside(nested(_PARENT, bytes(8))[:2], rows["parent"])
        times = beside(tag(_START, FIXED64), rows["start"], tag(_END, FIXED64), rows["end"])
        spans = join(
            fixed(ids),
            self._states.take(index),
            fixed(parent, self._child[plans]),
            self._names.take(index),
            fixed(times),
            self._statics.take(index),
            *self._attributes(rows),
            *self._event_pieces(rows),
            self._links(rows),
            self._ends.take(index),
        )
        return join(self._span.before(spans), spans)

    def _attributes(self, rows: Spans) -> Iterator[Any]:
        carried = {name: carries[rows["plan"]] for name, carries in self._carries.items()}
        caller = beside(
            _head("user.id", "u000000", 6), digits(rows["user"], 6),
            _head("session.id", "0" * 32, 32), hexadecimal(sessions(rows["user"])),
        )  # fmt: skip
        yield fixed(caller, carried["caller"])
        for choices, values, name in (
            (self._clients, rows["user"] % len(ADDRESSES), "caller"),
            (self._agents, rows["user"] % len(AGENTS), "caller"),
            (self._products, rows["product"], "product"),
            (self._cached, rows["cached"], "cached"),
            (self._partitions, rows["order"] % _PARTITIONS, "partition"),
        ):
            yield _pick(choices, values, carried[name])
        order = beside(_head("shop.order.id", "0" * 8, 8), digits(rows["order"], 8))
        yield fixed(order, carried["order"])

    def _event_pieces(self, rows: Spans) -> Iterator[Any]:
        plans = rows["plan"]
        for number, (heads, tails) in enumerate(self._events):
            time = beside(rows["events"][:, number])
            yield heads.take(pa.array(plans))
            yield fixed(time, self._happened[plans] > number)
            yield tails.take(pa.array(plans))

    def _links(self, rows: Spans) -> Any:
        ids = nested(1, bytes(16)) + nested(2, bytes(8))
        head = tag(_LINKS, 2) + varint(len(ids) + len(_LINK_ATTRIBUTES))
        link = beside(
            head + ids[:2], rows["trace"], ids[18:20], rows["link"], _LINK_ATTRIBUTES
        )  # fmt: skip
        return fixed(link, self._linked[rows["plan"]])


def _head(key: str, value: AttributeValue, changing: int) -> bytes:
    """A key and value without its last bytes, which change from span to span."""
    return key_value(_ATTRIBUTES, key, value)[:-changing]


def _pick(choices: Any, values: npt.NDArray[Any], carried: npt.NDArray[np.bool_]) -> Any:
    return choices.take(pa.array(np.where(carried, values.astype(np.int32) + 1, 0)))
