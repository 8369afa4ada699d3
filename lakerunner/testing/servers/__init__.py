"""Real storage services on this machine, for tests: started on free ports, always stopped."""

from __future__ import annotations

from lakerunner.testing.servers.gcs import fake_gcs
from lakerunner.testing.servers.kafka import kafka, mock_kafka
from lakerunner.testing.servers.moto import moto
from lakerunner.testing.servers.process import Service
from lakerunner.testing.servers.proxy import Exchange, Proxy, Spoil
from lakerunner.testing.servers.sail import sail
from lakerunner.testing.servers.seaweedfs import s3_options, seaweedfs

__all__ = [
    "Exchange",
    "Proxy",
    "Service",
    "Spoil",
    "fake_gcs",
    "kafka",
    "mock_kafka",
    "moto",
    "s3_options",
    "sail",
    "seaweedfs",
]
