"""The deployments of docs/guides/collector.md: what those collectors send lands where it should."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import app, new_key
from lakerunner.gateway.credentials import digest
from lakerunner.generate import logs_request

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "collector.md"
SECTIONS = {"ACME": "## One collector for each", "CENTRAL": "## One central"}


def configured(name: str, key: str) -> tuple[Any, Any]:
    """The settings of the gateway and of the collector that a section shows, with a key put in."""
    section = PAGE.read_text().partition(SECTIONS[name])[2].partition("\n## ")[0]
    texts = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    put = [
        text.replace(f"{name}_KEY", key).replace(f"{name}_DIGEST", digest(key)) for text in texts
    ]
    settings, collector = map(msgspec.yaml.decode, put)
    return settings, collector


@pytest.mark.parametrize("name", list(SECTIONS))
def test_both_deployments(tmp_path: Path, name: str) -> None:
    key, _ = new_key("any")
    settings, collector = configured(name, key)
    exporter = collector["exporters"]["otlphttp"]
    assert exporter["endpoint"] == "http://lake:4318"
    headers = {
        **exporter["headers"],
        "content-encoding": exporter["compression"],
        "content-type": "application/x-protobuf",
        "user-agent": "OpenTelemetry Collector",
    }
    size = collector["processors"]["batch"]["send_batch_size"]
    with lakerunner.open(tmp_path / "lake") as lake:
        with lake.writer() as writer, TestClient(app(lake, settings, writer=writer)) as client:
            for organization in ("acme", "webshop") if name == "CENTRAL" else ("acme",):
                if name == "CENTRAL":
                    (upserted,) = collector["extensions"]["headers_setter"]["headers"]
                    headers[upserted["key"]] = organization
                body = gzip.compress(logs_request(size))
                answer = client.post("/v1/logs", content=body, headers=headers)
                assert answer.status_code == 200
            headers["x-scope-orgid"] = "../other"
            assert client.post("/v1/logs", content=body, headers=headers).status_code in (400, 403)
        found = {one: lake.for_organization(one).segments("logs") for one in lake.organizations()}
        rows = {one: sum(each.rows for each in segments) for one, segments in found.items()}
    wanted = {"acme": size, "webshop": size} if name == "CENTRAL" else {"acme": size}
    assert {one: count for one, count in rows.items() if count} == wanted
