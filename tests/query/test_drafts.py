"""Queries that are asked again: what was found out about them is used while it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakerunner
from lakerunner.query.drafts import Drafts
from lakerunner.query.sql.query import read_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.lake import Lake

FIRST = b'{"timestamp": "2026-01-01T00:00:00Z", "message": "one", "n": 1}'
TEXTS = (
    "SELECT * FROM logs ORDER BY timestamp",
    "SELECT count(*) AS n FROM logs WHERE attr_n > 0",
    "SELECT attr_n FROM logs ORDER BY timestamp DESC LIMIT 2",
    "SELECT max(attr_n) AS m, min(body) AS b FROM logs GROUP BY level",
    "SELECT l.body FROM logs l JOIN logs r ON l.attr_n = r.attr_n",
)


@pytest.fixture
def lake(request: pytest.FixtureRequest) -> Iterator[Lake]:
    with lakerunner.open(f"memory://drafts/{request.node.name}") as lake:
        lake.ingest(FIRST)
        yield lake


def plans(lake: Any, text: str, drafts: Drafts) -> Any:
    engine = lake._queries
    snapshots = {"logs": engine._catalog.snapshot("default", "logs")}
    query = read_sql(text)
    return drafts.of(query, query.mention, snapshots, engine._backing.session())


def test_a_draft_is_kept_while_no_column_comes(lake: Lake) -> None:
    drafts = Drafts()
    first = plans(lake, TEXTS[1], drafts)
    lake.ingest(FIRST.replace(b"one", b"two"))
    assert plans(lake, TEXTS[1], drafts) is first
    lake.ingest(b'{"timestamp": "2026-01-01T00:00:02Z", "message": "three", "n": 2.5, "m": 1}')
    assert plans(lake, TEXTS[1], drafts) is not first


def test_those_asked_for_last_are_kept(lake: Lake) -> None:
    drafts = Drafts(2)
    first = plans(lake, TEXTS[0], drafts)
    plans(lake, TEXTS[1], drafts)
    assert plans(lake, TEXTS[0], drafts) is first
    plans(lake, TEXTS[2], drafts)
    assert plans(lake, TEXTS[0], drafts) is first
    assert len(drafts._kept) == 2


@pytest.mark.parametrize(
    ("text", "params"),
    [("SELECT now()", None), ("SELECT $1", [1]), (f"SELECT '{'a' * 5000}'", None)],
)
def test_what_may_ask_something_else_next_time_is_not_kept(text: str, params: Any) -> None:
    assert read_sql(text, params).identity() is None


def test_a_query_of_one_asking_is_not_that_of_the_next() -> None:
    first, second = read_sql(TEXTS[0]), read_sql(TEXTS[0])
    assert first is not second
    assert first.identity() == second.identity() != read_sql(TEXTS[0], limit=1).identity()


LINES = (
    b'{"timestamp": "2026-01-01T00:00:01Z", "message": "text", "n": "4"}',
    b'{"timestamp": "2026-01-01T01:00:01Z", "message": "many", "n": 9007199254740993}',
    b'{"timestamp": "2026-01-01T02:00:01Z", "message": "real", "n": 0.5, "level": "warn"}',
    b'{"timestamp": "2026-01-01T03:00:01Z", "message": "none"}',
    b'{"timestamp": "2026-01-01T04:00:01Z", "message": "more", "other.n": 1, "other_n": 2}',
)


@settings(max_examples=5)
@given(lines=st.permutations(LINES), again=st.lists(st.sampled_from(TEXTS), min_size=5, max_size=5))
def test_what_is_kept_answers_as_what_is_drafted_anew(lines: list[bytes], again: list[str]) -> None:
    with lakerunner.open("memory://") as lake:
        lake.ingest(FIRST)
        for line, text in zip(lines, again, strict=True):
            answers(lake, text)
            lake.ingest(line)
            known = answers(lake, text)
            lake._queries._backing.drafts = Drafts()
            assert known == answers(lake, text)


def answers(asked: Any, text: str) -> Any:
    try:
        table = asked.sql(text).to_arrow()
    except lakerunner.errors.QueryError as error:
        return str(error)
    return table.schema, sorted(map(repr, table.to_pylist()))
