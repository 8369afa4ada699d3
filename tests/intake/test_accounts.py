"""Quotas, fairness, spilling to disk, and accounts that add up at any moment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import ConfigurationError, InputError, IntakeFullError, StoreUnavailableError
from lakerunner.generate import logs_request
from lakerunner.intake.accounts import Allowances
from lakerunner.intake.settings import IntakeQuota
from lakerunner.lake import Lake
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.intake.writer import Writer


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with lakerunner.open(tmp_path / "lake") as opened:
        yield opened


def rows(lake: Lake, organization: str = "default") -> int:
    return sum(one.rows for one in lake.for_organization(organization).segments("logs"))


def test_an_allowance_comes_back_with_time() -> None:
    now = 0.0
    allowed = Allowances(
        IntakeQuota(10, 1000), {"big": IntakeQuota(), "slow": IntakeQuota(1)}, lambda: now
    )
    allowed.take("acme", 20, 10)
    with pytest.raises(IntakeFullError, match="acme sends more than 10 records") as caught:
        allowed.take("acme", 5, 10)
    assert caught.value.context["retry_after"] == pytest.approx(0.5)
    now = 0.5
    allowed.take("acme", 5, 10)
    with pytest.raises(IntakeFullError, match="bytes"):
        allowed.take("acme", 0, 2000)
    allowed.take("big", 10**9, 10**9)
    now = 10.0
    allowed.take("slow", 50, 1)  # larger than all that may come at once: let in, and paid for
    now = 20.0
    with pytest.raises(IntakeFullError):
        allowed.take("slow", 1, 1)
    now = 70.0
    allowed.take("slow", 1, 1)


def test_quotas_are_of_each_organization(lake: Lake) -> None:
    quota = {"records_per_second": 10}
    with lake.writer(acknowledge="buffered", quota=quota, quotas={"big": {}}) as writer:
        writer.write(logs_request(20), signal="logs")
        with pytest.raises(IntakeFullError):
            writer.write(logs_request(20), signal="logs")
        writer.write(logs_request(500), signal="logs", organization="big")
        report = writer.report()
    assert [(one.organization, one.records) for one in report.organizations] == [
        ("big", 500), ("default", 20)
    ]  # fmt: skip
    assert (rows(lake), rows(lake, "big")) == (20, 500)
    for wrong in ({"quota": {"records_per_second": 0}}, {"quota": {"x": 1}}, {"spill_bytes": 0}):
        with pytest.raises(ConfigurationError):
            lake.writer(**wrong)


def test_accounts_add_up_while_it_works(lake: Lake) -> None:
    seen, stop = list[Any](), threading.Event()
    with lake.writer(acknowledge="buffered", flush_seconds=0.01) as writer:

        def look() -> None:
            while not stop.wait(0.005):
                seen.append(writer.report())

        looking = threading.Thread(target=look)
        looking.start()
        for _ in range(40):
            writer.write(logs_request(25), signal="logs")
            writer.write({"message": "one"}, organization="acme")
        writer.write(b"PK\x03\x04 this is a zip archive")
        writer.refused(3, ["no"], "acme")
        with pytest.raises(InputError):
            writer.flush()
        stop.set()
        looking.join()
        seen.append(writer.report())
    for report in seen:
        assert report.payloads == report.committed + report.rejected + report.waiting
        for one in report.organizations:
            assert one.records == one.committed + one.rejected + one.waiting
            assert one.waiting >= 0
    last = {one.organization: one for one in seen[-1].organizations}
    assert (last["default"].committed, last["default"].waiting) == (1000, 0)
    assert (last["acme"].records, last["acme"].committed, last["acme"].rejected) == (43, 40, 3)


def test_json_is_counted_as_protobuf_is(lake: Lake) -> None:
    text = (
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},'
        b'{"body":{"stringValue":"b"}}]}]},{"scope_logs":[{"log_records":[{}]}]}]}'
    )
    with lake.writer(acknowledge="buffered") as writer:
        writer.write(text, signal="logs")
        assert writer.report().organizations[0].records == 3


def until_full(writer: Writer, data: Any, organization: str) -> None:
    """Write until it is refused."""
    for _ in range(200):
        try:
            writer.write(data, organization=organization)
        except IntakeFullError:
            return
    pytest.fail("it was never full")


def stuck(times: int) -> Lake:
    plan = FaultPlan(Fault(1, "store.put", error=StoreUnavailableError("away"), times=times))
    return Lake(FaultyStore(MemoryStore("stuck"), plan), MemoryCatalog())


def test_one_organization_leaves_room_for_others() -> None:
    with stuck(30) as lake:
        settings = {"acknowledge": "buffered", "pressure": "reject", "waiting_bytes": 100_000}
        with lake.writer(flush_seconds=0.01, **settings) as writer:  # type: ignore[arg-type] # plain texts
            line = {"message": "x" * 5_000}
            writer.write({"message": "x"}, organization="quiet")
            until_full(writer, line, "loud")
            for _ in range(3):
                writer.write(line, organization="quiet")
            loud = next(one for one in writer.report().organizations if one.organization == "loud")
            with pytest.raises(IntakeFullError):
                writer.write(line, organization="loud")
        assert rows(lake, "quiet") == 4
        assert rows(lake, "loud") == loud.records


def test_what_has_no_room_in_memory_is_spilled(tmp_path: Path) -> None:
    line = {"message": "x" * 1_000}
    with stuck(12) as lake:
        writer = lake.writer(
            acknowledge="buffered", pressure="spill", journal=tmp_path / "journal",
            waiting_bytes=10_000, spill_bytes=60_000, flush_seconds=0.01,
        )  # fmt: skip
        with writer:
            until_full(writer, line, "default")
            report = writer.report()
            assert 40_000 < report.spilled_bytes <= 60_000
            assert any((tmp_path / "journal").rglob("*.jsonl*"))
        assert rows(lake) == report.payloads
        assert writer.report().spilled_bytes == 0
    with pytest.raises(ConfigurationError, match="journal"), stuck(0) as lake:
        lake.writer(pressure="spill")
