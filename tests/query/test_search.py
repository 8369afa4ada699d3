"""search() finds the rows that have the words, with filters and without."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import example, given

import lakerunner
from lakerunner.errors import QuerySyntaxError
from lakerunner.schema.words import words_in

if TYPE_CHECKING:
    from collections.abc import Iterator

START = 1_790_002_800 * 10**9
HOUR = 3600 * 10**9
BODIES = [
    "Connection refused by 10.0.0.7",
    "connection-refused, then CONNECTION reset",
    "refused connection",
    "timeouts are no timeout_error",
    "größe=3 “quoted”",
    "GRÖSSE ok",
    "id=d4cda95b652f4a15",
    "",
    None,
    "语言 ok",
]
TEXTS = st.sampled_from(
    [
        *("connection", "REFUSED", "refused connection", '"connection refused"', "timeout", "time"),
        *("größe", "Grösse", "quoted 3", "d4cda95b652f4a15", "d4cda", "10.0.0.7", '"10.0.0.7" by'),
        *("ok", "语言", "语", "zebra", "ok zebra", '"refused by" connection', "_error"),
    ]
)


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """The same rows, a segment each, with filters and without."""
    made = []
    for setting in ("ingest", "never"):
        place = tmp_path_factory.mktemp(setting)
        lake = lakerunner.open(place / "lake", config={"word_filters": setting})
        for hour, body in enumerate(BODIES):
            rows = {
                "timestamp": pa.array([START + hour * HOUR], pa.timestamp("ns", "UTC")),
                "body": pa.array([body], pa.string()),
                "attr_note": [f"note {hour} zebra" if hour == 2 else None],
                "attr_http_route": ["/cart/items"],
            }
            lake.ingest(pa.table(rows), signal="logs")
        made.append(lake)
    yield made
    for lake in made:
        lake.close()


def has(text: str | None, sought: str) -> bool:
    """Whether a text has the words of a search, told naively."""
    words = [lowered(word) for word in words_in(text or "")]
    parts = sought.split('"')
    phrases = [words_in(part) for part in parts[1::2]]
    phrases += [[word] for part in parts[::2] for word in words_in(part)]
    return all(follows(words, [lowered(word) for word in phrase]) for phrase in phrases)


def lowered(word: str) -> str:
    return re.sub("[A-Z]+", lambda found: found[0].lower(), word)


def follows(words: list[str], phrase: list[str]) -> bool:
    size = len(phrase)
    return any(words[at : at + size] == phrase for at in range(len(words) - size + 1))


@given(TEXTS)
@example("语言")
def test_a_search_finds_what_has_the_words(lakes: list[Any], sought: str) -> None:
    expected = sorted(str(body) for body in BODIES if has(body, sought))
    for lake in lakes:
        for text in ("search($1)", "search(body, $1)", f"search('{sought}')"):
            params = [sought] if "$" in text else None
            result = lake.sql(f"SELECT body FROM logs WHERE {text}", params=params)
            assert sorted(map(str, result.to_arrow()["body"].to_pylist())) == expected
        others = lake.sql(f"SELECT count(*) FROM logs WHERE NOT search('{sought}')").scalar()
        assert others == len(BODIES) - 1 - len(expected)  # of a text that is NULL nothing is known
    words = sum(has(body, sought.replace('"', "")) for body in BODIES)
    assert lakes[0].sql(f"SELECT body FROM logs WHERE search('{sought}')").stats.scanned <= words


def test_words_may_stand_in_different_columns(lakes: list[Any]) -> None:
    lake = lakes[0]
    for columns in ("body, attr_note", '"note", body', "attributes['note'], logs.body"):
        result = lake.sql(f"SELECT body FROM logs WHERE search({columns}, 'Zebra refused')")
        assert result.to_pylist() == [{"body": "refused connection"}]
        assert not lake.sql(
            f"SELECT body FROM logs WHERE search({columns}, '\"zebra refused\"')"
        ).to_pylist()


def test_a_search_may_be_part_of_anything(lakes: list[Any]) -> None:
    text = """WITH found AS (SELECT body FROM logs WHERE search('ok') OR search(?))
        SELECT count(*) AS n, count(*) FILTER (WHERE search(body, ?)) AS m FROM found"""
    assert lakes[0].sql(text, params=["reset", "größe"]).to_pylist() == [{"n": 3, "m": 0}]
    routed = """SELECT count(*) FROM logs
        WHERE search(attributes.http_route, 'items') AND search('refused')"""
    assert lakes[0].sql(routed).scalar() == 3
    parts = "SELECT count(*) FROM logs WHERE search(body || ' ' || attr_note, 'zebra')"
    assert lakes[0].sql(parts).scalar() == 1


def test_spans_are_searched_by_name_and_message() -> None:
    with lakerunner.open("memory://search/spans") as lake:
        rows = {
            "timestamp": pa.array([START], pa.timestamp("ns", "UTC")),
            "name": ["GET /cart"],
            "status_message": ["deadline exceeded"],
        }
        lake.ingest(pa.table(rows), signal="spans")
        for sought, found in (("cart exceeded", 1), ("cart refused", 0)):
            query = f"SELECT name FROM traces WHERE search('{sought}')"
            assert len(lake.sql(query).to_pylist()) == found
            assert lake.sql(query).stats.scanned == found


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("search('…')", "there is none"),
        ("search('')", "there is none"),
        ("search()", "ends with the words"),
        ("search(body)", "ends with the words"),
        ("search(body, 5)", "ends with the words"),
        ("search(, 'x')", "ends with the words"),
        ("search('a') OR 1 IN (SELECT 1 FROM spans)", "does not know where to look"),
        ("search(nowhere, 'a')", "nowhere"),
    ],
)
def test_a_search_that_says_too_little_is_refused(
    lakes: list[Any], condition: str, message: str
) -> None:
    with pytest.raises(QuerySyntaxError, match=message):
        lakes[0].sql(f"SELECT body FROM logs WHERE {condition}")
