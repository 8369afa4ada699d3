"""The Helm chart: linted and rendered by Helm's own library, and held against Kubernetes' schemas.

There is no cluster here: nothing is installed. What is rendered is used, though: the arguments by
the command line, the settings by the gateway and by a lake.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart, HelmError, lint
from starlette.testclient import TestClient
from typer.main import get_command

import lakerunner
from lakerunner.cli.app import app as cli
from lakerunner.gateway import app

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "lakerunner"
KEY = "key-of-acme-0123456789"
LEAST: dict[str, Any] = {"lake": {"url": "s3://acme/lake"}, "ingest": {"source": "sqs://raw"}}
FULL: dict[str, Any] = {
    "global": {
        "image": {"repository": "registry/lakerunner", "tag": "1"},
        "imagePullSecrets": [{"name": "pull"}],
        "labels": {"team": "telemetry"},
        "annotations": {"about": "a lake"},
        "env": [{"name": "AWS_ENDPOINT_URL", "value": "http://store:9000"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
    },
    "lake": {"url": "s3://acme/lake", "catalogSecretName": "catalog", "organization": "acme"},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/work"}},
    "cloudProvider": {
        "aws": {
            "region": "eu-central-1",
            "inject": True,
            "create": True,
            "accessKeyId": "id",
            "secretAccessKey": "secret",
        }
    },
    "storageProfiles": {
        "yaml": [
            {
                "organization_id": "acme",
                "instance_num": 1,
                "collector_name": "edge",
                "cloud_provider": "aws",
                "region": "us-east-2",
                "bucket": "acme-raw",
                "use_path_style": True,
            }
        ]
    },
    "apiKeys": {"yaml": [{"organization_id": "acme", "scope": "write", "keys": [KEY]}]},
    "ingest": {"source": "sqs://raw", "replicas": 3, "extraArgs": ["--workers", "2"]},
    "serve": {"receive": True, "service": {"type": "LoadBalancer", "annotations": {"a": "b"}}},
}
ALL = {"least": LEAST, "full": FULL}


def rendered(values: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Manifests by kind and name."""
    with Chart.load(CHART) as chart:
        files = chart.render(values, name="prod", namespace="telemetry")
    found = [one for text in files.values() for one in yaml.safe_load_all(text) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


@pytest.mark.parametrize("values", ALL.values(), ids=ALL)
@pytest.mark.parametrize("version", ["1.28", "1.37"])
def test_manifests_are_what_kubernetes_takes(values: dict[str, Any], version: str) -> None:
    report = lint(CHART, values, strict=True)
    assert [one for one in report["messages"] if one["severity"] > 1] == []
    for manifest in rendered(values).values():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("values", ALL.values(), ids=ALL)
def test_arguments_are_those_of_the_command_line(values: dict[str, Any]) -> None:
    group: Any = get_command(cli)
    deployments = [one for (kind, _), one in rendered(values).items() if kind == "Deployment"]
    assert len(deployments) == 3
    for one in deployments:
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        context = group.make_context("lakerunner", list(container["args"]))
        name, command, arguments = group.resolve_command(context, list(container["args"]))
        command.make_context(name, arguments, parent=context)
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert pod["securityContext"]["runAsNonRoot"]
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert "/etc/lakerunner" in mounts


def test_one_image_and_one_selector_each() -> None:
    manifests = rendered(FULL)
    pods = {
        name: one["spec"]["template"]
        for (kind, name), one in manifests.items()
        if kind == "Deployment"
    }
    images = {pod["spec"]["containers"][0]["image"] for pod in pods.values()}
    assert images == {"registry/lakerunner:1"}
    service = manifests["Service", "prod-lakerunner-serve"]["spec"]["selector"]
    chosen = [
        name for name, pod in pods.items() if service.items() <= pod["metadata"]["labels"].items()
    ]
    assert chosen == ["prod-lakerunner-serve"]


def test_keys_of_the_values_are_let_in(tmp_path: Path) -> None:
    manifests = rendered(FULL)
    text = manifests["Secret", "prod-lakerunner-apikeys"]["stringData"]["gateway.yaml"]
    with Chart.load(CHART) as chart:
        assert KEY not in "".join(chart.render(FULL).values())
    with lakerunner.open(tmp_path) as lake:
        lake.ingest(b'{"message": "of acme"}', organization="acme")
        client = TestClient(app(lake, yaml.safe_load(text)))
        query = {"query": "SELECT body FROM logs"}
        assert client.get("/v1/sql", params=query).status_code == 401
        told = client.get("/v1/sql", params=query, headers={"x-cardinalhq-api-key": KEY})
        assert told.json() == {"body": "of acme"}


def test_profiles_of_the_values_are_read() -> None:
    manifests = rendered(FULL)
    text = manifests["ConfigMap", "prod-lakerunner-storage-profiles"]["data"][
        "storage_profiles.yaml"
    ]
    with lakerunner.open("memory://chart", ownership={"profiles": text}) as lake:
        assert lake.organizations() == []
    deployment = manifests["Deployment", "prod-lakerunner-ingest"]["spec"]["template"]["spec"]
    assert "/etc/lakerunner/storage_profiles.yaml" in deployment["containers"][0]["args"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "lake.url"),
        ({"lake": {"url": "s3://acme/lake"}}, "ingest.source"),
        ({**LEAST, "serv": {}}, "serv"),
        ({**LEAST, "apiKeys": {"yaml": [{"organization_id": "acme", "keys": ["short"]}]}}, "keys"),
        ({**LEAST, "maintain": {"replicas": "two"}}, "replicas"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], told: str) -> None:
    with Chart.load(CHART) as chart, pytest.raises(HelmError, match=told):
        chart.render(values)
