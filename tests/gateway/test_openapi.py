"""The OpenAPI document lists what is answered, and nothing that it allows breaks the server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.applications import Starlette

    from lakerunner.lake import Lake

ENDLESS = "/v1/tail"
"""Its answer has no end; what it refuses is tried in its own tests."""

FEW = 300


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starlette]:
    """An application with all its routes, over a lake that has one row of each signal."""
    with lakerunner.open(tmp_path_factory.mktemp("all")) as lake, lake.writer() as writer:
        lake.ingest(b'{"message": "hello", "level": "error", "service.name": "web"}')
        settings = {
            "access": {"anonymous": "default", "anonymous_scope": "admin"},
            "quotas": {"requests_per_second": 1e9, "query_seconds": 5},
        }
        yield app(lake, settings, writer=writer)


def paths_of(made: Starlette) -> dict[str, Any]:
    content = TestClient(made).get("/openapi.json").json()
    paths: dict[str, Any] = content["paths"]
    return paths


def test_every_route_is_in_the_document(everything: Starlette) -> None:
    answered = set()
    for route in everything.routes:
        if isinstance(route, Route) and route.include_in_schema:
            answered |= {
                (route.path_format, method.lower())
                for method in route.methods or ()
                if not (method == "HEAD" and "GET" in (route.methods or ()))
            }
        else:
            assert not isinstance(route, Mount)
    said = {
        (path, method) for path, operations in paths_of(everything).items() for method in operations
    }
    assert said == answered
    assert len(said) > 80


def test_it_says_where_it_is_mounted(lake: Lake, tmp_path: Path) -> None:
    settings = {
        "access": {"anonymous": "default"},
        "lakes": {"two": {"location": str(tmp_path)}},
    }
    with lakerunner.open(tmp_path) as two:
        two.ingest(b'{"message": "of another lake"}')
    outer = app(lake, settings)
    with TestClient(outer) as client:
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/"}]
        found = client.get("/lakes/two/openapi.json").json()
    assert found["servers"] == [{"url": "/lakes/two"}]
    assert not [path for path in found["paths"] if path.startswith("/lakes")]


def test_it_is_not_sent_twice(everything: Starlette) -> None:
    client = TestClient(everything)
    tag = client.get("/openapi.json").headers["etag"]
    again = client.get("/openapi.json", headers={"if-none-match": f'"other", {tag}'})
    assert (again.status_code, again.content) == (304, b"")


def test_nothing_it_allows_breaks_the_server(everything: Starlette) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", everything)
    found = list(schema.get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found)
    tried = [one for one in operations if one.path != ENDLESS]
    assert len(tried) == len(operations) - 1
    nightly = settings().max_examples > FEW
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    cases = st.one_of(*(one.as_strategy(generation_mode=mode) for one in tried for mode in modes))

    @settings(
        max_examples=10_000 if nightly else FEW,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def try_one(case: Any) -> None:
        answer = case.call(app=everything)
        assert answer.status_code < 500, answer.content
        if answer.headers.get("content-type") == ["application/json"] and answer.content:
            json.loads(answer.content)

    try_one()
