"""Shapes that are known without configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Rows = Callable[..., list[dict[str, Any]]]

NS = 1_763_719_200_123_000_000


def test_datadog_intake(rows_of: Rows) -> None:
    rows = rows_of(
        {
            "ddsource": "nginx",
            "ddtags": "env:prod, version:1.2,env:test,bare,url:http://x:80",
            "hostname": "h1",
            "message": "GET /",
            "service": "web",
            "status": "warn",
            "timestamp": NS // 10**6,
        },
        {"ddsource": "x", "message": "no tags", "timestamp": NS // 10**6},
    )
    assert rows[0]["body"] == "GET /"
    assert rows[0]["level"] == "WARN"
    assert rows[0]["timestamp"].value == NS
    assert rows[0]["resource_service_name"] == "web"
    assert rows[0]["resource_host_name"] == "h1"
    assert rows[0]["resource_env"] == "prod"
    assert rows[0]["resource_version"] == "1.2"
    assert rows[0]["resource_url"] == "http://x:80"
    assert rows[0]["attr_datadog_log_source"] == "nginx"
    assert "test" in rows[0].values()
    assert "bare" in rows[0]["attr_ddtags"]
    assert "resource_env" not in rows[1]


def test_datadog_archive(rows_of: Rows) -> None:
    (row,) = rows_of(
        {
            "_id": "A",
            "date": "2025-11-21T10:00:00.123Z",
            "host": "h",
            "service": "web",
            "source": "nginx",
            "status": "info",
            "message": "m",
            "attributes": {"http": {"status_code": 200}},
            "tags": ["env:prod"],
        }
    )
    assert row["timestamp"].value == NS
    assert row["body"] == "m"
    assert row["resource_env"] == "prod"
    assert row["resource_host_name"] == "h"
    assert row["attr_http_status_code"] == 200
    assert row["attr__id"] == "A"


KUBERNETES = {
    "pod_name": "cart-1",
    "namespace_name": "shop",
    "container_name": "cart",
    "host": "node-1",
    "labels": {"app": "cart"},
}


def test_fluent_bit(rows_of: Rows) -> None:
    (row,) = rows_of(
        {"date": NS / 1e9, "log": "a line\n", "stream": "stderr", "kubernetes": KUBERNETES}
    )
    assert row["timestamp"].value == NS
    assert row["body"] == "a line"
    assert row["attr_log_iostream"] == "stderr"
    assert row["resource_k8s_pod_name"] == "cart-1"
    assert row["resource_k8s_namespace_name"] == "shop"
    assert row["resource_k8s_container_name"] == "cart"
    assert row["resource_k8s_node_name"] == "node-1"
    assert row["resource_k8s_pod_label_app"] == "cart"


def test_docker(rows_of: Rows) -> None:
    rows = rows_of(
        {"log": "one\n\n", "stream": "stdout", "time": "2025-11-21T10:00:00.123Z"},
        {"log": "\r\n", "stream": "stdout", "time": "2025-11-21T10:00:00.123Z"},
    )
    assert [row["body"] for row in rows] == ["one\n", ""]
    assert {row["timestamp"].value for row in rows} == {NS}


def test_a_field_called_kubernetes_is_not_enough(rows_of: Rows) -> None:
    (row,) = rows_of({"kubernetes": "rocks", "message": "m", "status": "x"})
    assert row["attr_kubernetes"] == "rocks"
    assert row["attr_status"] == "x"
