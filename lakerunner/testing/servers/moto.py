"""moto: S3 in the memory of a process, and the queues and events around it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakerunner.testing.servers.process import (
    HOST,
    Service,
    find_program,
    free_ports,
    running,
    send,
)
from lakerunner.testing.servers.seaweedfs import s3_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def moto(buckets: Sequence[str] = ("lake",)) -> Iterator[Service]:
    """Run moto, of the package `moto[server]`, until the context ends; it takes any credentials.

    Args:
        buckets: Buckets to begin with.
    """
    (port,) = free_ports(1)
    endpoint = f"http://{HOST}:{port}"
    program = find_program("moto_server", "'moto[server]'")
    with running(lambda _: [program, "-H", HOST, "-p", str(port)], f"{endpoint}/moto-api/"):
        for bucket in buckets:
            send("PUT", f"{endpoint}/{bucket}")
        yield Service(endpoint, s3_options(endpoint))
