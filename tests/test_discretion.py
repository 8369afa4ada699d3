"""A lake bound to one organization says nothing of where it lies, nor of what others do."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest

import lakerunner
from lakerunner.errors import LakerunnerError, SnapshotExpiredError

if TYPE_CHECKING:
    from pathlib import Path

LINE = b'{"message": "hello"}'


def rows(lake: lakerunner.Lake) -> int:
    count: int = lake.sql("SELECT count(*) FROM logs").to_arrow().column(0)[0].as_py()
    return count


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "secret place" / "lake"


def test_no_message_of_a_bound_lake_says_where_it_lies(place: Path) -> None:
    with lakerunner.open(place) as lake:
        bound = lake.for_organization("acme")
        bound.ingest(LINE)
        explained = str(bound.explain("SELECT body FROM logs WHERE body = 'x'"))
        assert "segments/acme" in explained
        assert "secret" not in explained
        result = bound.sql("SELECT body FROM logs")
        (file,) = place.glob("segments/**/*.parquet")
        file.write_bytes(b"no parquet" + file.read_bytes()[10:])
        late = bound.sql("SELECT upper(body) FROM logs")
        file.write_bytes(b"")
        for attempt in (
            result.to_arrow,
            late.to_arrow,
            lambda: bound.explain("SELECT body FROM logs"),
            lambda: bound.at("99.99@2026-01-01T00:00:00Z"),
            lambda: bound.ingest(f"{place}/segments/"),
            lambda: bound.sql(f"SELECT * FROM '{file}'"),
        ):
            with pytest.raises(LakerunnerError) as caught:
                attempt()
            said = f"{caught.value.message} {caught.value.context.values()}"
            own = "lies inside" in said or "no table" in said  # what the caller wrote itself
            assert own or "secret" not in said
            assert own or caught.value.__cause__ is None


EXPLAINS = ["EXPLAIN SELECT 1", "; EXPLAIN SELECT 1", "/*/**/*/EXPLAIN ANALYZE SELECT * FROM logs"]


@pytest.mark.parametrize("text", EXPLAINS)
def test_no_query_explains_itself(place: Path, text: str) -> None:
    with (
        lakerunner.open(place) as lake,
        pytest.raises(LakerunnerError, match=r"EXPLAIN is refused|No SQL|parsed"),
    ):
        lake.for_organization("acme").sql(text).to_arrow()


def test_snapshots_of_a_bound_lake_tell_nothing_of_others(place: Path) -> None:
    with lakerunner.open(place) as lake:
        acme = lake.for_organization("acme")
        acme.ingest(LINE)
        first = acme.snapshot()
        for _ in range(3):
            lake.for_organization("other").ingest(LINE)
        second = acme.snapshot()
        acme.ingest(LINE)
        numbers = {snapshot.sequence for snapshot in (first, second, acme.snapshot())}
        assert min(numbers) >= 2**62
        spread = sorted(numbers)
        assert min(b - a for a, b in itertools.pairwise(spread)) > 1000
        assert lake.for_organization("other").snapshot().sequence not in numbers
        assert rows(acme.at(first)) == rows(acme.at(second)) == rows(acme.at(str(second))) == 1
        assert rows(acme) == 2
        assert rows(acme.at(lake.snapshot())) == 2
        assert re.fullmatch(r"\d+(\.\d+)?@\S+Z", str(first))
        with pytest.raises(SnapshotExpiredError):
            lake.for_organization("other").at(first)
    with lakerunner.open(place) as again:  # the same number in another process
        assert rows(again.for_organization("acme").at(str(first))) == 1
