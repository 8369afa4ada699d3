"""Any order of ingestion, deletion, merging, rollup, retention, kills and losses: rows = model."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import hypothesis.strategies as st
import pyarrow as pa
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.faults import FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash

DAY = 86_400 * 10**9
NOW = time.time_ns()
SETTINGS: dict[str, Any] = {
    "retention": {"logs": "7d"},
    "removed_grace_ns": 1,
    "orphan_grace_ns": DAY,
    "attempts": 1,
}
OWNERS = ("default", "acme")
USERS = ("a", "b", None)
STEPS = ("retain", "compact", "rollup", "maintain")


class Upkeep(RuleBasedStateMachine):
    """A lake of two organizations, and a model of its rows: text by owner, user and age."""

    @initialize()
    def begin(self) -> None:
        self.store = MemoryStore(f"memory://{uuid4().hex}/lake")
        self.catalog = MemoryCatalog()
        self.lake = lakerunner.Lake(self.store, self.catalog, config=SETTINGS)
        self.rows: set[tuple[str, str | None, float, str]] = set()
        self.number = 0
        self.past: list[tuple[lakerunner.LakeSnapshot, set[str]]] = []

    def seen(self, owner: str = "default") -> set[str]:
        return {text for who, _, age, text in self.rows if who == owner and age < 7}

    @rule(
        owner=st.sampled_from(OWNERS),
        what=st.lists(
            st.tuples(st.sampled_from(USERS), st.sampled_from([0.1, 0.11, 2.0, 8.0])),
            min_size=1,
            max_size=6,
        ),
    )
    def ingest(self, owner: str, what: list[tuple[str | None, float]]) -> None:
        texts = [str(self.number + place) for place in range(len(what))]
        self.number += len(what)
        table = pa.table(
            {
                "timestamp": pa.array([NOW - int(age * DAY) for _, age in what]).cast(TIMESTAMP),
                "body": texts,
                "user": pa.array([user for user, _ in what], pa.string()),
            }
        )
        self.lake.ingest(table, organization=owner)
        self.rows |= {
            (owner, user, age, text) for (user, age), text in zip(what, texts, strict=True)
        }

    @precondition(lambda self: any(row[1] for row in self.rows))
    @rule(owner=st.sampled_from(OWNERS), user=st.sampled_from(["a", "b"]), old=st.booleans())
    def delete(self, owner: str, user: str, old: bool) -> None:
        end = NOW - DAY if old else None
        lake = self.lake.for_organization(owner)
        if "attr_user" not in lake.catalog.snapshot(owner, "logs").columns:
            return
        lake.delete("logs", f"attr_user = '{user}'", end=end)
        self.rows = {
            row
            for row in self.rows
            if not (row[0] == owner and row[1] == user and (not old or row[2] > 1))
        }

    @rule(what=st.sampled_from(STEPS))
    def tend(self, what: str) -> None:
        report = getattr(self.lake, what)()
        assert report.failed == ()

    @rule(what=st.sampled_from(STEPS), call=st.integers(1, 60), after=st.booleans())
    def killed(self, what: str, call: int, after: bool) -> None:
        plan = FaultPlan.crash_at(call, after=after)
        store, catalog = FaultyStore(self.store, plan), FaultyCatalog(self.catalog, plan)
        with suppress(SimulatedCrash):
            getattr(lakerunner.Lake(store, catalog, config=SETTINGS), what)()

    @rule()
    def lose_the_catalog(self) -> None:
        self.catalog = MemoryCatalog()
        self.lake = lakerunner.Lake(self.store, self.catalog, config=SETTINGS)
        if list(self.store.list("segments/")):
            self.lake.recover()
        self.past.clear()

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        for owner in OWNERS:
            found = self.lake.for_organization(owner).sql("SELECT body FROM logs").to_arrow()
            texts = found["body"].to_pylist()
            assert len(texts) == len(set(texts))
            assert set(texts) == self.seen(owner)

    def teardown(self) -> None:
        if not hasattr(self, "lake"):
            return
        assert self.lake.maintain(again=True).failed == ()
        self.rows_are_those_of_the_model()
        held = sum(
            one.rows for owner in OWNERS for one in self.lake.for_organization(owner).segments()
        )
        assert held == sum(len(self.seen(owner)) for owner in OWNERS)
        for owner in OWNERS:
            proofs = self.lake.for_organization(owner).deletions()
            assert all(one.complete for one in proofs)


def test_any_order() -> None:
    """A few histories each time, many at night."""
    examples = max(3, settings().max_examples // 15)
    run_state_machine_as_test(
        Upkeep, settings=settings(max_examples=examples, stateful_step_count=8, deadline=None)
    )
