"""A small lake of a shop with all signals, and engines of others to read it with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import SparkSession

import lakerunner
from lakerunner.generate import TelemetryConfig, telemetry_objects
from lakerunner.model.signal import Signal
from lakerunner.testing.servers import sail as run_sail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 1_767_225_600 * 10**9
"""2026-01-01: the shop is open for half a minute before and after."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:  # whatever the client does may warn of the installed pandas
        if "/interop/" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore:PySpark does not yet:FutureWarning"))


def fill(lake: lakerunner.Lake, directory: Path, *, rate: float = 60.0) -> None:
    """Half a minute before and after an hour begins, in several objects."""
    config = TelemetryConfig(
        seed=1,
        signals=tuple(Signal),
        rate=rate,
        duration_s=60.0,
        start_ns=START - 30 * 10**9,
        records_per_object=1000,
    )
    for each in telemetry_objects(config):
        path = directory / each.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.data)
    lake.ingest(f"{directory}/")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lakerunner.Lake]:
    """Logs, spans, metrics and their tiers; one log record has more attributes than columns."""
    root = tmp_path_factory.mktemp("shop")
    with lakerunner.open(str(root / "lake")) as lake:
        fill(lake, root / "raw")
        wide = {f"k{number}": number for number in range(450)}
        record = {"timestamp": "2026-01-01T00:00:10Z", "message": "wide", **wide}
        lake.ingest(json.dumps(record).encode())
        lake.rollup(settle_seconds=0)
        yield lake


@pytest.fixture(scope="session")
def sail() -> Iterator[Any]:
    """A session of Spark Connect, served by Sail in its cluster mode."""
    with run_sail() as url:
        session = SparkSession.builder.remote(url).create()
        yield session
        session.stop()
