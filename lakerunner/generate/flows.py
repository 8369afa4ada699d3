"""What happens when somebody uses the shop: which services a request visits and what they log."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lakerunner.generate.templates import POSITIONS, TEMPLATES

# name | weight | route | status | steps: template, and the mean delay before it in milliseconds
_LINES = """
home     | 22 | GET /             | 200 | frontend.received 0.3, frontend.session 0.6, recommendation.model 9, recommendation.list 3, product-catalog.query 4, product-catalog.list 1, frontend.rendered 12, frontend.done 1
product  | 27 | GET /product/:id  | 200 | frontend.received 0.3, product-catalog.query 3, product-catalog.get 1, recommendation.list 8, frontend.viewed 1, frontend.rendered 9, frontend.done 1
missing  | 2  | GET /product/:id  | 404 | frontend.received 0.3, product-catalog.query 3, product-catalog.absent 1, frontend.missing 2
search   | 13 | GET /search       | 200 | frontend.received 0.3, product-catalog.query 16, product-catalog.search 2, frontend.rendered 8, frontend.done 1
slow     | 1  | GET /search       | 200 | frontend.received 0.3, product-catalog.query 900, product-catalog.slow 1, product-catalog.search 2, frontend.done 4
add      | 12 | POST /cart        | 201 | frontend.received 0.3, product-catalog.get 3, cart.cache 1, cart.add 1, frontend.done 1
cart     | 6  | GET /cart         | 200 | frontend.received 0.3, cart.cache 1, cart.get 1, product-catalog.get 3, frontend.rendered 7, frontend.done 1
login    | 4  | POST /login       | 200 | frontend.received 0.3, frontend.session 35, frontend.done 1
refused  | 1  | POST /login       | 401 | frontend.received 0.3, frontend.refused 40, frontend.done 1
checkout | 12 | POST /checkout    | 200 | frontend.received 0.4, checkout.started 2, cart.get 3, shipping.quote 6, checkout.priced 1, checkout.charging 1, payment.requested 1, payment.gateway 55, payment.charged 2, shipping.shipped 9, cart.emptied 2, checkout.published 3, checkout.placed 1, email.template 4, email.sent 18, frontend.done 2
retried  | 0  | POST /checkout    | 200 | frontend.received 0.4, checkout.started 2, cart.get 3, shipping.quote 6, checkout.charging 1, payment.requested 1, checkout.retried 1000, payment.requested 2, payment.charged 70, shipping.shipped 9, cart.emptied 2, checkout.placed 1, email.sent 18, frontend.done 2
declined | 0  | POST /checkout    | 402 | frontend.received 0.4, checkout.started 2, cart.get 3, checkout.charging 1, payment.requested 1, payment.declined 60, checkout.declined 1, frontend.done 2
timeout  | 0  | POST /checkout    | 504 | frontend.received 0.4, checkout.started 2, cart.get 3, checkout.charging 1, payment.requested 1, payment.timeout 1200, payment.timeout 3000, checkout.failed 2, frontend.failed 2
broken   | 0  | POST /checkout    | 503 | frontend.received 0.4, checkout.started 2, cart.get 3, checkout.charging 1, payment.requested 1, payment.exhausted 400, checkout.failed 2, frontend.failed 2
""".strip()  # noqa: E501 - a table reads better with one flow a line

CALLERS = ("frontend", "checkout")
"""Services that ask others and wait for them: a request visits each of them once."""

TROUBLED = "payment"
"""The service that an incident is about."""

_SERVER_ERROR = 500


class Flow(NamedTuple):
    """One way a request can go.

    Attributes:
        name: What it is called here.
        weight: How often it happens, relative to the others; those with 0 are what can become of
            a checkout.
        route: Position in `ROUTES`.
        status: The HTTP status it ends with.
        templates: Position of each step's template.
        gaps_ms: Mean delay before each step.
        opening: For each step, the first step of its visit.
        visits: For each step, to which visit of the request to a service it belongs: each visit has
            a span of its own.
        slowed: For each step, whether an incident makes it slower.
    """

    name: str
    weight: float
    route: int
    status: int
    templates: npt.NDArray[np.uint8]
    gaps_ms: npt.NDArray[np.float64]
    opening: npt.NDArray[np.intp]
    visits: npt.NDArray[np.intp]
    slowed: npt.NDArray[np.bool_]


_CELLS = [[cell.strip() for cell in line.split("|")] for line in _LINES.splitlines()]

ROUTES = tuple(dict.fromkeys(cells[2] for cells in _CELLS))
"""Method and path of everything that can be asked of the shop."""


def _read(cells: list[str]) -> Flow:
    name, weight, route, status, text = cells
    steps = [step.split() for step in text.split(",")]
    services = [TEMPLATES[POSITIONS[template]].service for template, _ in steps]
    visits = _visits(services)
    answered = int(status) < _SERVER_ERROR  # what times out takes as long as the timeout, always
    return Flow(
        name,
        float(weight),
        ROUTES.index(route),
        int(status),
        np.array([POSITIONS[template] for template, _ in steps], np.uint8),
        np.array([float(gap) for _, gap in steps]),
        np.array([visits.index(visit) for visit in visits]),
        np.array(visits),
        np.array([answered and service == TROUBLED for service in services]),
    )


def _visits(services: list[str]) -> list[int]:
    """For each step, its visit: callers stay open, the others are called anew after each pause."""
    visits: list[int] = []
    for step, service in enumerate(services):
        known = services.index(service) if service in CALLERS else max(step - 1, 0)
        again = known < step and services[known] == service
        visits.append(visits[known] if again else max(visits, default=-1) + 1)
    return visits


FLOWS: tuple[Flow, ...] = tuple(map(_read, _CELLS))
"""Every way a request can go."""


def background_templates() -> tuple[int, ...]:
    """Positions of the templates that no request causes: health checks, timers, sweepers."""
    caused = {int(template) for flow in FLOWS for template in flow.templates}
    return tuple(position for position in range(len(TEMPLATES)) if position not in caused)
