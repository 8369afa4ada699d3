"""Services for tests end with the test, also if it is killed."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from lakerunner.errors import ConfigurationError
from lakerunner.testing.servers.process import free_ports, running

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
    port = done.stdout.decode().strip().rpartition(":")[2]
    deadline = time.monotonic() + 10
    while alive := [
        p for p in psutil.process_iter(["cmdline"]) if port in (p.info["cmdline"] or ())
    ]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def test_one_that_does_not_start_says_why() -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", "raise SystemExit('no licence')"]
    with pytest.raises(ConfigurationError, match="no licence"):
        running(lambda _: command, f"http://127.0.0.1:{port}").__enter__()
