"""`lakerunner serve` as a process of its own, and the keys that it asks for."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import lakerunner
from lakerunner.cli.serve import read_address
from lakerunner.errors import ConfigurationError
from lakerunner.gateway.credentials import digest
from lakerunner.gateway.running import Certificate
from lakerunner.testing.servers.process import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def serving(lake: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    program = Path(sys.executable).with_name("lakerunner")
    command = [str(program), "serve", str(lake), "--http", f"127.0.0.1:{port}"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert "listening" in first, first
            yield url, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def get(url: str, key: str = "", **params: str) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{url}?{urlencode(params)}", headers=headers)  # noqa: S310 - of our own server
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
        return answer.read().decode()


def test_a_lake_is_served_and_the_server_ends_when_told(lake: Path) -> None:
    with serving(lake) as (url, process):
        text = get(f"{url}/v1/sql", query="SELECT count(*) AS n FROM logs")
        assert json.loads(text) == {"n": 12_000}
        assert json.loads(get(f"{url}/api/v1/query", query="1", time="0"))["status"] == "success"
    assert process.returncode in (0, -signal.SIGTERM)


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="Debian's package prometheus is not installed")
def test_promtool_finds_a_prometheus(run: Any, tmp_path: Path) -> None:
    """Prometheus' own client, unchanged."""
    assert PROMTOOL is not None
    made = ("--rate", "20", "--duration", "240", "--signals", "metrics", "--start", "2026-01-01")
    run("generate", tmp_path / "bucket", *made)
    run("ingest", tmp_path / "lake", f"{tmp_path}/bucket/otel-raw/")
    first, last = "2026-01-01T00:01:00Z", "2026-01-01T00:03:00Z"
    span = ("--start", first, "--end", last)
    with serving(tmp_path / "lake") as (url, _):

        def ask(*arguments: str, code: int = 0) -> str:
            command = [PROMTOOL, "query", *arguments]
            told = subprocess.run(command, check=False, capture_output=True, text=True)
            assert told.returncode == code, told.stderr
            return told.stdout + told.stderr

        at = ("--time", last)
        assert "} => " in ask("instant", *at, url, "sum by (service_name) (shop_orders_total)")
        step = ("--step", "60s")
        assert ask("range", *span, *step, url, "sum(shop_orders_total)").count(" @[") == 3
        series = ask("series", "--match", "shop_orders_total", *span, url)
        assert '__name__="shop_orders_total"' in series
        assert "shop/checkout" in ask("labels", *span, url, "job").splitlines()
        assert "parse error" in ask("instant", url, "sum(", code=1)


def test_keys_are_made_once_and_asked_for(run: Any, lake: Path, tmp_path: Path) -> None:
    made = run("key", "grafana", "--org", "default", "--expires", "now+1d")
    key = made.stdout.strip()
    config = tmp_path / "gateway.yaml"
    config.write_text(made.stderr.partition(":\n")[2])
    assert key not in config.read_text()
    assert msgspec.yaml.decode(config.read_bytes())["access"]["keys"][0]["sha256"] == digest(key)
    run("serve", lake, "--http", ":8080", "--config", config, "--check")
    with serving(lake, "--config", str(config)) as (url, _):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{url}/v1/sql", query="SELECT 1")
        refused.value.close()
        assert refused.value.code == 401
        assert get(f"{url}/v1/sql", key, query="SELECT 1 AS a") == '{"a":1}\n'


def test_others_are_not_served_by_accident(run: Any, lake: Path, tmp_path: Path) -> None:
    assert "--config" in run("serve", lake, "--http", ":8080", code=1).stderr
    assert "HOST:PORT" in run("serve", lake, "--http", "nowhere", code=1).stderr
    config = tmp_path / "gateway.yaml"
    for text, says in (("acces: {}", "acces"), ("access: [", "gateway.yaml"), (None, "No such")):
        config.unlink(missing_ok=True)
        if text is not None:
            config.write_text(text)
        failed = run("serve", lake, "--config", config, "--check", code=1)
        assert says in failed.stderr
    assert "everything" in run("key", "me", "--scope", "everything", code=1).stderr


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "host:70000"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        read_address(text)


def test_all_that_is_received_is_committed_before_it_ends(tmp_path: Path) -> None:
    http, otlp, grpc, syslog, fluent = free_ports(5)
    where = f"127.0.0.1:{otlp}"
    command = [str(Path(sys.executable).with_name("lakerunner")), "serve", str(tmp_path / "lake")]
    command += ["--http", f"127.0.0.1:{http}", "--otlp-http", where, "--maintain"]
    command += ["--otlp-grpc", f"127.0.0.1:{grpc}", "--journal", str(tmp_path / "journal")]
    command += ["--syslog", f"udp://127.0.0.1:{syslog}", "--syslog", f"tcp://127.0.0.1:{syslog}"]
    command += ["--fluent", f"tcp://127.0.0.1:{fluent}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        while "tcp://" not in told:  # a terminal of some width breaks lines
            line = process.stderr.readline()
            assert line, told
            told += line
        resource = Resource.create({"service.name": "shop"})
        exporters = [
            OTLPSpanExporter(f"http://{where}/v1/traces"),
            GrpcSpanExporter(f"127.0.0.1:{grpc}", insecure=True),
        ]
        for exporter in exporters:
            provider = TracerProvider(resource=resource)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            with provider.get_tracer("t").start_as_current_span("checkout"):
                pass
            provider.shutdown()
        body = b'{"streams":[{"stream":{"app":"a"},"values":[["1767225600000000000","pushed"]]}]}'
        push = urllib.request.Request(
            f"http://{where}/loki/api/v1/push", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(push, timeout=60) as answer:  # noqa: S310 - likewise
            assert answer.status == 204
        with socket.create_connection(("127.0.0.1", syslog)) as sender:
            sender.sendall(b"<13>1 2026-01-01T00:00:00Z web app - - - over tcp\n" * 100)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"<13>1 - web app - - - over udp", ("127.0.0.1", syslog))
        came, text = r'received_messages_total\{protocol="syslog",url="tcp[^}]*\} 100\n', ""
        while not re.search(came, text):
            text = get(f"http://127.0.0.1:{http}/metrics")
        assert 'lakerunner_listener_connections{protocol="fluent"' in text
        assert "# TYPE lakerunner_intake_payloads_total counter" in text
        assert get(f"http://127.0.0.1:{http}/readyz") == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    with lakerunner.open(tmp_path / "lake") as lake:
        assert lake.sql("SELECT count(*) FROM spans").scalar() == 2
        assert lake.sql("SELECT count(*) FROM logs").scalar() == 102
    assert not list((tmp_path / "journal").rglob("*.binpb"))


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    key, chain = directory / "key.pem", directory / "chain.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    request += ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*request, "-keyout", key, "-out", chain], check=True, capture_output=True)
    return chain, key


def test_a_certificate_that_changes_is_used(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path, "first")
    made = Certificate(chain, key)
    assert not made.refresh()
    kept = chain.read_bytes()
    chain.write_bytes(b"half of a file")
    assert not made.refresh()
    chain.write_bytes(kept)
    os.utime(chain, ns=(1, 1))
    assert made.refresh()
    with pytest.raises(ConfigurationError, match="certificate"):
        Certificate(key, chain)
    with pytest.raises(ConfigurationError):
        Certificate(tmp_path / "none", key)


def test_listeners_that_cannot_be(run: Any, lake: Path, tmp_path: Path) -> None:
    local = ("serve", lake, "--http", "127.0.0.1:0")
    assert "listener" in run(*local, "--syslog", "http://:1", code=1).stderr
    assert "certificate" in run(*local, "--syslog", "tls://127.0.0.1:0", code=1).stderr
    assert "--config" in run(*local, "--otlp-grpc", ":4317", code=1).stderr
    assert "belong together" in run(*local, "--tls-key", tmp_path, code=1).stderr
