"""A lake with all three signals for two organizations, and clients that ask it over HTTP."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
import uvicorn
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import AccessScope, app, new_key
from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.model.signal import Signal
from lakerunner.testing.servers.process import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

    from lakerunner.lake import Lake


@contextmanager
def served(made: Starlette) -> Iterator[str]:
    """An application behind a port of its own, in a thread; gives its URL."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(made, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class Keys(NamedTuple):
    """Headers of those who have a key."""

    acme: dict[str, str]
    webshop: dict[str, str]
    operator: dict[str, str]


KEYS = {
    "acme": new_key("acme-dashboards", ("acme",)),
    "webshop": new_key("webshop-dashboards", ("webshop",)),
    "operator": new_key("operator", ("acme", "webshop"), AccessScope.ADMIN),
}


@pytest.fixture(scope="package")
def keys() -> Keys:
    return Keys(**{name: {"authorization": f"Bearer {key}"} for name, (key, _) in KEYS.items()})


@pytest.fixture(scope="package")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Five minutes from 2026-01-01 on for `acme`, and one line for `webshop`."""
    config = TelemetryConfig(
        rate=40, duration_s=300, signals=(Signal.LOGS, Signal.SPANS, Signal.METRICS)
    )
    with lakerunner.open(tmp_path_factory.mktemp("gateway")) as opened:
        for _, data in generate_objects(config):
            opened.ingest(data, organization="acme")
        opened.ingest(b'{"message": "only of the webshop"}', organization="webshop")
        yield opened


@pytest.fixture(scope="package")
def client(lake: Lake) -> Iterator[TestClient]:
    settings = {"access": {"keys": [kept for _, kept in KEYS.values()]}}
    with TestClient(app(lake, settings), raise_server_exceptions=False) as made:
        yield made
