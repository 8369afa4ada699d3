"""Sail: an engine that speaks Spark Connect, as a cluster of workers in one process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakerunner.testing.servers.process import HOST, find_program, free_ports, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def sail(environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run Sail, of the package `pysail`, until the context ends.

    Args:
        environment: What it finds in its environment, such as the address of a bucket.

    Yields:
        Its URL, for `SparkSession.builder.remote`.
    """
    (port,) = free_ports(1)
    program = find_program("sail", "pysail")
    command = [program, "spark", "server", "--ip", HOST, "--port", str(port)]
    told = {"SAIL_MODE": "local-cluster", "RUST_LOG": "off", **(environment or {})}
    with running(lambda _: command, f"tcp://{HOST}:{port}", told):
        yield f"sc://{HOST}:{port}"
