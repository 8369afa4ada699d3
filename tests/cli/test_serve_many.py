"""`lakerunner serve` with several processes, and with clients that show certificates."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from lakerunner.errors import ConfigurationError
from lakerunner.gateway.running import run_workers
from lakerunner.testing.servers.process import free_ports
from tests.cli.test_serve import certificate, get, serving

if TYPE_CHECKING:
    from collections.abc import Callable


def until(told: Callable[[], Any]) -> Any:
    """What is found once it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = told()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def children(parent: int) -> set[int]:
    told = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], check=False, capture_output=True
    )
    return set(map(int, told.stdout.split()))


def test_processes_answer_together_and_are_started_anew(lake: Path) -> None:
    with serving(lake, "--workers", "2") as (url, process):
        assert json.loads(get(f"{url}/v1/sql", query="SELECT count(*) AS n FROM logs")) == {
            "n": 12_000
        }
        first = until(lambda: found if len(found := children(process.pid)) == 2 else None)
        os.kill(min(first), signal.SIGKILL)
        now = until(lambda: found if len(found := children(process.pid) - {min(first)}) == 2 else 0)
        assert get(f"{url}/healthz") == "ok\n"
    assert process.returncode in (0, -signal.SIGTERM)
    assert not any(Path(f"/proc/{one}").exists() for one in now)


def test_processes_only_answer(run: Any, lake: Path) -> None:
    failed = run("serve", lake, "--workers", "2", "--maintain", code=1)
    assert "--workers only answer" in failed.stderr


def test_processes_that_cannot_run_are_not_started_for_ever() -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(ConfigurationError, match="with 3"):
        run_workers(command, [("127.0.0.1", port)], 2, lambda: None)


def test_sockets_of_systemd_are_taken(lake: Path) -> None:
    """As sd_listen_fds(3) says it: from descriptor 3 on, for the process that is named."""
    (port,) = free_ports(1)
    program = str(Path(sys.executable).with_name("lakerunner"))
    text = (
        "import os, socket, sys\n"
        f"one = socket.create_server(('127.0.0.1', {port}))\n"
        "os.dup2(one.fileno(), 3)\n"
        "os.set_inheritable(3, True)\n"
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", text, program, "serve", str(lake), "--http", "127.0.0.1:1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "listening" in process.stderr.readline()
        assert get(f"http://127.0.0.1:{port}/healthz") == "ok\n"
        process.terminate()
        process.communicate(timeout=60)


def test_a_certificate_says_who_asks(lake: Path, tmp_path: Path) -> None:
    for name in ("server", "collector", "stranger"):
        (tmp_path / name).mkdir()
        certificate(tmp_path / name, "localhost" if name == "server" else name)
    config = tmp_path / "gateway.yaml"
    subjects = [{"name": "collector", "subject": "CN=collector", "organizations": ["default"]}]
    config.write_bytes(msgspec.yaml.encode({"access": {"subjects": subjects}}))
    known = tmp_path / "clients.pem"
    known.write_bytes(
        b"".join((tmp_path / name / "chain.pem").read_bytes() for name in ("collector", "stranger"))
    )
    options = ["--config", config, "--tls-cert", tmp_path / "server" / "chain.pem"]
    options += ["--tls-key", tmp_path / "server" / "key.pem", "--tls-clients", known]

    def ask(url: str, name: str | None) -> int:
        context = ssl.create_default_context(cafile=str(tmp_path / "server" / "chain.pem"))
        if name is not None:
            context.load_cert_chain(tmp_path / name / "chain.pem", tmp_path / name / "key.pem")
        address = f"{url.replace('http://127.0.0.1', 'https://localhost')}/v1/tables"
        try:
            with urllib.request.urlopen(address, context=context, timeout=60) as answer:  # noqa: S310 - of our own server
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code

    with serving(lake, *map(str, options)) as (url, _):
        assert {name: ask(url, name) for name in ("collector", "stranger", None)} == {
            "collector": 200,
            "stranger": 401,
            None: 401,
        }
