"""The writer: what is written is there once, however it is given, and whoever waits is told."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import (
    CatalogUnavailableError,
    CommitUnknownError,
    ConfigurationError,
    CorruptObjectError,
    InputError,
    IntakeFullError,
    ReadOnlyError,
    StoreUnavailableError,
)
from lakerunner.generate import TelemetryConfig, logs_request
from lakerunner.generate.requests import requests_of
from lakerunner.lake import Lake
from lakerunner.model.signal import Signal
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog, FaultyStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with lakerunner.open(tmp_path / "lake") as opened:
        yield opened


def bodies(lake: Lake, organization: str = "default") -> list[str]:
    view = lake.for_organization(organization)
    found: list[str] = (
        view.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
    )
    return found


@pytest.mark.parametrize("journal", [False, True])
def test_whatever_a_program_has_is_taken(lake: Lake, tmp_path: Path, journal: bool) -> None:
    where = tmp_path / "journal" if journal else None
    request = logs_request(10)
    columns = {"timestamp": [0, 1], "body": ["x", "y"]}
    with lake.writer(acknowledge="buffered", journal=where) as writer:
        writer.write({"message": "one"})
        writer.write([{"message": "two"}, {"message": "three", "level": "ERROR"}])
        writer.write(request, signal="logs")
        writer.write(ExportLogsServiceRequest.FromString(request))
        writer.write(
            b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"j"}}]}]}]}'
        )
        writer.write(pa.table(columns))
        writer.write(pl.DataFrame(columns))
        writer.write(pd.DataFrame(columns))
        writer.write(
            logging.makeLogRecord({"msg": "%d left", "args": (3,), "levelname": "WARNING"})
        )
        writer.write([])
        writer.flush()
        found = bodies(lake)
        report = writer.report()
    assert len(found) == 3 + 20 + 1 + 6 + 1
    assert {"one", "two", "three", "j", "x", "3 left"} <= set(found)
    assert (report.payloads, report.committed, report.waiting, report.rejected) == (9, 9, 0, 0)
    assert report.ingest.rows == len(found)
    assert report.ingest.segments == len(lake.segments("logs"))


def test_all_signals_of_an_organization_are_one_commit(lake: Lake) -> None:
    config = TelemetryConfig(rate=20, duration_s=60, signals=tuple(Signal))
    before = lake.catalog.head().sequence
    rows = 0
    with lake.writer(acknowledge="buffered", flush_seconds=600) as writer:
        for signal, request in requests_of(config):
            writer.write(request.data, signal=signal)
            rows += request.records
    assert lake.catalog.head().sequence == before + 1
    assert (
        sum(one.rows for table in ("logs", "spans", "metrics") for one in lake.segments(table))
        == rows
    )


def test_organizations_are_kept_apart(lake: Lake) -> None:
    with lake.writer(organization="acme") as writer:
        writer.write({"message": "mine"})
        writer.write({"message": "theirs"}, organization="webshop")
        with pytest.raises(ConfigurationError):
            writer.write({"message": "nobody's"}, organization="../x")
    assert (bodies(lake, "acme"), bodies(lake, "webshop")) == (["mine"], ["theirs"])
    with lake.for_organization("acme").writer() as bound, pytest.raises(ConfigurationError):
        bound.write({"message": "theirs"}, organization="webshop")


def test_many_threads_share_commits(lake: Lake) -> None:
    with lake.writer(linger_seconds=0.2) as writer, ThreadPoolExecutor(32) as threads:
        list(threads.map(lambda n: writer.write({"message": f"{n:04}"}), range(320)))
    assert bodies(lake) == [f"{n:04}" for n in range(320)]
    assert len(lake.segments("logs")) < 60


def test_what_is_acknowledged_as_committed_is_there(lake: Lake) -> None:
    with lake.writer() as writer:
        for n in range(3):
            writer.write({"message": str(n)})
            assert bodies(lake) == [str(m) for m in range(n + 1)]


def test_an_event_loop_is_not_held_up(lake: Lake) -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with lake.writer(linger_seconds=0.3) as writer:
            await asyncio.gather(*(writer.write_async({"message": str(n)}) for n in range(10)))
            ticking.cancel()
        return ticks

    assert asyncio.run(main()) >= 5
    assert len(bodies(lake)) == 10


def test_bytes_that_are_nothing_are_refused_at_once(lake: Lake) -> None:
    with lake.writer() as writer:
        with pytest.raises(CorruptObjectError, match="logs"):
            writer.write(b"\xff\xff", signal="logs")
        with pytest.raises(ConfigurationError, match="export request"):
            writer.write(LogRecord())
        with pytest.raises(ConfigurationError, match="of logs, not of spans"):
            writer.write(ExportLogsServiceRequest(), signal="spans")
        for nothing in (7, "text", [1], object()):
            with pytest.raises(ConfigurationError):
                writer.write(nothing)
        assert writer.report().payloads == 0


def test_what_cannot_be_taken_harms_nothing_beside_it(lake: Lake) -> None:
    with lake.writer(acknowledge="buffered", flush_seconds=600) as writer:
        writer.write({"message": "good"})
        writer.write(b"PK\x03\x04 this is a zip archive")
        writer.write({"message": "as good"})
        with pytest.raises(InputError, match="zip"):
            writer.flush()
        report = writer.report()
    assert bodies(lake) == ["as good", "good"]
    assert (report.payloads, report.committed, report.rejected) == (3, 2, 1)
    assert "zip" in report.reasons[-1]


def faulty(*faults: Fault) -> Lake:
    plan = FaultPlan(*faults)
    return Lake(FaultyStore(MemoryStore("faulty"), plan), FaultyCatalog(MemoryCatalog(), plan))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(1, "store.put", error=StoreUnavailableError("no"), times=9),
        Fault(1, "catalog.commit", error=CatalogUnavailableError("no"), times=9),
        Fault(1, "catalog.commit", after=True, error=CommitUnknownError("lost")),
        Fault(1, "catalog.commit", after=True, error=CatalogUnavailableError("lost")),
    ],
    ids=["store", "catalog", "reply", "unavailable"],
)
def test_what_passes_is_waited_for_and_nothing_doubles(fault: Fault) -> None:
    with faulty(fault) as lake:
        with lake.writer() as writer:
            writer.write({"message": "once"})
            writer.write({"message": "more"})
        assert bodies(lake) == ["more", "once"]


@pytest.mark.parametrize("pressure", ["block", "reject"])
def test_what_waits_is_bounded(lake: Lake, pressure: str) -> None:
    most, refused = 0, []
    with lake.writer(
        acknowledge="buffered", waiting_bytes=1000, pressure=pressure, flush_seconds=600
    ) as writer:
        for n in range(100):
            while True:
                try:
                    writer.write({"message": f"{n:03}" + "x" * 97})
                    break
                except IntakeFullError as full:
                    refused.append(full)
                    time.sleep(0.01)
            most = max(most, writer.report().waiting_bytes)
    assert most <= 1000
    assert bool(refused) == (pressure == "reject")
    assert all(one.context["retry_after"] == 1.0 for one in refused)
    assert len(bodies(lake)) == 100


def test_a_payload_larger_than_what_may_wait_goes_alone(lake: Lake) -> None:
    with lake.writer(acknowledge="buffered", waiting_bytes=10) as writer:
        writer.write({"message": "x" * 1000})
    assert len(bodies(lake)) == 1


def test_age_commits_what_nobody_waits_for(lake: Lake) -> None:
    with lake.writer(acknowledge="buffered", flush_seconds=0.05) as writer:
        writer.write({"message": "old"})
        for _ in range(600):
            if writer.report().committed:
                break
            threading.Event().wait(0.05)
        assert writer.report().committed == 1
        assert bodies(lake) == ["old"]


def test_a_closed_writer_and_a_lake_to_read_refuse(lake: Lake, tmp_path: Path) -> None:
    writer = lake.writer()
    writer.write({"message": "before"})
    writer.close()
    writer.close()
    with pytest.raises(ConfigurationError, match="closed"):
        writer.write({"message": "after"})
    with pytest.raises(ConfigurationError, match="journal"):
        lake.writer(acknowledge="logged")
    with pytest.raises(ConfigurationError, match="flush_bytes"):
        lake.writer(flush_bytes=0)
    for wrong in ({"acknowledge": "soon"}, {"flush_byte": 1}):
        with pytest.raises(ConfigurationError):
            lake.writer(**wrong)
    with (
        lakerunner.open(tmp_path / "lake", read_only=True) as reading,
        pytest.raises(ReadOnlyError),
    ):
        reading.writer()


def test_the_account_adds_up_at_any_moment(lake: Lake) -> None:
    stop = threading.Event()
    wrong: list[Any] = []
    with lake.writer(acknowledge="buffered", flush_seconds=0.01) as writer:

        def watch() -> None:
            while not stop.is_set():
                seen = writer.report()
                if seen.payloads != seen.committed + seen.rejected + seen.waiting:
                    wrong.append(seen)

        watching = threading.Thread(target=watch)
        watching.start()
        for n in range(200):
            writer.write({"message": str(n)})
        writer.flush()
        stop.set()
        watching.join()
    assert wrong == []
