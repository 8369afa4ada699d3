"""`lakerunner serve` as a process of its own, and the keys that it asks for."""

from __future__ import annotations

import json
import shutil
import signal
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

from lakerunner.cli.serve import read_address
from lakerunner.errors import ConfigurationError
from lakerunner.gateway.access import digest
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
