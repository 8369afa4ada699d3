"""Two organizations in one lake: whatever a query of one says, the other's rows stay unseen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import lakerunner
from lakerunner.errors import (
    ConfigurationError,
    QueryError,
    QueryExecutionError,
    QueryLimitError,
    QuerySyntaxError,
    UnsupportedQueryError,
)
from lakerunner.query import QueryEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "canary-1f8e"
OWN_BODIES = {"own row", "another row"}

REFUSED = {
    "writes": [
        "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{theirs}'",
        "CREATE EXTERNAL TABLE logs STORED AS PARQUET LOCATION '{folder}/'",
        "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION 's3://bucket/segments/beta/'",
        "CREATE VIEW x AS SELECT * FROM logs",
        "CREATE TABLE logs AS SELECT * FROM '{theirs}'",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "COPY (SELECT * FROM logs) TO '{folder}/x.parquet'",
        "COPY logs TO 's3://bucket/x'",
        "INSERT INTO logs VALUES (1)",
        "DELETE FROM logs WHERE true",
        "UPDATE logs SET organization = 'beta'",
        "SET datafusion.catalog.information_schema = true",
        "SET organization = 'beta'",
        "PREPARE p AS SELECT * FROM logs",
        "EXECUTE p('beta')",
        "USE beta",
        "SHOW TABLES",
        "SHOW ALL",
        "EXPLAIN SELECT * FROM logs",
        "EXPLAIN ANALYZE SELECT * FROM logs",
        "EXPLAIN ANALYZE VERBOSE SELECT * FROM '{theirs}'",
        "SELECT 1; SELECT * FROM logs",
        "SELECT * FROM logs; SET organization = 'beta'",
    ],
    "sources": [
        "'{theirs}'",
        '"{theirs}"',
        "`{theirs}`",
        "'file://{theirs}'",
        "'{folder}'",
        "'{folder}/**/*.parquet'",
        "'/etc/passwd'",
        "'s3://bucket/segments/beta/logs/'",
        "'https://example.org/x.parquet'",
        "read_parquet('{theirs}')",
        "read_csv('/etc/passwd')",
        "read_json('/etc/passwd')",
        "parquet_metadata('{theirs}')",
        "metadata_cache()",
        "statistics_cache()",
        "list_files_cache()",
        "logs('beta')",
        "beta.logs",
        "beta.public.logs",
        "datafusion.beta.logs",
        "other.public.logs",
        '"beta"."logs"',
        '"segments/beta/logs"',
        '"logs "',
        '"LOGS"',
        "\uff4c\uff4f\uff47\uff53",
        "l\u043egs",
        '"logs\u200b"',
        '"logs\u202e"',
        "U&'\\006c\\006f\\0067\\0073'",
        "information_schema.tables",
        "information_schema.columns",
        "datafusion.information_schema.df_settings",
        "information_schema.views",
        "pg_catalog.pg_tables",
        "sqlite_master",
        '"?table?"',
    ],
}
SHAPES = [
    "SELECT * FROM {source}",
    "SELECT body FROM logs UNION ALL SELECT body FROM {source}",
    "WITH x AS (SELECT * FROM {source}) SELECT * FROM x",
    "WITH RECURSIVE r AS (SELECT body FROM logs UNION ALL SELECT body FROM {source}) TABLE r",
    "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 2 FROM {source}) SELECT * FROM r",
    "SELECT (SELECT max(body) FROM {source}) FROM logs",
    "SELECT * FROM logs WHERE body IN (SELECT body FROM {source})",
    "SELECT * FROM logs WHERE EXISTS (SELECT 1 FROM {source} t WHERE t.body LIKE 'canary%')",
    "SELECT * FROM logs CROSS JOIN {source} x",
    "SELECT * FROM logs l, LATERAL (SELECT * FROM {source} b WHERE b.body > l.body) x",
    "SELECT * FROM logs EXCEPT SELECT * FROM {source}",
    "DESCRIBE {source}",
]
ANSWERED = [
    "SELECT * FROM logs WHERE organization = 'beta' OR true",
    "SELECT * FROM logs WHERE organization <> 'acme'",
    "SELECT * FROM logs WHERE attr_organization = 'beta'",
    "SELECT * FROM logs WHERE organization = 'beta' UNION ALL SELECT * FROM logs",
    "SELECT * FROM datafusion.public.logs",
    "SELECT * FROM public.logs",
    'SELECT * FROM "logs"',
    "SELECT * FROM LOGS",
    "SELECT * FROM /* beta */ logs -- beta",
    "SELECT 'beta' AS organization, body FROM logs WHERE 'beta' = 'beta'",
    "SELECT * FROM logs AS beta",
    "WITH logs AS (SELECT * FROM logs) SELECT * FROM logs",
    "WITH beta AS (SELECT * FROM logs WHERE organization = 'beta') SELECT * FROM beta",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) FROM r, logs",
    "SELECT * FROM logs a JOIN logs b ON a.organization <> b.organization",
    "SELECT l.*, x.* FROM logs l CROSS JOIN LATERAL (SELECT 1 AS one) x",
    "SELECT * FROM spans UNION ALL SELECT * FROM spans",
    "SELECT count(*) FROM metrics",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT * FROM range(0, 3) r CROSS JOIN logs",
    "SELECT unnest([1, 2, 3])",
    "SELECT arrow_cast(body, 'Binary'), arrow_typeof(body) FROM logs",
    "SELECT max(body), min(body), string_agg(body, ',') FROM logs",
    "SELECT map_keys(attribute_overflow) FROM logs",
    "SELECT body FROM logs ORDER BY organization DESC LIMIT 100",
    "SELECT approx_distinct(body), count(DISTINCT organization) FROM logs",
    "DESCRIBE logs",
    "DESC logs",
    "VALUES ('beta')",
    "SELECT version(), now()",
]
DEEP = {
    "parentheses": "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "many parentheses": "SELECT " + "(" * 400_000 + "1" + ")" * 400_000,
    "subqueries": "SELECT * FROM " + "(SELECT * FROM " * 2000 + "logs" + ")" * 2000,
    "and": "SELECT * FROM logs WHERE " + " AND ".join(f"body <> '{n}'" for n in range(50_000)),
    "plus": "SELECT " + "+".join(["1"] * 300_000),
    "casts": "SELECT 1" + "::int" * 100_000,
    "is": "SELECT true" + " IS TRUE" * 100_000,
    "intervals": "SELECT " + "INTERVAL " * 100_000 + "'1 day'",
    "intervals in comments": "SELECT " + "INTERVAL/**/" * 3000 + "'1 day'",
    "explanations": "(" + "EXPLAIN " * 100_000 + "SELECT 1)",
    "unions": " UNION ALL ".join(["SELECT 1"] * 20_000),
    "names": "WITH c0 AS (SELECT 1 AS x),"
    + ",".join(f"c{n} AS (SELECT * FROM c{n - 1})" for n in range(1, 1200))
    + " SELECT * FROM c1199",
    "five million": "SELECT '" + "x" * 5_000_000 + "'",
}
LONG = {
    "literal": "SELECT '" + "x" * 1_000_000 + "' AS x, body FROM logs",
    "comment": "SELECT body FROM logs -- " + "beta " * 200_000,
    "list": "SELECT body FROM logs WHERE body NOT IN ("
    + ", ".join(f"'{n}'" for n in range(100_000))
    + ")",
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lakerunner.Lake]:
    """A lake with rows of `acme` and `beta`, who call themselves by each other's name."""
    with lakerunner.open(tmp_path_factory.mktemp("two") / "lake") as made:
        acme, beta = made.for_organization("acme"), made.for_organization("beta")
        acme.ingest(b'{"message": "own row", "organization": "beta", "n": 1}')
        acme.ingest(b'{"message": "another row", "organization": "beta", "n": 2}')
        beta.ingest(f'{{"message": "{CANARY}", "organization": "acme", "n": 3}}'.encode())
        beta.ingest(
            f'{{"name": "{CANARY}", "trace_id": "{"a" * 32}", "span_id": "{"b" * 16}", '
            '"start_time": 1767225600000000000, "end_time": 1767225600000000001}'.encode()
        )
        assert rows(beta, "SELECT body FROM logs") == [{"body": CANARY}]
        assert rows(beta, "SELECT name FROM spans") == [{"name": CANARY}]
        yield made


@pytest.fixture
def acme(lake: lakerunner.Lake) -> lakerunner.Lake:
    return lake.for_organization("acme")


def rows(lake: lakerunner.Lake, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.sql(text).to_arrow().to_pylist()
    return found


def filled(lake: lakerunner.Lake, text: str) -> str:
    theirs = lake.store.local_path(lake.for_organization("beta").segments()[0].key)
    assert theirs is not None
    assert theirs.is_file()
    return text.replace("{theirs}", str(theirs)).replace("{folder}", str(theirs.parent))


def refuse(lake: lakerunner.Lake, text: str) -> None:
    with pytest.raises(QueryError) as caught:
        rows(lake, text)
    kinds = {QuerySyntaxError, UnsupportedQueryError, QueryExecutionError, QueryLimitError}
    assert type(caught.value) in kinds
    assert CANARY not in str(caught.value)
    assert caught.value.message


def test_reading_all_is_reading_ones_own(acme: lakerunner.Lake) -> None:
    assert {row["body"] for row in rows(acme, "SELECT body FROM logs")} == OWN_BODIES
    assert rows(acme, "SELECT DISTINCT organization, attr_organization FROM logs") == [
        {"organization": "acme", "attr_organization": "beta"}
    ]
    assert rows(acme, "SELECT * FROM spans") == []


@pytest.mark.parametrize("text", REFUSED["writes"])
def test_what_does_more_than_read_is_refused(
    lake: lakerunner.Lake, acme: lakerunner.Lake, text: str
) -> None:
    text = filled(lake, text)
    refuse(acme, text)
    word = text.split()[0]
    if word not in {"SELECT", "EXPLAIN"}:
        with pytest.raises(UnsupportedQueryError, match=word):
            acme.sql(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_other_source_is_read(lake: lakerunner.Lake, acme: lakerunner.Lake, shape: str) -> None:
    for source in REFUSED["sources"]:
        refuse(acme, filled(lake, shape.replace("{source}", source)))


@pytest.mark.parametrize("text", ANSWERED)
def test_what_is_answered_has_ones_own_rows_only(acme: lakerunner.Lake, text: str) -> None:
    found = rows(acme, text)
    assert CANARY not in repr(found)
    assert {row["body"] for row in found if "body" in row} <= OWN_BODIES
    explained = str(acme.explain(text))
    assert CANARY not in explained
    assert "segments/beta" not in explained


@pytest.mark.parametrize("case", DEEP)
def test_deep_texts_are_refused_and_harm_no_one(acme: lakerunner.Lake, case: str) -> None:
    refuse(acme, DEEP[case])
    assert len(rows(acme, "SELECT * FROM logs")) == 2


@pytest.mark.parametrize("case", LONG)
def test_long_texts_are_answered(acme: lakerunner.Lake, case: str) -> None:
    assert {row["body"] for row in rows(acme, LONG[case])} == OWN_BODIES


WORDS = (
    "SELECT * FROM logs spans beta acme WHERE organization = 'beta' OR true ( ) , UNION ALL body "
    "AS x JOIN ON . public WITH count ' \" -- /* */ ; IN LATERAL NOT 1 LIMIT"
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=14))
def test_any_row_of_words_shows_ones_own_rows_or_fails(
    lake: lakerunner.Lake, parts: list[str]
) -> None:
    text = " ".join(["SELECT * FROM logs", *parts])
    try:
        said = repr(rows(lake.for_organization("acme"), text))
    except QueryError as error:
        said = str(error)
    assert CANARY not in said


def test_queries_of_two_organizations_at_once_do_not_mix(lake: lakerunner.Lake) -> None:
    expected = {"acme": OWN_BODIES, "beta": {CANARY}, "nobody": set()}
    shapes = [
        "SELECT body FROM logs",
        "SELECT body FROM logs WHERE organization IS NOT NULL",
        "SELECT a.body FROM logs a JOIN logs b ON a.body = b.body",
        "SELECT body FROM (SELECT * FROM logs UNION SELECT * FROM logs)",
    ]

    def ask(number: int) -> tuple[str, set[str]]:
        name = sorted(expected)[number % 3]
        found = rows(lake.for_organization(name), shapes[number % len(shapes)])
        return name, {row["body"] for row in found}

    with ThreadPoolExecutor(8) as threads:
        for name, bodies in threads.map(ask, range(120)):
            assert bodies == expected[name]


def test_a_query_sees_no_table_of_one_that_is_being_read(lake: lakerunner.Lake) -> None:
    batches = iter(lake.for_organization("beta").sql("SELECT name FROM spans"))
    next(batches)
    assert rows(lake.for_organization("acme"), "SELECT * FROM spans") == []
    assert rows(lake.for_organization("acme"), "SELECT * FROM metrics_rollup") == []
    refuse(lake.for_organization("acme"), "SELECT * FROM metrics_of_others")


@pytest.mark.parametrize("name", ["", "..", "../beta", "acme/../beta", "béta", "b" * 200])
def test_hostile_names_are_refused(lake: lakerunner.Lake, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name an organization"):
        lake.for_organization(name)
    with pytest.raises(ConfigurationError, match="cannot name an organization"):
        QueryEngine(lake.store, lake.catalog, name)
    with pytest.raises(ConfigurationError, match="cannot name an organization"):
        lake.ingest(b'{"message": "x"}', organization=name)
    with pytest.raises(ConfigurationError, match="cannot name an organization"):
        lakerunner.open(tmp_path / "new", organization=name)
    assert not list(tmp_path.iterdir())
