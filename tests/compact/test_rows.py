"""Merging changes no row: not its keys, types, times, duplicates, NaN or overflow."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakerunner.model.config import Config, TableSettings
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.segments.checksums import damaged_parts
from tests.compact.lakes import ROWS, Rows, told


@pytest.fixture
def rows() -> Rows:
    return Rows()


def layout(*, sort: tuple[str, ...] = (), columns: tuple[str, ...] = ()) -> Config:
    return Config(backoff_seconds=0.001, tables={"logs": TableSettings(sort, columns)})


@settings(max_examples=settings().max_examples // 5)
@given(st.lists(ROWS, min_size=2, max_size=6), st.data())
def test_any_rows_read_the_same_in_any_number_of_generations(
    batches: list[list[dict[str, object]]], data: st.DataObject
) -> None:
    lake = Rows()
    for number, batch in enumerate(batches):
        lake.take(*batch)
        if number and data.draw(st.booleans()):
            before = lake.all()
            report = lake.lake.compact()
            assert not report.failed
            after = lake.all()
            assert set(before.schema.names) <= set(after.schema.names)
            assert told(after, before.schema.names) == told(before, before.schema.names)
    bounds = [
        (one.min_timestamp_ns, one.max_timestamp_ns, one.rows) for one in lake.lake.segments()
    ]
    asked = lake.lake.sql("SELECT min(timestamp), max(timestamp), count(*) FROM logs").to_arrow()
    low, high, rows = (column.cast(pa.int64())[0].as_py() for column in asked.columns)
    assert (low, high) == (min(one[0] for one in bounds), max(one[1] for one in bounds))
    assert rows == sum(one[2] for one in bounds)


def test_a_segment_says_what_it_came_from(rows: Rows) -> None:
    for number in range(3):
        rows.take({"a": number})
    first = [one.id for one in rows.lake.segments()]
    rows.lake.compact()
    rows.take({"a": 4})
    (merged, late) = sorted(rows.lake.segments(), key=lambda one: -one.level)
    assert (merged.level, merged.kind, set(merged.parents)) == (1, "compact", set(first))
    rows.lake.compact()
    (again,) = rows.lake.segments()
    assert (again.level, set(again.parents)) == (2, {merged.id, late.id})
    assert set(again.replaces) == {*first, merged.id, late.id}
    assert set(first) <= set(again.attests)
    file = pa.BufferReader(rows.store.get(again.key).data)
    assert not damaged_parts(file, again)


def test_rows_come_in_their_order_and_ranges_are_exact(rows: Rows) -> None:
    for number in range(40):
        service = f"s{number % 3}"
        rows.take(*({"service.name": service, "n": n} for n in range(5)), second=(number * 7) % 60)
    rows.lake.compact()
    (merged,) = rows.lake.segments()
    table = pq.read_table(pa.BufferReader(rows.store.get(merged.key).data))
    keys = table.select(merged.sort).to_pylist()
    assert keys == sorted(keys, key=lambda one: tuple(one.values()))
    times = table["timestamp"].cast(pa.int64()).to_pylist()
    assert (min(times), max(times)) == (merged.min_timestamp_ns, merged.max_timestamp_ns)
    stats = merged.columns["attr_n"]
    assert (stats.min, stats.max, stats.nulls) == (0, 4, 0)
    assert merged.columns["resource_service_name"].values == ("s0", "s1", "s2")


def test_numbers_and_texts_meet_as_queries_see_them(rows: Rows) -> None:
    rows.take({"n": 5}, {"n": 2**60})
    rows.take({"n": "five"}, {"n": True})
    rows.take({"n": 5.0}, {"n": 1e300}, {"n": 0.000001})
    before = rows.all()
    rows.lake.compact()
    assert rows.segments == 1
    after = rows.all()
    assert after["attr_n"].to_pylist() == before["attr_n"].to_pylist()
    assert after["attr_n"].to_pylist()[4:] == ["5.0", "1e300", "1e-6"]
    (merged,) = rows.lake.segments()
    assert {"double", "int64"} < set(merged.columns["attr_n"].types)


def test_integers_that_no_double_holds_stay_apart_from_doubles(rows: Rows) -> None:
    rows.take({"n": 2**53 + 1})
    rows.take({"n": 2**53 + 3})
    rows.take({"n": 0.5})
    rows.take({"n": 1.5})
    rows.lake.compact()
    assert rows.segments == 2
    kept = {one.columns["attr_n"].type: one.columns["attr_n"].max for one in rows.lake.segments()}
    assert kept == {"int64": 2**53 + 3, "double": 1.5}


def test_two_keys_of_one_name_stay_apart(rows: Rows) -> None:
    rows.take({"a.b": "dotted"})
    rows.take({"a_b": "joined"})
    rows.take({"a.b": "dotted again"})
    before = rows.all()
    rows.lake.compact()
    assert rows.segments == 2
    assert rows.all().equals(before)
    query = 'SELECT "a.b" AS found FROM logs WHERE "a.b" IS NOT NULL ORDER BY 1'
    assert rows.lake.sql(query).to_arrow()["found"].to_pylist() == ["dotted", "dotted again"]


def test_rare_attributes_get_columns_and_common_ones_do_not_lose_theirs(rows: Rows) -> None:
    """450 keys: more than a segment has columns, so some lie in its overflow map."""
    rows.take(*({f"k{n}": f"v{n}" for n in range(450)} for _ in range(3)))
    for _ in range(4):
        rows.take({"k449": "late", "k1": 7})
    names = [f"attr_k{n}" for n in (0, 1, 399, 400, 448, 449)]
    query = f"SELECT body, {', '.join(names)} FROM logs ORDER BY body"
    before = rows.lake.sql(query).to_arrow()
    assert any(stats.overflow for one in rows.lake.segments() for stats in one.columns.values())
    rows.lake.compact()
    (merged,) = rows.lake.segments()
    assert told(rows.lake.sql(query).to_arrow(), before.schema.names) == told(
        before, before.schema.names
    )
    assert not merged.columns["attr_k449"].overflow
    columns = [name for name, one in merged.columns.items() if not one.overflow]
    assert sum(name.startswith("attr_") for name in columns) <= 400


def test_what_overflowed_becomes_a_column_where_there_is_room(rows: Rows) -> None:
    rows.take(*({f"k{n}": n for n in range(410)} for _ in range(2)))
    (first,) = rows.lake.segments()
    spilled = sorted(name for name, one in first.columns.items() if one.overflow)
    assert len(spilled) == 10
    rows.take({"k0": 1})
    rows.lake.compact()
    (merged,) = rows.lake.segments()
    # 400 columns are taken: what overflowed must stay in the map, as numbers still.
    assert {name for name, one in merged.columns.items() if one.overflow} == set(spilled)
    query = f"SELECT sum({spilled[0]}) AS total FROM logs"
    found = rows.lake.sql(query).to_arrow()["total"].to_pylist()
    assert found == [2 * int(spilled[0].removeprefix("attr_k"))]


def test_an_attribute_that_is_always_a_column_is_one() -> None:
    config = layout(columns=("attr_k449",))
    plain, chosen = Rows(), Rows(config)
    batch = [{f"k{n:03d}": f"v{n}" for n in range(450)} for _ in range(2)]
    for lake in (plain, chosen):
        lake.take(*batch)
    (without,), (with_column,) = plain.lake.segments(), chosen.lake.segments()
    assert without.columns["attr_k449"].overflow
    assert not with_column.columns["attr_k449"].overflow
    query = "SELECT attr_k449, attr_k448 FROM logs"
    assert chosen.lake.sql(query).to_arrow().equals(plain.lake.sql(query).to_arrow())
    # What was written before the setting gets the column when it is merged.
    plain.take(*batch)
    late = plain.with_settings(config)
    late.lake.compact()
    (merged,) = late.lake.segments()
    assert not merged.columns["attr_k449"].overflow
    assert late.lake.sql(query).to_arrow()["attr_k449"].to_pylist() == ["v449"] * 4


def test_nan_infinities_and_nulls_stay(rows: Rows) -> None:
    values = [math.nan, -0.0, 0.0, math.inf, -math.inf, None, 1.5]
    for start in range(0, len(values), 2):
        part = values[start : start + 2]
        table = pa.table(
            {
                "timestamp": pa.array([1_767_225_600 * 10**9 + start] * len(part), pa.int64()),
                "body": [f"row {start + n}" for n in range(len(part))],
                "x": pa.array(part, pa.float64(), from_pandas=False),
            }
        )
        rows.lake.ingest(table, signal="logs")
    before = rows.all()
    rows.lake.compact()
    assert rows.segments == 1
    (merged,) = rows.lake.segments()
    assert merged.columns["attr_x"].min is None
    assert told(rows.all(), before.schema.names) == told(before, before.schema.names)
    count = "SELECT count(*) AS n FROM logs WHERE attr_x > 1"
    assert rows.lake.sql(count).to_arrow()["n"].to_pylist() == [3]


@pytest.mark.parametrize("sort", [("timestamp",), ("attr_n", "timestamp"), ("body",)])
def test_another_order_holds_from_then_on(sort: tuple[str, ...]) -> None:
    old = Rows()
    for number in range(4):
        old.take(*({"n": n % 3, "service.name": f"s{n}"} for n in range(5)), second=60 - number)
    before = old.all()
    new = old.with_settings(layout(sort=sort))
    new.take({"n": 9})
    assert new.all().num_rows == before.num_rows + 1
    before = new.all()
    assert {one.sort for one in new.lake.segments()} != {sort}
    new.lake.compact()
    (merged,) = new.lake.segments()
    assert merged.sort == sort
    assert new.all().equals(before)
    table = pq.read_table(pa.BufferReader(new.store.get(merged.key).data))
    keys = [tuple(one.values()) for one in table.select(list(sort)).to_pylist()]
    assert keys == sorted(keys)
    assert OVERFLOW not in table.schema.names
