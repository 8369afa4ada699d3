"""A damaged segment is named, found, and set aside, and nothing brings it back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import (
    ConfigurationError,
    ErrorCode,
    QueryExecutionError,
    ReadOnlyError,
    SegmentDamagedError,
)
from lakerunner.model.segment import LAKE
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lakerunner.model.segment import Segment

BODIES = "SELECT body FROM logs ORDER BY body"
HOUR = 3600


def flip(lake: lakerunner.Lake, segment: Segment, column: str | None = "body") -> None:
    """Flip a bit of a column, or of the footer."""
    data = bytearray(lake.store.get(segment.key).data)
    place = len(data) - 20
    if column is not None:
        metadata = pq.read_metadata(pa.BufferReader(bytes(data)))
        chunks = map(metadata.row_group(0).column, range(metadata.num_columns))
        chunk = next(one for one in chunks if one.path_in_schema == column)
        place = chunk.data_page_offset + chunk.total_compressed_size - 2
    data[place] ^= 1
    lake.store.put(segment.key, bytes(data))


def texts(lake: lakerunner.Lake) -> list[str]:
    found: list[str] = lake.sql(BODIES).to_arrow()["body"].to_pylist()
    return found


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}"


@pytest.fixture
def make_lake(url: str) -> Callable[[], lakerunner.Lake]:
    """A lake of three windows of rows, from one object; each call forgets the catalog before."""
    lines = (f'{{"message": "{n}", "time": {1_790_078_400 + n * HOUR}}}' for n in range(3))
    open_store(f"{url}/raw").put("a.jsonl", "\n".join(lines).encode())
    return lambda: lakerunner.Lake(open_store(f"{url}/lake"), MemoryCatalog())


@pytest.mark.parametrize("which", [0, -1], ids=["the first window", "the closing one"])
@pytest.mark.parametrize("column", ["body", None], ids=["a column", "the footer"])
def test_from_the_flipped_bit_to_the_answer_without_it(
    make_lake: Callable[[], lakerunner.Lake], url: str, which: int, column: str | None
) -> None:
    lake = make_lake()
    assert lake.ingest(f"{url}/raw/").rows == 3
    assert lake.verify() == []
    victim = lake.segments()[which]
    flip(lake, victim, column)

    with pytest.raises(SegmentDamagedError) as caught:
        texts(lake)
    assert caught.value.context["segment"] == victim.id
    call = re.search(r"lake\.set_aside\('(.+?)'\)", caught.value.message)
    assert call, caught.value.message

    (found,) = lake.verify()
    assert found.segment.id == victim.id == call[1]
    assert found.reason == f"damaged: {column or 'the footer'}"

    before = lake.snapshot()
    listed = lake.set_aside(call[1])
    assert [listed] == lake.rejected()
    assert (listed.code, listed.rows) == (ErrorCode.SEGMENT_DAMAGED, 1)
    assert (listed.source.key, listed.reason) == (victim.key, found.reason)
    left = ["0", "1", "2"]
    del left[which]
    assert texts(lake) == left
    assert lake.verify() == []
    assert lake.store.head(victim.key).size == victim.bytes
    assert lake.collect_orphans() == []
    assert len(lake.at(before).segments()) == 3
    assert lake.retry_rejected().rows == 0
    assert lake.ingest(f"{url}/raw/").rows == 0
    assert [listed] == lake.rejected()

    for _ in range(2):
        lake = make_lake()
        lake.recover()
        assert texts(lake) == left
        assert lake.verify() == []


@pytest.mark.parametrize("change", ["gone", "cut"])
def test_a_file_that_is_gone_or_cut_is_damage_as_well(
    make_lake: Callable[[], lakerunner.Lake], url: str, change: str
) -> None:
    lake = make_lake()
    lake.ingest(f"{url}/raw/")
    victim = lake.segments()[1]
    if change == "gone":
        lake.store.delete(victim.key)
    else:
        lake.store.put(victim.key, lake.store.get(victim.key).data[:-9])
    with pytest.raises(QueryExecutionError, match=re.escape(f"lake.set_aside('{victim.id}')")):
        texts(lake)
    (found,) = lake.verify("logs")
    assert found.reason == {"gone": "its file is missing", "cut": "damaged: the footer"}[change]
    lake.set_aside(victim.id)
    assert texts(lake) == ["0", "2"]
    lake = make_lake()
    lake.recover()
    assert texts(lake) == ["0", "2"]


def test_what_is_sound_is_set_aside_for_a_reason_only(
    make_lake: Callable[[], lakerunner.Lake], url: str
) -> None:
    lake = make_lake()
    lake.ingest(f"{url}/raw/")
    segment = lake.segments()[0]
    with pytest.raises(ConfigurationError, match=r"as it was written.*reason="):
        lake.set_aside(segment.id)
    assert len(texts(lake)) == 3
    assert lake.set_aside(segment.id, reason="wrong clock").reason == "wrong clock"
    assert texts(lake) == ["1", "2"]
    with pytest.raises(ConfigurationError, match="no live segment"):
        lake.set_aside(segment.id, reason="again")


def test_verify_looks_where_it_is_told(make_lake: Callable[[], lakerunner.Lake], url: str) -> None:
    lake = make_lake()
    lake.ingest(f"{url}/raw/")
    first, second, _ = lake.segments()
    for one in (first, second):
        flip(lake, one)
    seen: list[Any] = []
    assert [one.segment for one in lake.verify(progress=seen.append)] == [first, second]
    assert [(one.stage, one.done) for one in seen] == [("verify", n) for n in (1, 2, 3)]
    assert [one.segment for one in lake.verify("logs", second.min_timestamp_ns)] == [second]
    assert lake.verify(end=first.min_timestamp_ns) == lake.verify("spans") == []
    with pytest.raises(ConfigurationError):
        lake.verify("cats")


def test_those_of_another_organization_cannot_be_named(
    make_lake: Callable[[], lakerunner.Lake],
) -> None:
    whole = make_lake()
    ours, theirs = whole.for_organization("acme"), whole.for_organization("globex")
    for lake in (ours, theirs):
        lake.ingest(b'{"message": "0"}')
    (victim,) = theirs.segments()
    flip(whole, victim)
    assert ours.verify() == []
    with pytest.raises(ConfigurationError, match="'acme' has no live segment") as caught:
        ours.set_aside(victim.id, reason="mine")
    assert whole.store.url not in str(caught.value)
    with pytest.raises(SegmentDamagedError):
        texts(theirs)
    (found,) = theirs.verify()
    listed = theirs.set_aside(found.segment.id)
    assert (theirs.rejected(), ours.rejected()) == ([listed], [])
    assert listed.source.bucket == LAKE
    assert (texts(theirs), texts(ours)) == ([], ["0"])


def test_a_lake_that_is_read_only_sets_nothing_aside(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path) as lake:
        lake.ingest(b'{"message": "0"}')
        (segment,) = lake.segments()
        flip(lake, segment)
    with lakerunner.open(tmp_path, read_only=True) as lake:
        assert [one.segment.id for one in lake.verify()] == [segment.id]
        with pytest.raises(ReadOnlyError):
            lake.set_aside(segment.id)


@pytest.mark.parametrize("catalog", ["memory", "sqlite", "bucket"])
def test_every_catalog_lists_it(tmp_path: Path, catalog: str) -> None:
    url = {
        "memory": "memory://",
        "sqlite": f"sqlite://{tmp_path}/catalog.db",
        "bucket": f"bucket+file://{tmp_path}/catalog",
    }[catalog]
    with lakerunner.open(tmp_path / "lake", catalog=url) as lake:
        lake.ingest(b'{"message": "0"}')
        (segment,) = lake.segments()
        flip(lake, segment)
        listed = lake.set_aside(segment.id)
        assert lake.rejected() == [listed]
        assert texts(lake) == []
