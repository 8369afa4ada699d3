"""Records to the bytes of OTLP `ExportLogsServiceRequest` messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakerunner.generate.flows import ROUTES
from lakerunner.generate.framing import Frames
from lakerunner.generate.shop import SERVICES, Resource
from lakerunner.generate.templates import MAX_VARIABLES, SEVERITIES, TEMPLATES, Template
from lakerunner.generate.traffic import COUNTS, PRODUCTS, THREADS, Records
from lakerunner.generate.vocabulary import ADDRESSES, AGENTS, product_names, rpc_service
from lakerunner.generate.wire import (
    FIXED32,
    FIXED64,
    VARINT,
    AttributeValue,
    Prefixes,
    beside,
    decimal,
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

# Field numbers of opentelemetry.proto.logs.v1.LogRecord; pieces are joined in this order, which is
# also the order in which protobuf itself would write them.
_TIME, _SEVERITY, _SEVERITY_TEXT, _BODY, _ATTRIBUTES = 1, 2, 3, 5, 6
_FLAGS, _TRACE, _SPAN, _OBSERVED, _EVENT = 8, 9, 10, 11, 12

_LONGEST = 2048
_STATUSES = 600
_SAMPLED = (1).to_bytes(4, "little")


def _static(template: Template, thread: int) -> bytes:
    """The attributes that a template always comes with."""
    service = next(each for each in SERVICES if each.name == template.service)
    attributes: dict[str, AttributeValue] = {
        "logger.name": f"{service.logger}.{template.logger}",
        "thread.name": f"worker-{thread:02d}",
    }
    operation, _, target = template.job.partition(" ")
    method = f"{rpc_service(service.name)}/{operation}"
    if "rpc" in template.carries:
        attributes |= {"rpc.system": "grpc", "rpc.method": method}
    else:
        attributes["code.function.name"] = f"{service.logger}.{template.logger}.{template.name}"
    if "db" in template.carries:
        system = "redis" if template.logger == "redis" else "postgresql"
        attributes |= {"db.system.name": system, "db.operation.name": operation}
        attributes |= {"db.collection.name": target} if target else {}
    elif "queue" in template.carries:
        attributes |= {"messaging.system": "kafka", "messaging.destination.name": operation}
    elif operation != "-" and "rpc" not in template.carries:
        attributes["job.name"] = template.job
    if "error" in template.carries:
        attributes["error.type"] = template.name.partition(".")[2]
    return key_values(_ATTRIBUTES, attributes)


def _route(route: str) -> bytes:
    method, _, path = route.partition(" ")
    return key_values(_ATTRIBUTES, {"http.request.method": method, "http.route": path})


def _head(key: str, value: AttributeValue, changing: int) -> bytes:
    """A key and value without its last bytes, which change from record to record."""
    return key_value(_ATTRIBUTES, key, value)[:-changing]


class LogsEncoder:
    """Writes records as requests; its tables depend on nothing but the resources."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._frames = Frames(resources)
        self._tables()

    def _tables(self) -> None:
        severities = [
            tag(_SEVERITY, VARINT)
            + varint(SEVERITIES[t.severity])
            + nested(_SEVERITY_TEXT, t.severity.encode())
            for t in TEMPLATES
        ]
        self._severities = table(severities)
        self._literals = [
            table(t.literals[part].encode() for t in TEMPLATES) for part in range(MAX_VARIABLES + 1)
        ]
        self._variables = np.array([t.variables for t in TEMPLATES])
        self._statics = table(_static(t, thread) for t in TEMPLATES for thread in range(THREADS))
        self._events = table(
            nested(_EVENT, t.event.encode()) if t.event else b"" for t in TEMPLATES
        )
        names = {name for t in TEMPLATES for name in t.carries}
        self._carries = {name: np.array([name in t.carries for t in TEMPLATES]) for name in names}
        products = product_names(PRODUCTS)
        self._product_texts = table(each.encode() for each in products)
        self._address_texts = table(each.encode() for each in ADDRESSES)
        self._route_texts = table(each.encode() for each in ROUTES)
        self._cents = table(b".%02d" % cents for cents in range(100))
        # Attributes with few values; the first entry is for records that do not carry them.
        self._choices = {
            "client": self._choice("client.address", ADDRESSES),
            "agent": self._choice("user_agent.original", AGENTS),
            "route": table([b"", *map(_route, ROUTES)]),
            "status": self._choice("http.response.status_code", range(_STATUSES)),
            "product": self._choice("shop.product.id", products),
            "cached": self._choice("cache.hit", [False, True]),
            "count": self._choice("count", range(COUNTS)),
        }
        self._body = Prefixes(_BODY, inner=1, longest=_LONGEST)
        self._record = Prefixes(2, longest=_LONGEST)

    @staticmethod
    def _choice(key: str, values: Sequence[AttributeValue]) -> Any:
        return table([b"", *(key_value(_ATTRIBUTES, key, value) for value in values)])

    def requests(self, rows: Records, records_per_request: int) -> Iterator[bytes]:
        """Write records, ordered by time, as one request for each `records_per_request` of them."""
        request = np.arange(len(rows)) // records_per_request
        order = np.lexsort((rows["resource"], request))
        return self._frames.requests(
            request[order], rows["resource"][order], self._records(rows[order])
        )

    def _records(self, rows: Records) -> Any:
        templates = rows["template"]
        bodies = self._bodies(rows)
        traced = rows["traced"]
        trace = beside(
            tag(_FLAGS, FIXED32) + _SAMPLED,
            nested(_TRACE, bytes(16))[:2], rows["trace"],
            nested(_SPAN, bytes(8))[:2], rows["span"],
        )  # fmt: skip
        records = join(
            fixed(beside(tag(_TIME, FIXED64), rows["time"])),
            self._severities.take(pa.array(templates)),
            self._body.before(bodies),
            bodies,
            *self._attributes(rows),
            fixed(trace, traced),
            fixed(beside(tag(_OBSERVED, FIXED64), rows["time"] + rows["lag"])),
            self._events.take(pa.array(templates)),
        )
        return join(self._record.before(records), records)

    def _attributes(self, rows: Records) -> Iterator[Any]:
        templates = rows["template"]
        yield self._statics.take(pa.array(templates.astype(np.int32) * THREADS + rows["thread"]))
        caller = beside(
            _head("user.id", "u000000", 6), digits(rows["user"], 6),
            _head("session.id", "0" * 32, 32), hexadecimal(sessions(rows["user"])),
            _head("request.id", "0" * 32, 32), hexadecimal(rows["request"]),
        )  # fmt: skip
        yield fixed(caller, rows["traced"])
        for name, choice in self._choices.items():
            of_user = name in {"client", "agent"}
            index = rows["user"] % (len(choice) - 1) if of_user else rows[name]
            carried = self._carries["client" if of_user else name][templates]
            yield choice.take(pa.array(np.where(carried, index + np.int32(1), 0)))
        order = beside(_head("shop.order.id", "0" * 8, 8), digits(rows["order"], 8))
        yield fixed(order, self._carries["order"][templates])
        amount = beside(_head("shop.order.amount", 0.0, 8), rows["cents"] / 100)
        yield fixed(amount, self._carries["amount"][templates])
        duration = beside(_head("duration_ms", 0.0, 8), np.round(rows["duration"], 3))
        yield fixed(duration, self._carries["duration"][templates])

    def _bodies(self, rows: Records) -> Any:
        """Literals and variables in turn, for all templates at once."""
        count = len(rows)
        templates = rows["template"]
        index = pa.array(templates)
        user = fixed(beside(b"u", digits(rows["user"], 6)))
        address = self._address_texts.take(pa.array(rows["user"] % len(ADDRESSES)))
        dollars, cents = np.divmod(rows["cents"], 100)
        variables = pa.concat_arrays(  # in the order of templates.VARIABLES
            [
                fixed(np.empty((count, 0), np.uint8)),
                user,
                self._product_texts.take(pa.array(rows["product"])),
                fixed(digits(rows["order"], 8)),
                decimal(np.round(rows["duration"]).astype(np.int32)),
                address,
                decimal(rows["status"]),
                decimal(rows["count"]),
                join(decimal(dollars), self._cents.take(pa.array(cents))),
                self._route_texts.take(pa.array(rows["route"])),
            ]
        )
        parts = [self._literals[0].take(index)]
        for slot in range(MAX_VARIABLES):
            place = self._variables[templates, slot] * count + np.arange(count)
            parts += [variables.take(pa.array(place)), self._literals[slot + 1].take(index)]
        return join(*parts)


def digits(numbers: npt.NDArray[np.signedinteger[Any]], width: int) -> npt.NDArray[np.uint8]:
    """Decimal digits of non-negative numbers, with leading zeros."""
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int32)
    return (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def sessions(users: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Sixteen bytes that follow from the user."""
    odd = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9], np.uint64)
    return (users.astype(np.uint64)[:, None] * odd).view(np.uint8)
