"""Which spans each flow has: who calls whom, from which step to which, and what the spans say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakerunner.generate.flows import CALLERS, FLOWS, ROUTES, Flow
from lakerunner.generate.templates import STACK, TEMPLATES, Template
from lakerunner.generate.vocabulary import rpc_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.generate.wire import AttributeValue

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
"""`SpanKind`."""

UNSET, OK, ERROR = 0, 1, 2
"""`Status.StatusCode`."""

_SERVER_ERROR = 500
_WITHIN, _AHEAD, _PATIENCE = 0.9, 0.3, 0.95
"""Shares of a pause between two steps: what work inside a service takes, what a call spends on its
way, and how long a caller waits before it gives up."""

_EXCEPTIONS = {
    "payment.timeout": (
        "com.acme.payment.gateway.GatewayTimeoutException",
        "no answer from the gateway",
    ),
    "payment.exhausted": (
        "com.acme.payment.gateway.PoolExhaustedException",
        "no connection to the gateway is free",
    ),
}
_OUTCOMES = {  # gRPC status, and for a server what it says of an error of its own
    "product-catalog.absent": (5, ""),
    "payment.declined": (9, ""),
    "checkout.declined": (9, ""),
    "payment.timeout": (4, "no answer from the gateway"),
    "payment.exhausted": (14, "connection pool exhausted"),
    "checkout.failed": (14, "payment is unavailable"),
}
_WORK = {
    "frontend.rendered": "render page",
    "recommendation.model": "score candidates",
    "email.template": "render confirmation",
}
_PORTS = {"postgresql": 5432, "redis": 6379}

Attributes = dict[str, "AttributeValue"]


class SpanEvent(NamedTuple):
    """Something that happens in a span when a step of the flow is reached."""

    step: int
    name: str
    attributes: Attributes


class SpanPlan(NamedTuple):
    """One span of every request that goes one way.

    Attributes:
        flow: Position of the flow.
        visit: The visit of the flow it belongs to: it is sent by the same resource.
        slot: Its place among the spans of the request; the first ones are those of the visits, in
            order, and have the span ids that stand in the logs.
        parent: Slot of its parent; None for the root.
        service: Who sends it.
        kind: `SpanKind`.
        name: As sent.
        attributes: What is the same for all such spans.
        first: The step before which it begins.
        before: How long before, as a share of the pause before that step.
        last: The step after which it ends.
        after: How long after, as a share of the pause after that step.
        status: `Status.StatusCode` and message.
        events: At most `MOST_EVENTS`, ordered by time.
        link: Slot of a span that it has a link to.
        remote: Whether its parent is in another process.
        carries: Which of the varying attributes it has.
    """

    flow: int
    visit: int
    slot: int
    parent: int | None
    service: str
    kind: int
    name: str
    attributes: Attributes
    first: int
    before: float
    last: int
    after: float = 0.0
    status: tuple[int, str] = (UNSET, "")
    events: tuple[SpanEvent, ...] = ()
    link: int | None = None
    remote: bool = False
    carries: frozenset[str] = frozenset()


MOST_EVENTS = 2


class _Planner:
    """Plans the spans of one flow."""

    def __init__(self, position: int, flow: Flow) -> None:
        self._position, self._flow = position, flow
        self._steps = [TEMPLATES[template] for template in flow.templates]
        self._visits = list(dict.fromkeys(flow.visits.tolist()))
        self._next = len(self._visits)
        self._callers = {
            self._steps[step].service: int(visit)
            for step, visit in reversed([*enumerate(flow.visits)])
            if self._steps[step].service in CALLERS
        }

    def plans(self) -> Iterator[SpanPlan]:
        for visit in self._visits:
            steps = [step for step, of in enumerate(self._flow.visits) if of == visit]
            service = self._steps[steps[0]].service
            if service == "frontend":
                yield self._page(visit, steps)
            elif service == "email":
                yield from self._mail(visit, steps)
            else:
                yield from self._call(visit, steps, service)
            for step in steps:
                yield from self._inside(visit, step)

    def _slot(self) -> int:
        self._next += 1
        return self._next - 1

    def _plan(
        self,
        visit: int,
        steps: list[int],
        kind: int,
        name: str,
        attributes: Attributes | None = None,
        *,
        slot: int | None = None,
    ) -> SpanPlan:
        """A span within a visit, over some of its steps; one that has a slot is the visit's own."""
        return SpanPlan(
            flow=self._position,
            visit=visit,
            slot=self._slot() if slot is None else slot,
            parent=visit if slot is None else None,
            service=self._steps[self._flow.visits.tolist().index(visit)].service,
            kind=kind,
            name=name,
            attributes=attributes or {},
            first=steps[0],
            before=_WITHIN if slot is None else 1.0,
            last=steps[-1],
            carries=self._carried(steps) & {"order"},
        )

    def _carried(self, steps: list[int]) -> frozenset[str]:
        return frozenset().union(*(self._steps[step].carries for step in steps))

    def _page(self, visit: int, steps: list[int]) -> SpanPlan:
        method, _, path = ROUTES[self._flow.route].partition(" ")
        status = self._flow.status
        attributes: Attributes = {
            "http.request.method": method, "http.route": path, "http.response.status_code": status,
            "url.scheme": "https", "server.address": "shop.example.com", "server.port": 443,
            "network.protocol.version": "2",
        }  # fmt: skip
        failed = status >= _SERVER_ERROR
        if failed:
            attributes["error.type"] = str(status)
        plan = self._plan(visit, steps, SERVER, f"{method} {path}", attributes, slot=visit)
        return plan._replace(
            status=(ERROR, "checkout unavailable") if failed else (UNSET, ""),
            carries=self._carried(steps) & {"product"} | {"caller"},
        )

    def _call(self, visit: int, steps: list[int], service: str) -> Iterator[SpanPlan]:
        """A remote procedure call: the span of the caller and that of the one called."""
        caller = self._callers["frontend"]
        if service != "checkout":
            caller = self._callers.get("checkout", caller)
        procedure = next(s.job for i in steps if "rpc" in (s := self._steps[i]).carries)
        name = f"{rpc_service(service)}/{procedure}"
        code, message = next(
            (_OUTCOMES[n] for i in steps if (n := self._steps[i].name) in _OUTCOMES), (0, "")
        )
        attributes: Attributes = {
            "rpc.system": "grpc", "rpc.service": rpc_service(service), "rpc.method": procedure,
            "rpc.grpc.status_code": code, "server.address": f"{service}.shop.svc",
            "server.port": 8080,
        }  # fmt: skip
        client = self._caller_side(caller, steps, name, attributes, message)
        yield client
        yield self._plan(
            visit,
            steps,
            SERVER,
            name,
            attributes | ({"error.type": str(code)} if message else {}),
            slot=visit,
        )._replace(
            parent=client.slot,
            remote=True,
            carries=self._carried(steps) & {"order", "product", "cached"},
            status=(ERROR, message) if message else _answered(service, code),
            events=tuple(self._events(steps)),
        )

    def _caller_side(
        self, caller: int, steps: list[int], name: str, attributes: Attributes, message: str
    ) -> SpanPlan:
        given_up = self._steps[steps[-1] + 1].name == "checkout.retried"
        if given_up:
            attributes, message = attributes | {"rpc.grpc.status_code": 4}, "deadline exceeded"
        failed = bool(attributes["rpc.grpc.status_code"])
        if failed:
            attributes = attributes | {"error.type": str(attributes["rpc.grpc.status_code"])}
        return self._plan(caller, steps, CLIENT, name, attributes)._replace(
            first=steps[0] - 1,
            before=_AHEAD,
            after=_PATIENCE if given_up else _AHEAD,
            status=(ERROR, message) if failed else (UNSET, ""),
        )

    def _events(self, steps: list[int]) -> Iterator[SpanEvent]:
        for step in steps:
            name = self._steps[step].name
            if name in _EXCEPTIONS:
                kind, message = _EXCEPTIONS[name]
                said: Attributes = {
                    "exception.type": kind,
                    "exception.message": message,
                    "exception.stacktrace": f"{kind}: {message}{STACK}",
                }
                yield SpanEvent(step, "exception", said)
            elif name == "checkout.retried":
                yield SpanEvent(step, "retry", {"shop.attempt": 2})
            elif name == "checkout.placed":
                yield SpanEvent(step, "shop.order.placed", {"shop.payment.method": "card"})

    def _mail(self, visit: int, steps: list[int]) -> Iterator[SpanPlan]:
        """A message: the span of the sender, and that of the receiver, which links to it."""
        sender = self._callers["checkout"]
        names = [step.name for step in self._steps]
        sent = "checkout.published" if "checkout.published" in names else "checkout.placed"
        attributes: Attributes = {
            "messaging.system": "kafka", "messaging.destination.name": "orders",
            "server.address": "kafka.shop.svc", "server.port": 9092,
        }  # fmt: skip
        sending: Attributes = {
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
        }
        carries = frozenset({"order", "partition"})
        producer = self._plan(
            sender, [names.index(sent)], PRODUCER, "send orders", attributes | sending
        )
        yield producer._replace(carries=carries)
        consuming: Attributes = {
            "messaging.operation.name": "process", "messaging.operation.type": "process",
            "messaging.consumer.group.name": "confirmation",
        }  # fmt: skip
        consumer = self._plan(
            visit, steps, CONSUMER, "process orders", attributes | consuming, slot=visit
        )
        yield consumer._replace(
            parent=producer.slot, link=producer.slot, remote=True, carries=carries
        )

    def _inside(self, visit: int, step: int) -> Iterator[SpanPlan]:
        """What a service does for one step, beyond talking to the others."""
        template = self._steps[step]
        if "db" in template.carries:
            yield self._statement(visit, step, template)
        elif template.name in _WORK:
            yield self._plan(visit, [step], INTERNAL, _WORK[template.name])
        elif template.name in {"payment.gateway", "payment.timeout"}:
            attributes: Attributes = {
                "http.request.method": "POST", "server.address": "gateway.example.com",
                "server.port": 443, "url.full": "https://gateway.example.com/v1/charges",
                "url.template": "/v1/charges",
            }  # fmt: skip
            timeout = template.name == "payment.timeout"
            answer: Attributes = (
                {"error.type": "timeout"} if timeout else {"http.response.status_code": 201}
            )
            plan = self._plan(visit, [step], CLIENT, "POST /v1/charges", attributes | answer)
            yield plan._replace(status=(ERROR, "timeout") if timeout else (UNSET, ""))

    def _statement(self, visit: int, step: int, template: Template) -> SpanPlan:
        operation, _, target = template.job.partition(" ")
        system = "redis" if template.logger == "redis" else "postgresql"
        database: Attributes = {
            "db.system.name": system, "db.operation.name": operation,
            "server.address": f"{system}.shop.svc", "server.port": _PORTS[system],
        }  # fmt: skip
        if system == "postgresql":
            query = f"{operation} id, name, price FROM {target} WHERE category = $1 ORDER BY rank"
            database |= {
                "db.namespace": "shop", "db.collection.name": target, "db.query.text": query,
                "db.query.summary": f"{operation} {target}",
            }  # fmt: skip
        else:
            database |= {"db.namespace": "0"}
        name = f"{operation} {target}" if system == "postgresql" else operation
        plan = self._plan(visit, [step], CLIENT, name, database)
        return plan._replace(carries=template.carries & {"cached"})


def _answered(service: str, code: int) -> tuple[int, str]:
    """What a server says of a call that was no error of its own; payment alone says OK."""
    return (OK, "") if service == "payment" and not code else (UNSET, "")


PLANS: tuple[SpanPlan, ...] = tuple(
    plan for position, flow in enumerate(FLOWS) for plan in _Planner(position, flow).plans()
)
"""The spans of all flows; spans refer to them by position."""
