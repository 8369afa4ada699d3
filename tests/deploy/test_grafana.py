"""Grafana's files: every query of the dashboards is asked, and finds something.

Those of `services` are asked of a lake that has the telemetry of the demo. The two others are about
lakerunner itself, for a Prometheus that scrapes it: a gateway works, its `/metrics` is read several
times, sent by remote write to a second gateway as Prometheus would, and asked for there.
"""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import app
from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.model.signal import Signal
from lakerunner.testing.servers.prometheus import write_request

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in GRAFANA.glob("dashboards/*.json")}
START = 1_767_225_600
OPEN = {"access": {"anonymous": "default", "anonymous_scope": "admin"}}
SCRAPES, INTERVAL = 6, 15
SAMPLE = re.compile(r"(?m)^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def scraped(text: str) -> list[tuple[dict[str, str], float]]:
    """Samples of Prometheus' text format, with the labels that a scrape adds."""
    target = {"job": "lakerunner", "instance": "serve:8080"}
    return [
        ({"__name__": name, **dict(LABEL.findall(labels or "")), **target}, float(value))
        for name, labels, value in SAMPLE.findall(text)
    ]


def work(client: TestClient, number: int) -> None:
    """A little of all that a gateway does."""
    lines = '{"message": "hello", "level": "error", "service.name": "web"}\n' * 10 * (number + 1)
    assert client.post("/v1/ingest/logs", content=lines).status_code == 200
    assert client.post("/v1/sql", json={"query": "SELECT count(*) FROM logs"}).status_code == 200
    assert client.get("/api/v1/query", params={"query": "sum("}).status_code == 400


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Four minutes of the demo shop, in which payments fail for a while."""
    config = TelemetryConfig(rate=20, duration_s=240, signals=(Signal.METRICS,))
    with lakerunner.open(tmp_path_factory.mktemp("shop")) as lake:
        for _, data in generate_objects(config):
            lake.ingest(data)
        yield TestClient(app(lake, OPEN))


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """What a gateway says of itself while it works, as a Prometheus has it."""
    watched: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
    folder = tmp_path_factory.mktemp("monitored")
    with lakerunner.open(folder / "lake") as lake, lake.writer() as writer:
        (folder / "broken.bin").write_bytes(b"\x00\x01 no telemetry")
        assert lake.ingest(folder / "broken.bin").rejected  # so that something is set aside
        client = TestClient(app(lake, OPEN, writer=writer))
        for number in range(SCRAPES):
            work(client, number)
            at = (START + number * INTERVAL) * 1000
            for labels, value in scraped(client.get("/metrics").text):
                watched.setdefault(tuple(sorted(labels.items())), []).append((at, value))
    body = write_request([(dict(labels), samples) for labels, samples in watched.items()])
    with lakerunner.open(folder / "monitor") as lake, lake.writer() as writer:
        client = TestClient(app(lake, OPEN, writer=writer))
        headers = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}
        sent = client.post("/api/v1/write", content=body, headers=headers)
        assert sent.status_code < 300, sent.text
        yield client


def asked(client: TestClient, expression: str, seconds: int) -> list[Any]:
    """Series that a panel shows, with variables as Grafana puts them in."""
    for name, value in (("$__rate_interval", "1m"), ("$service", ".+"), ("$job", ".+")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    params: dict[str, Any] = {"query": expression, "start": START, "end": START + seconds}
    answer = client.get("/api/v1/query_range", params={**params, "step": INTERVAL})
    assert answer.status_code == 200, f"{expression}: {answer.text}"
    found: list[Any] = answer.json()["data"]["result"]
    return found


def panels(name: str) -> list[Any]:
    return [
        pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
        for panel in DASHBOARDS[name]["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize("expression", panels("services"))
def test_panels_about_services_show_the_demo(shop: TestClient, expression: str) -> None:
    found = asked(shop, expression, 240)
    assert found
    values = [float(value) for one in found for _, value in one["values"]]
    assert any(value > 0 for value in values)


@pytest.mark.parametrize("expression", panels("ingest") + panels("lake"))
def test_panels_about_lakerunner_show_what_it_says(monitored: TestClient, expression: str) -> None:
    assert asked(monitored, expression, SCRAPES * INTERVAL)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_have_values(name: str, shop: TestClient, monitored: TestClient) -> None:
    client = shop if name == "services" else monitored
    for variable in DASHBOARDS[name]["templating"]["list"]:
        metric, label = re.fullmatch(
            r"label_values\((\w+), (\w+)\)", variable["definition"]
        ).groups()  # type: ignore[union-attr] # a definition of another form fails
        params = {"match[]": metric, "start": START, "end": START + 300}
        values = client.get(f"/api/v1/label/{label}/values", params=params).json()["data"]
        assert values


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_fit_together(name: str) -> None:
    dashboard = DASHBOARDS[name]
    sources = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "lakerunner.yaml").read_text()
    )["datasources"]
    uids = {one["uid"] for one in sources}
    assert {one["type"] for one in sources} == {"prometheus"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        assert {
            panel["datasource"]["uid"],
            *(t["datasource"]["uid"] for t in panel["targets"]),
        } <= uids
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in dashboard["panels"]], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_dashboards_are_provisioned() -> None:
    assert sorted(DASHBOARDS) == ["ingest", "lake", "services"]
    assert len({one["uid"] for one in DASHBOARDS.values()}) == 3
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "dashboards" / "lakerunner.yaml").read_text()
    )["providers"]
    compose = yaml.safe_load((GRAFANA.parent / "compose.yaml").read_text())
    mounted = [one.split(":")[1] for one in compose["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
