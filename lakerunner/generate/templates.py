"""What the shop's services say: message templates, and which attributes go with each."""

from __future__ import annotations

import re
from typing import NamedTuple

SEVERITIES = {"DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}

VARIABLES = (
    "nothing", "user", "product", "order", "ms", "ip", "status", "count", "amount", "route",
)  # fmt: skip
"""What a message may mention; a template refers to them by position here."""

MAX_VARIABLES = 3
"""Variables in one message at most."""

STACK = (
    "\n\tat com.acme.payment.gateway.GatewayClient.charge(GatewayClient.java:214)"
    "\n\tat com.acme.payment.ChargeService.authorize(ChargeService.java:97)"
    "\n\tat com.acme.payment.ChargeService.charge(ChargeService.java:61)"
    "\n\tat com.acme.payment.grpc.PaymentEndpoint.charge(PaymentEndpoint.java:48)"
)
"""What follows an exception of the payment service."""

# service.event | severity | logger | attributes | rpc or job | message
_LINES = """
frontend.received      INFO  http    client http route         | -        | {route} received from {ip}
frontend.done          INFO  http    client http route status duration | - | {route} answered {status} in {ms} ms
frontend.rendered      DEBUG render  route duration cached     | -        | page rendered in {ms} ms from {count} fragments
frontend.missing       WARN  http    http route status product | -        | {route} answered {status}: no product {product}
frontend.failed        ERROR http    client http route status duration | - | {route} failed with {status} after {ms} ms: checkout unavailable
frontend.session       INFO  session client                    | -        | session started for user {user} from {ip}
frontend.refused       WARN  session client count              | -        | login of user {user} refused: wrong password, attempt {count}
frontend.viewed        INFO  events  client route product      | -        | user {user} looks at product {product}
frontend.healthy       DEBUG health  duration                  | GET /healthz | health check passed in {ms} ms
frontend.collected     INFO  runtime duration count            | gc       | garbage collection paused the process for {ms} ms, {count} MiB in use
frontend.scraped       DEBUG metrics duration count            | GET /metrics | {count} metrics exported in {ms} ms
frontend.throttled     WARN  http    client count              | rate-limit | client {ip} throttled after {count} requests in 10 s
product-catalog.get    INFO  server  rpc duration product cached | GetProduct | product {product} fetched in {ms} ms
product-catalog.list   INFO  server  rpc duration count        | ListProducts | {count} products listed in {ms} ms
product-catalog.search INFO  server  rpc duration count        | SearchProducts | search by user {user} matched {count} products in {ms} ms
product-catalog.query  DEBUG store   db duration count         | SELECT products | query on products returned {count} rows in {ms} ms
product-catalog.absent WARN  server  rpc product               | GetProduct | product {product} is not in the catalog
product-catalog.slow   WARN  store   db duration count         | SELECT products | slow query on products_by_category: {ms} ms for {count} rows
product-catalog.pool   DEBUG store   db count                  | pool     | connection pool: {count} of 64 connections in use
product-catalog.lag    INFO  replica db duration               | replication | replica is {ms} ms behind its primary
cart.add               INFO  service rpc product count         | AddItem  | {count} x {product} added to the cart of user {user}
cart.get               INFO  service rpc duration count cached | GetCart  | cart of user {user} read in {ms} ms, {count} items
cart.cache             DEBUG redis   db duration cached        | HGETALL cart | HGETALL cart:{user} took {ms} ms
cart.emptied           INFO  service rpc duration              | EmptyCart | cart of user {user} emptied
cart.expired           INFO  sweeper count duration            | expire-carts | {count} abandoned carts expired in {ms} ms
cart.evicted           WARN  redis   db count                  | evict    | memory limit reached, {count} keys evicted
cart.reconnected       WARN  redis   db count duration         | reconnect | connection to redis lost, attempt {count} succeeded after {ms} ms
checkout.started       INFO  orders  rpc order                 | PlaceOrder | placing order {order} for user {user}
checkout.priced        DEBUG orders  rpc order amount count    | PlaceOrder | order {order}: {count} items priced at {amount} USD
checkout.charging      INFO  orders  rpc order amount          | PlaceOrder | charging {amount} USD for order {order}
checkout.placed        INFO  orders  rpc order amount duration | PlaceOrder | order {order} placed for {amount} USD in {ms} ms
checkout.retried       WARN  orders  rpc order count           | PlaceOrder | charge of order {order} timed out, attempt {count}
checkout.declined      WARN  orders  rpc order status          | PlaceOrder | order {order} not placed: card declined
checkout.failed        ERROR orders  rpc order status duration | PlaceOrder | order {order} failed after {ms} ms: payment answered {status}
checkout.published     DEBUG kafka   queue order duration      | orders   | order {order} published to topic orders in {ms} ms
checkout.lag           INFO  kafka   queue count               | orders   | consumer group accounting is {count} messages behind
payment.requested      INFO  ChargeService rpc order amount    | Charge   | charge of {amount} USD requested for order {order}
payment.gateway        DEBUG gateway.GatewayClient rpc order duration | Charge | gateway authorised order {order} in {ms} ms
payment.charged        INFO  ChargeService rpc order amount duration | Charge | order {order} charged {amount} USD in {ms} ms
payment.declined       WARN  ChargeService rpc order status    | Charge   | card of user {user} declined for order {order}
payment.timeout        ERROR gateway.GatewayClient rpc order status duration error | Charge | GatewayTimeoutException: no answer to order {order} after {ms} ms{stack}
payment.exhausted      ERROR gateway.ConnectionPool rpc order status count error | Charge | connection pool exhausted, {count} charges waiting, order {order} given up
payment.token          INFO  gateway.TokenCache duration       | refresh-token | gateway token renewed in {ms} ms
payment.heap           DEBUG runtime.MemoryMonitor count       | heap     | heap {count} MiB after collection
payment.certificate    WARN  gateway.Tls count                 | certificates | gateway certificate expires in {count} days
recommendation.list    INFO  api     rpc duration count        | ListRecommendations | {count} recommendations for user {user} in {ms} ms
recommendation.model   DEBUG model   duration count            | score    | scored {count} candidates in {ms} ms
recommendation.reload  INFO  model   duration count            | reload-model | model reloaded in {ms} ms, {count} features
recommendation.cold    WARN  cache   count                     | warm-up  | cache is cold, {count} users without recommendations
shipping.quote         INFO  quote   rpc order amount          | GetQuote | shipping of order {order} quoted at {amount} USD
shipping.shipped       INFO  carrier rpc order duration        | ShipOrder | order {order} handed to carrier in {ms} ms
shipping.polled        DEBUG carrier duration count            | poll-carrier | {count} parcels polled in {ms} ms
shipping.slow          WARN  carrier duration                  | poll-carrier | carrier answered only after {ms} ms
email.sent             INFO  smtp    order duration            | confirmation | confirmation of order {order} sent to user {user} in {ms} ms
email.template         DEBUG render  order duration            | confirmation | mail for order {order} rendered in {ms} ms
email.queue            INFO  queue   queue count               | mail     | {count} mails waiting
email.bounced          WARN  smtp    count                     | mail     | {count} mails bounced, addresses suspended
""".strip()  # noqa: E501 - a table reads better with one template a line

EVENTS = {
    "checkout.placed": "shop.order.placed",
    "checkout.failed": "shop.order.failed",
    "payment.charged": "shop.payment.charged",
}
"""Templates that carry an `event_name`."""


class Template(NamedTuple):
    """One message that a service writes.

    Attributes:
        name: `service.event`.
        severity: A key of `SEVERITIES`.
        logger: Name of the logger, without the service's prefix.
        carries: Attributes that come with it.
        job: The remote procedure, statement or job it belongs to; `-` for none.
        literals: Text around the variables: always `MAX_VARIABLES + 1` parts.
        variables: Positions in `VARIABLES`, padded with 0 (nothing).
    """

    name: str
    severity: str
    logger: str
    carries: frozenset[str]
    job: str
    literals: tuple[str, ...]
    variables: tuple[int, ...]

    @property
    def service(self) -> str:
        """The service that writes it."""
        return self.name.partition(".")[0]

    @property
    def event(self) -> str:
        """Its `event_name`; empty for most."""
        return EVENTS.get(self.name, "")


def _read(line: str) -> Template:
    head, job, message = (part.strip() for part in line.split("|"))
    name, severity, logger, *carries = head.split()
    parts = re.split(r"\{(\w+)\}", message.replace("{stack}", STACK))
    literals, names = parts[::2], parts[1::2]
    spare = MAX_VARIABLES - len(names)
    return Template(
        name,
        severity,
        logger,
        frozenset(carries),
        job,
        (*literals, *("",) * spare),
        (*map(VARIABLES.index, names), *(0,) * spare),
    )


TEMPLATES: tuple[Template, ...] = tuple(map(_read, _LINES.splitlines()))
"""Every template; records refer to them by position."""

POSITIONS = {template.name: position for position, template in enumerate(TEMPLATES)}
"""Position of each template by name."""
