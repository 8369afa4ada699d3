"""What token filters leave out holds nothing that a query looks for; what they keep is little."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import event, given

import lakerunner
from lakerunner.segments import token_filter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 1_790_002_800 * 10**9
HOUR = 3600 * 10**9
HOURS, ROWS = 6, 40
WORDS = ["timeout", "Timeout", "größe", "GRÖSSE", "order", "cart", "d4cda95b652f4a15", "\u212aafka"]
PATTERNS = [
    *("%time%", "%TIME%", "order%", "%15", "%a95b652f4a1592b%", "% or_er %", "%größe%", "%kafka%"),
    *("%", "timeout", r"%\%%", "%zebra%", "%order 1%", "_imeout%", "", "%4a15%cart%"),
]
REGEXES = [
    *("timeout", "^order", "(order|cart) [0-9]+", "order|zebra", "(?i)TIMEOUT", "zebra.*x", "^$"),
    *("d4cda95b652f4a15", r"\\w+ [0-9]{2}$", "time(out)?", "o.*r", "[^a-z]zebra", r"cart\\b"),
]
PHRASES = ["timeout", "TIMEOUT order", "größe", "zebra", "order 1", "cart d4cda95b652f4a15", "time"]


def make_rows() -> list[dict[str, Any]]:
    rng = random.Random(11)  # noqa: S311 - the same rows every time

    def body() -> str | None:
        parts = [rng.choice(WORDS) for _ in range(rng.randint(0, 3))]
        parts.insert(rng.randint(0, len(parts)), str(rng.randrange(30)))
        return None if rng.random() < 0.1 else rng.choice([" ", "=", "-", "“"]).join(parts)

    return [
        {
            "timestamp": START + hour * HOUR + number * 10**9,
            "resource_service_name": rng.choice(["cart", "checkout", None]),
            "body": body(),
            "trace_id": rng.choice([None, f"{rng.randrange(40):032x}"]),
            "attr_user": rng.choice([None, "", f"user {hour}", f"User {rng.randrange(9)}", "é"]),
            "attr_number": rng.randrange(5),
        }
        for hour in range(HOURS)
        for number in range(ROWS)
    ]


TYPES = {
    "timestamp": pa.timestamp("ns", "UTC"),
    "resource_service_name": pa.string(),
    "body": pa.string(),
    "trace_id": pa.string(),
    "attr_user": pa.string(),
    "attr_number": pa.int64(),
}


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table({n: pa.array([row[n] for row in rows], kind) for n, kind in TYPES.items()})


class Lakes:
    """The same rows in a lake with filters, and as one table in memory."""

    def __init__(self, place: Path) -> None:
        self.rows = make_rows()
        self.lake = lakerunner.open(place / "lake")
        for hour in range(HOURS):
            self.lake.ingest(as_table(self.rows[hour * ROWS : (hour + 1) * ROWS]), signal="logs")
        self.context = SessionContext()
        self.context.from_arrow(as_table(self.rows), name="logs")

    def naive(self, text: str) -> Counter[str] | None:
        """The answer over all rows, or None if the query fails on some row."""
        try:
            return counted(self.context.sql(text).to_arrow_table())
        except Exception:  # noqa: BLE001 - whatever it fails by, there is no answer to compare
            return None


def counted(table: pa.Table) -> Counter[str]:
    return Counter(map(repr, table.to_pylist()))


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_filter, "FILTER_ROWS", 16)
        made = Lakes(tmp_path_factory.mktemp("lakes"))
        yield made
        made.lake.close()


def quoted(texts: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([f"'{text}'" for text in texts])


USERS = quoted(["user 3", "User 3", "", "é", "nobody", "user"])
TRACES = st.integers(-1, 45).map(lambda number: f"'{number & 0xFFFF:032x}'")
LIKES = st.sampled_from(["LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE"])
MATCHES = st.sampled_from(["~", "~*", "!~", "!~*"])
FUNCTIONS = st.sampled_from(["contains", "starts_with", "ends_with"])
OTHERS = ["body IS NULL", "trace_id IS NOT NULL", "upper(body) = 'CART'", "NULL", "body > 'o'"]
LEAVES = (
    st.builds("body {} {}".format, LIKES, quoted(PATTERNS))
    | st.builds("body {} {}".format, MATCHES, quoted(REGEXES))
    | st.builds("{}(body, {})".format, FUNCTIONS, quoted([*WORDS, "order 1", ""]))
    | st.builds("body = {}".format, quoted(["1", "order 1", "zebra", "12 cart", ""]))
    | st.builds("body IN ({}, {})".format, quoted(["1", "zebra"]), quoted(["order 2", "3"]))
    | st.builds("attr_user {} {}".format, st.sampled_from(["=", "<>", "<", "LIKE"]), USERS)
    | st.builds("attr_user IN ({}, {})".format, USERS, USERS)
    | st.builds("trace_id = {}".format, TRACES)
    | st.builds("trace_id IN ({}, {}, NULL)".format, TRACES, TRACES)
    | st.builds("attr_number = {}".format, st.integers(-1, 5))
    | st.sampled_from(OTHERS)
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds("({} AND {})".format, inner, inner)
        | st.builds("({} OR {})".format, inner, inner)
        | st.builds("NOT ({})".format, inner)
    ),
    max_leaves=4,
)


@given(CONDITIONS, CONDITIONS)
def test_filtered_answers_are_those_of_all_rows(lakes: Lakes, first: str, second: str) -> None:
    for text in (
        f"SELECT timestamp, body FROM logs WHERE {first}",
        f"""SELECT count(*) AS n FROM logs WHERE {second} AND attr_number IN
        (SELECT attr_number FROM logs WHERE {first})""",
    ):
        expected = lakes.naive(text)
        if expected is None:
            event("fails on some row")
            continue
        result = lakes.lake.sql(text)
        event(f"left out: {result.stats.pruned > 0}")
        assert counted(result.to_arrow()) == expected


ABSENT = [
    "body LIKE '%zebra%'",
    "body ILIKE '%ZEBRA%'",
    "body = 'zebra'",
    "body IN ('zebra', 'a unicorn')",
    "body ~ 'zebra [0-9]+'",
    "body ~ '^zebra'",
    "body ~ '(?i)zebra.*x|unicorn'",
    "contains(body, 'zebra')",
    "starts_with(body, 'zebra')",
    "ends_with(body, ' zebra')",
    "body LIKE '%b52f4a1592b449d5%'",
    "trace_id = 'd4cda95b652f4a1592b449d5929fda1b'",
    "trace_id IN ('d4cda95b652f4a1592b449d5929fda1b', 'x')",
    "attr_user = 'nobody'",
    "\"user\" = 'nobody'",
    "attributes['user'] = 'nobody'",
    "body LIKE '%zebra%' OR attr_user = 'nobody'",
    "body LIKE '%order%' AND attr_user = 'nobody'",
]


@pytest.mark.parametrize("condition", ABSENT)
def test_what_is_nowhere_opens_no_file(lakes: Lakes, condition: str) -> None:
    result = lakes.lake.sql(f"SELECT body FROM logs WHERE {condition}")
    assert (result.stats.scanned, result.stats.pruned) == (0, HOURS)
    assert result.to_arrow().num_rows == 0


def test_an_explanation_says_that_a_filter_did_it(lakes: Lakes) -> None:
    told = lakes.lake.explain("SELECT body FROM logs WHERE body LIKE '%zebra%'")
    reasons = {one.reason for one in told.segments if not one.keep}
    assert len(told.dropped) == HOURS
    assert reasons == {"its token filter excludes what is looked for"}


def test_filters_are_made_when_the_setting_says_so(tmp_path: Path) -> None:
    row = b'{"time": "2026-01-01T00:00:00Z", "message": "hello"}'
    for setting, there in (("ingest", True), ("compact", False), ("never", False)):
        with lakerunner.open(tmp_path / setting, config={"word_filters": setting}) as lake:
            lake.ingest(row)
            (segment,) = lake.segments()
            assert bool(segment.filters) is there
            found = lake.sql("SELECT body FROM logs WHERE body = 'bye'")
            assert found.stats.scanned == (0 if there else 1)


def test_a_damaged_filter_says_nothing(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path, config={"query_verify": "none"}) as lake:
        lake.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "hello"}')
        (segment,) = lake.segments()
        (section,) = segment.filters
        data = bytearray(lake.store.get(segment.key).data)
        data[section.start] ^= 1
        lake.store.put(segment.key, bytes(data))
        (found,) = lake.verify()
        assert found.reason == "damaged: the token filter"
        result = lake.sql("SELECT body FROM logs WHERE body = 'bye'")
        assert result.stats.scanned == 1
        assert result.to_arrow().num_rows == 0
