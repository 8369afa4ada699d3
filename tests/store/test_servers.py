"""Services for tests end with the test, also if it is killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest

from lakerunner.errors import ConfigurationError
from lakerunner.testing.servers.process import HOST, free_ports, running

CODE = """
import os, sys
from lakerunner.testing.servers import fake_gcs
with fake_gcs() as service:
    print(service.endpoint, flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["in order", "killed"])
def test_a_service_ends_with_the_process_that_started_it(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, how], stdout=subprocess.PIPE, check=False)
    assert done.returncode == (-9 if how == "killed" else 0)
    port = int(done.stdout.decode().strip().rpartition(":")[2])
    deadline = time.monotonic() + 10
    while answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def test_one_that_does_not_start_says_why() -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", "raise SystemExit('no licence')"]
    with pytest.raises(ConfigurationError, match="no licence"):
        running(lambda _: command, f"http://127.0.0.1:{port}").__enter__()
