"""The next objects of a batch are fetched beforehand: in order, each once, and not too many."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lakerunner.errors import ObjectNotFoundError, StoreUnavailableError
from lakerunner.ingest import reading
from lakerunner.ingest.inputs import IngestTask
from lakerunner.ingest.reading import opened_in_order
from lakerunner.limits import LISTED_ATTEMPTS
from lakerunner.model.config import Config
from lakerunner.store import open_store
from lakerunner.store.counting import WrapperStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore, SimulatedCrash

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.store import ByteRange, GetResult, ObjectStore

CONFIG = Config(backoff_seconds=0.0, attempts=2)


class Far(WrapperStore):
    """A bucket of a service, each of whose answers takes a while."""

    def __init__(self, inner: ObjectStore, latency_s: float = 0.0) -> None:
        super().__init__(inner)
        self.url = "far://bucket"
        self.latency_s = latency_s
        self.asked: list[str] = []
        self.at_once = self.at_most = 0
        self._lock = threading.Lock()

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        with self._lock:
            self.asked.append(key)
            self.at_once += 1
            self.at_most = max(self.at_most, self.at_once)
        try:
            time.sleep(self.latency_s)
            return super().get(key, byte_range)
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def raw(tmp_path: Path) -> ObjectStore:
    store = open_store(f"memory://{tmp_path}")
    for number in range(40):
        store.put(f"{number:02d}", b"%02d" % number * 50)
    return store


def task(source: ObjectStore) -> IngestTask:
    return IngestTask(
        batch_id="batch",
        lake=source,
        source=source,
        objects=tuple(source.list()),
        organization="acme",
        steward="acme",
        signal=None,
        hint=None,
        format=None,
        mapping=None,
        config=CONFIG,
        epoch=0,
    )


def contents(task: IngestTask) -> list[bytes]:
    with closing(opened_in_order(task)) as opened:
        return [b"".join(open_object()) for _, open_object in opened]


def fetchers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("lakerunner-fetch")]


def test_each_object_once_and_in_order(raw: ObjectStore) -> None:
    far = Far(raw, 0.005)
    assert contents(task(far)) == [b"%02d" % number * 50 for number in range(40)]
    assert sorted(far.asked) == [f"{number:02d}" for number in range(40)]
    assert 4 < far.at_most <= reading._AHEAD
    assert not fetchers()


def test_slow_answers_overlap(raw: ObjectStore) -> None:
    begun = time.perf_counter()
    contents(task(Far(raw, 0.05)))
    assert time.perf_counter() - begun < 40 * 0.05 / 2


def test_a_store_of_this_machine_is_read_by_the_caller(raw: ObjectStore) -> None:
    with closing(opened_in_order(task(raw))) as opened:
        for _, open_object in opened:
            open_object()
            assert not fetchers()


def test_no_more_bytes_than_allowed(raw: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_AHEAD_BYTES", 250)  # an object has 100
    far = Far(raw)
    with closing(opened_in_order(task(far))) as opened:
        for number, (_, open_object) in enumerate(opened):
            open_object()
            assert len(far.asked) <= number + 2
    assert far.at_most <= 2
    far = Far(raw)
    monkeypatch.setattr(reading, "_AHEAD_BYTES", 1)
    contents(task(far))
    assert far.at_most == 1


def test_what_fails_fails_alone(raw: ObjectStore) -> None:
    inner = FaultyStore(raw, FaultPlan(Fault(3, "store.get", error=StoreUnavailableError("503"))))
    far = Far(inner)
    asked = task(far)
    raw.delete("07")
    found = 0
    with closing(opened_in_order(asked)) as opened:
        for reader, open_object in opened:
            if reader.meta.key == "07":
                with pytest.raises(ObjectNotFoundError, match="07"):
                    open_object()
            else:
                found += len(b"".join(open_object())) > 0
    assert found == 39
    again = 1 + (LISTED_ATTEMPTS - 1)  # the one that failed, and the one that is gone
    assert len(far.asked) == 40 + again


def test_nothing_runs_on_after_a_crash(raw: ObjectStore) -> None:
    far = Far(FaultyStore(raw, FaultPlan.crash_at(2)), 0.01)
    with pytest.raises(SimulatedCrash):
        contents(task(far))
    assert not fetchers()
    assert len(far.asked) <= reading._AHEAD


def test_a_caller_that_stops_early_waits_for_what_has_begun(raw: ObjectStore) -> None:
    far = Far(raw, 0.01)
    with closing(opened_in_order(task(far))) as opened:
        _, open_object = next(opened)
        open_object()
    assert not fetchers()
    assert far.at_once == 0
    assert len(far.asked) <= reading._AHEAD
