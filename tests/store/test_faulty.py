"""A store that fails on schedule fails exactly then, before or after the fact."""

from __future__ import annotations

import pickle
import time
from typing import TYPE_CHECKING

import fsspec
import pytest

from lakerunner.errors import ObjectDeniedError, ObjectExistsError, StoreUnavailableError
from lakerunner.store import PutMode, open_store
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore, SimulatedCrash
from lakerunner.testing.store import StoreSuite
from lakerunner.testing.store_fixture import keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lakerunner.store import ObjectStore

CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "store.get": lambda store: store.get("old"),
    "store.put": lambda store: store.put("new", b"2"),
    "store.head": lambda store: store.head("old"),
    "store.list": lambda store: list(store.list()),
    "store.delete": lambda store: store.delete("gone"),
}


class TestFaultyStore(StoreSuite):
    """Without a fault nothing can be told from the store inside."""

    adapter = "memory, wrapped in `FaultyStore`"

    def open_store(self, place: Path) -> ObjectStore:
        return FaultyStore(open_store(f"memory://{place}"), FaultPlan())

    def raw_write(self, store: ObjectStore, key: str, data: bytes) -> None:
        fsspec.filesystem("memory").pipe_file(f"{store.url}/{key}", data)

    def raw_read(self, store: ObjectStore, key: str) -> bytes:
        data: bytes = fsspec.filesystem("memory").cat_file(f"{store.url}/{key}")
        return data

    def raw_delete(self, store: ObjectStore, key: str) -> None:
        fsspec.filesystem("memory").rm_file(f"{store.url}/{key}")


@pytest.fixture
def inner(tmp_path: Path) -> ObjectStore:
    store = open_store(f"memory://{tmp_path}")
    store.put("gone", b"0")
    store.put("old", b"1")
    return store


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("after", [False, True])
def test_every_call_can_be_the_last(inner: ObjectStore, name: str, *, after: bool) -> None:
    plan = FaultPlan.crash_at(1, name=name, after=after)
    store = FaultyStore(inner, plan)
    for other, call in CALLS.items():
        if other != name:
            call(store)
    with pytest.raises(SimulatedCrash):
        CALLS[name](store)
    assert plan.calls == (*(other for other in CALLS if other != name), name)
    assert inner.exists("new") == (after or name != "store.put")
    assert inner.exists("gone") != (after or name != "store.delete")
    for call in CALLS.values():  # a dead process makes no more calls
        with pytest.raises(SimulatedCrash):
            call(store)


def test_a_create_whose_reply_was_lost_finds_its_own_write(inner: ObjectStore) -> None:
    lost = Fault(1, "store.put", after=True, error=StoreUnavailableError("no reply"))
    store = FaultyStore(inner, FaultPlan(lost))
    with pytest.raises(StoreUnavailableError, match="no reply"):
        store.put("new", b"mine", PutMode.CREATE)
    with pytest.raises(ObjectExistsError):
        store.put("new", b"mine", PutMode.CREATE)
    assert store.get("new").data == b"mine"


def test_a_service_that_is_down_for_a_while(inner: ObjectStore) -> None:
    down = Fault(2, error=StoreUnavailableError("503"), times=2)
    store = FaultyStore(inner, FaultPlan(down))
    assert store.exists("old")
    for call in (store.get, store.delete):
        with pytest.raises(StoreUnavailableError, match="503"):
            call("old")
    assert store.get("old").data == b"1"


def test_a_listing_breaks_off_behind_its_first_object(inner: ObjectStore) -> None:
    denied = Fault(1, "store.list", after=True, error=ObjectDeniedError("expired"))
    listing = FaultyStore(inner, FaultPlan(denied)).list()
    assert next(listing).key == "gone"
    with pytest.raises(ObjectDeniedError, match="expired"):
        next(listing)


def test_an_empty_listing_fails_at_its_end(inner: ObjectStore) -> None:
    lost = Fault(1, "store.list", after=True, error=StoreUnavailableError("no reply"))
    with pytest.raises(StoreUnavailableError):
        list(FaultyStore(inner, FaultPlan(lost)).list("nothing"))


def test_stores_that_share_a_plan_are_counted_together(inner: ObjectStore) -> None:
    plan = FaultPlan.crash_at(2)
    one, other = FaultyStore(inner, plan), FaultyStore(inner, plan)
    one.head("old")
    with pytest.raises(SimulatedCrash):
        other.head("old")


def test_each_call_waits(inner: ObjectStore) -> None:
    store = FaultyStore(inner, FaultPlan(), latency_s=0.01)
    for call in CALLS.values():
        began = time.perf_counter()
        call(store)
        assert time.perf_counter() - began >= 0.01


def test_it_travels_with_its_plan(inner: ObjectStore) -> None:
    store = FaultyStore(inner, FaultPlan.crash_at(2), latency_s=0.001)
    store.head("old")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert copy.latency_s == 0.001
    with pytest.raises(SimulatedCrash):
        copy.head("old")
    assert keys(inner) == ["gone", "old"]
