"""Two brokers that speak Kafka's protocol, each written by others: noida-db, and librdkafka's own.

Apache's own broker is in no registry of packages that needs no Java.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakerunner.testing.servers.process import HOST, find_program, free_ports, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def kafka() -> Iterator[str]:
    """Run noida-db until the context ends; it keeps topics on disk. Gives `host:port`."""
    (port,) = free_ports(1)
    program = find_program("noida-db", "noida-db")

    address = f"{HOST}:{port}"
    with running(
        lambda data: [
            *(program, "start", "--data-dir", str(data)),
            *("--host", HOST, "--only", "kafka", "--kafka-port", str(port)),
        ],
        f"tcp://{address}",
    ):
        yield address


@contextmanager
def mock_kafka() -> Iterator[str]:
    """Run librdkafka's cluster, in this process, until the context ends. Gives `host:port`.

    Topics are made when they are first asked for, with four partitions.
    """
    from confluent_kafka import Producer  # noqa: PLC0415 - an extra

    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
    broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    yield f"{broker.host}:{broker.port}"
    cluster.flush(0)
