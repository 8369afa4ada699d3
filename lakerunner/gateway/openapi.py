"""What the application answers, told of its own routes as an OpenAPI document.

Each route carries what it reads and answers; the endpoints read their parameters by the same
declarations. https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from starlette.routing import Match, Route

import lakerunner
from lakerunner.gateway.forms import Kind
from lakerunner.gateway.problems import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import Scope

    from lakerunner.gateway.forms import Parameter

JSON, TEXT, EVENTS = "application/json", "text/plain", "text/event-stream"
FORM = "application/x-www-form-urlencoded"
ANY_BODY = "application/octet-stream"

_CONVERTOR = re.compile(r":\w+}")
_NO_BODY = ("GET", "DELETE")
_SECURITY: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_SCHEMAS: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.TIME: {"type": "string"},
    Kind.SECONDS: {"type": "string"},
    Kind.NUMBER: {"type": "integer", "minimum": 0},
}


class Operation(NamedTuple):
    """What an endpoint reads and answers.

    Attributes:
        about: What it does, for people.
        parameters: What it reads of the address, or of a form in the body.
        body: What it reads of a body in JSON.
        bodies: Media types of other bodies that it takes.
        answers: Media types of what it answers.
        failure: What it answers in JSON when it fails; None where that is of another form.
        anyone: Whether nobody is asked for a key.
    """

    about: str
    parameters: tuple[Parameter, ...] = ()
    body: type[msgspec.Struct] | None = None
    bodies: tuple[str, ...] = ()
    answers: tuple[str, ...] = (JSON,)
    failure: type[msgspec.Struct] | None = Failure
    anyone: bool = False


class DescribedRoute(Route):
    """A route that says what it reads and answers.

    Args:
        path: As Starlette writes it.
        endpoint: Answers.
        operation: What it reads and answers.
        methods: Of HTTP.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        operation: Operation,
        methods: Sequence[str] = ("GET",),
    ) -> None:
        super().__init__(path, endpoint, methods=list(methods), name=path)
        self.operation = operation
        self.asked_methods = tuple(methods)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it answers a request; the request then knows which route it is."""
        match, found = super().matches(scope)
        return match, found if match is Match.NONE else {**found, "route": self}


def document(routes: Iterable[BaseRoute], prefix: str = "") -> bytes:
    """The OpenAPI document of routes, as JSON.

    Args:
        routes: Those that describe themselves are in it.
        prefix: Below which they are mounted.
    """
    described = [one for one in routes if isinstance(one, DescribedRoute)]
    types = {one.operation.body for one in described} | {one.operation.failure for one in described}
    _, schemas = msgspec.json.schema_components(
        sorted((one for one in types if one is not None), key=lambda one: one.__name__),
        ref_template="#/components/schemas/{name}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        path = paths.setdefault(_CONVERTOR.sub("}", route.path), {})
        path |= {method.lower(): _operation(route, method) for method in route.asked_methods}
    content = {
        "openapi": "3.1.0",
        "info": {
            "title": "lakerunner",
            "version": lakerunner.__version__,
            "description": "Telemetry in a lake: SQL, PromQL, and the interfaces of others.",
        },
        "servers": [{"url": prefix or "/"}],
        "security": [{name: list[str]()} for name in _SECURITY],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }
    return msgspec.json.encode(content)


def _operation(route: DescribedRoute, method: str) -> dict[str, Any]:
    told = route.operation
    in_body = method not in _NO_BODY and FORM in told.bodies
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.param_convertors
    ]
    parameters += [
        {
            "name": one.name,
            "in": "query",
            "description": one.about,
            # What a body may say instead need not stand in the address.
            "required": one.required and method in _NO_BODY,
            "schema": _schema(one),
        }
        for one in told.parameters
        if not in_body
    ]
    found: dict[str, Any] = {
        "operationId": f"{method.lower()} {route.path}",
        "summary": told.about,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "What was asked for.",
                "content": {kind: dict[str, Any]() for kind in told.answers},
            },
            "default": {"description": "Why not.", **_failure(told)},
        },
    }
    if told.anyone:
        found["security"] = []
    if method not in _NO_BODY and (told.body is not None or told.bodies):
        found["requestBody"] = {"content": _bodies(told)}
    return found


def _failure(told: Operation) -> dict[str, Any]:
    if told.failure is None:
        return {}
    return {"content": {JSON: {"schema": _reference(told.failure)}}}


def _bodies(told: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {
        kind: {"schema": {} if kind == JSON else {"type": "string"}} for kind in told.bodies
    }
    if FORM in content:
        content[FORM] = {
            "schema": {
                "type": "object",
                "properties": {one.name: _schema(one) for one in told.parameters},
                "required": [one.name for one in told.parameters if one.required],
            }
        }
    if told.body is not None:
        content[JSON] = {"schema": _reference(told.body)}
    return content


def _schema(parameter: Parameter) -> dict[str, Any]:
    one = _SCHEMAS[parameter.kind]
    return {"type": "array", "items": one} if parameter.several else one


def _reference(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
