"""Searches that ask for too much: a clear error or the right answer, and no long wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

import lakerunner
from lakerunner.errors import QueryError
from lakerunner.model.predicate import HasWord, IsIn, Like, Matches, Or
from lakerunner.model.segment import ColumnStats, FilterSection
from lakerunner.query.prune import judge
from lakerunner.query.token_filters import FilterReader, Sought, rows_condition, wanted_sections
from lakerunner.schema.patterns import like_pieces, matching, regex_pieces
from lakerunner.schema.tables import TABLES
from lakerunner.store import CountingStore, open_store
from lakerunner.testing.values import make_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW = b'{"time": "2026-01-01T00:00:0%dZ", "message": "request %d refused", "user": "u%d"}'


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Three segments of one row each."""
    with lakerunner.open(tmp_path_factory.mktemp("hostile") / "lake") as made:
        for number in range(3):
            made.ingest(ROW % (number, number, number))
        yield made


@pytest.mark.parametrize(
    "pattern",
    [
        "(a{1000}){1000}",
        "(((((a{100}){100}){100}){100}){100})",
        "(",
        "[z-a]",
        "a{99999999}",
        "(?P<n>a)(?P<n>b)",
    ],
)
def test_an_expression_that_would_blow_up_is_an_error(lake: Any, pattern: str) -> None:
    for operator in ("~", "~*", "!~"):
        with pytest.raises(QueryError):
            lake.sql(f"SELECT body FROM logs WHERE body {operator} '{pattern}'").to_arrow()


@pytest.mark.parametrize(
    "pattern",
    ["(a*)*b", "(a|aa)+$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$", ".*.*.*=.*", "(|a)*" * 50],
)
def test_an_expression_that_blows_others_up_is_answered(lake: Any, pattern: str) -> None:
    text = "'" + "a" * 40 + "!'"
    found = lake.sql(f"SELECT count(*) FROM logs WHERE body ~ '{pattern}' OR {text} ~ '{pattern}'")
    assert found.scalar() in (0, 3)
    values = ("a" * 100 + "!", "request 1 refused")
    assert matching(values, pattern, like=False, any_case=False) is not None


@pytest.mark.parametrize(
    "pattern", ["%" * 10_000, "%a" * 2000, "_" * 5000, "\\" * 999, "%\U0001f99c%", "%\x00%"]
)
def test_absurd_patterns_are_answered(lake: Any, pattern: str) -> None:
    expected = 3 if set(pattern) == {"%"} else 0
    for operator in ("LIKE", "ILIKE"):
        query = f"SELECT count(*) FROM logs WHERE body {operator} '{pattern}'"
        assert lake.sql(query).scalar() == expected
    assert len(like_pieces(pattern)) <= 2000
    assert regex_pieces(pattern * 10) is None or len(pattern) < 200


def test_a_list_of_a_hundred_thousand_values_is_answered(lake: Any) -> None:
    values = ", ".join(f"'u{number}'" for number in range(2, 100_002))
    found = lake.sql(f"SELECT attr_user FROM logs WHERE attr_user IN ({values})")
    assert found.to_pylist() == [{"attr_user": "u2"}]
    bound = [f"request {number} refused" for number in range(100_000)]
    counted = lake.sql(
        "SELECT count(*) FROM logs WHERE body IN ($bodies)", params={"bodies": bound}
    )
    assert counted.scalar() == 3


def test_long_conditions_are_not_asked_for_each_of_their_parts() -> None:
    segment = make_segment("s", columns={"attr_user": ColumnStats("string")}, rows=9)
    many = Sought((IsIn("attr_user", tuple(map(str, range(100_000)))),), (), {})
    assert not many.asks()
    parts = Or(tuple(Like("body", f"%{number} x%") for number in range(10_000)))
    assert not Sought((parts,), ("body",), {}).asks()
    assert judge(parts, segment).reason
    assert judge(Matches("attr_user", "(" * 5000), segment).keep


def test_a_chunk_is_read_once_for_each_segment(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(ROW % (1, 1, 1))
        (segment,) = lake.segments()
    (section,) = segment.filters
    data = (tmp_path / "lake" / segment.key).read_bytes()
    store = CountingStore(open_store("memory://needle/many"))
    segments = [replace(segment, id=str(number), key=f"{number}") for number in range(300)]
    for one in segments:
        store.put(one.key, data)
    reader = FilterReader(store)
    sought = Sought((HasWord("body", "nobody"),), TABLES["logs"].texts, {})
    store.reset()
    found = wanted_sections(sought, segments, reader)
    assert set(found.sections.values()) == {0}
    counts = store.reset()
    assert (counts.get, counts.requests) == (300, 300)
    assert found.bytes_read == counts.bytes_read == 300 * section.words[1]
    assert wanted_sections(sought, segments, reader) == (found.sections, 0)
    assert store.reset().requests == 0
    # What catalogs leave out is not asked for, and what is gone says nothing.
    store.delete(segments[0].key)
    assert wanted_sections(sought, segments[:1], FilterReader(store)).sections == {"0": 1}


def test_what_is_left_is_told_by_the_declared_order() -> None:
    sections = tuple(
        FilterSection(
            5, 0, (0, 0, 1), (0, 0, 1), 0, (f"s{place}", place), (f"s{place}'", place + 4)
        )
        for place in range(3)
    )
    segment = replace(make_segment("s"), filters=sections, sort=("service", "timestamp"))
    other = replace(segment, id="t", filters=())
    assert rows_condition([segment], {"s": 0b111}) == ""
    assert rows_condition([segment], {}) == ""
    told = rows_condition([segment], {"s": 0b010})
    assert told.startswith("(\"service\" >= 's1' AND \"service\" <= 's1'''")
    assert told.count(" OR ") == 0
    assert rows_condition([segment, other], {"s": 0b101}).count(" OR ") == 2
    many = [replace(segment, id=str(number)) for number in range(20)]
    assert rows_condition(many, {str(number): 1 for number in range(20)}) == ""
