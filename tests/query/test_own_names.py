"""Attributes by the names they were sent under, wherever SQL takes a column."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import lakerunner
from lakerunner.errors import QuerySyntaxError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUTE = "attributes['http.route']"


def ingested(lake: lakerunner.Lake, *records: dict[str, Any]) -> None:
    lake.ingest("\n".join(map(json.dumps, records)).encode())


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[lakerunner.Lake]:
    """Three segments: one sent `http.route`, one `http_route`, one both."""
    with lakerunner.open(tmp_path / "lake") as opened:
        ingested(
            opened,
            {"message": "a", "http.route": "/a", "service.name": "cart", "http.status": 200},
            {"message": "b", "http.route": "/b", "service.name": "cart", "http.status": 500},
        )
        ingested(opened, {"message": "c", "http_route": "/c", "service.name": "cart"})
        ingested(opened, {"message": "d", "http.route": "/d", "http_route": "/e"})
        yield opened


def column(lake: lakerunner.Lake, text: str) -> list[Any]:
    table = lake.sql(text).to_arrow()
    assert table.num_columns == 1
    values: list[Any] = table.column(0).to_pylist()
    return values


@pytest.mark.parametrize(
    "name",
    [
        *('"http.route"', "http.route", ROUTE, "l.attributes['http.route']"),
        *("attributes.http.route", 'l."http.route"', "Log_Attributes['http.route']"),
        "`http.route`",
    ],
)
def test_an_attribute_is_found_under_each_of_its_names(lake: lakerunner.Lake, name: str) -> None:
    assert column(lake, f"SELECT {name} FROM logs l ORDER BY 1") == ["/a", "/b", "/d", None]
    assert column(lake, f"SELECT body FROM logs l WHERE {name} = '/d'") == ["d"]
    grouped = f"SELECT count({name}) FROM logs l GROUP BY {name} HAVING {name} IS NOT NULL"
    assert column(lake, grouped) == [1, 1, 1]


def test_keys_that_fold_to_one_name_are_told_apart(lake: lakerunner.Lake) -> None:
    assert column(lake, 'SELECT "http_route" FROM logs ORDER BY 1') == ["/c", "/e", None, None]
    both = 'SELECT "http.route" || "http_route" AS x FROM logs WHERE "http_route" IS NOT NULL'
    assert sorted(column(lake, both), key=str) == ["/d/e", None]
    assert column(lake, "SELECT count(*) FROM logs WHERE attributes['http_route'] = '/d'") == [0]


@pytest.mark.parametrize(
    "name",
    [
        *('"service.name"', "service.name", "resource['service.name']", "resource.service.name"),
        *("resource_attributes['service.name']", "ResourceAttributes['service.name']"),
    ],
)
def test_resource_attributes_too(lake: lakerunner.Lake, name: str) -> None:
    assert column(lake, f"SELECT DISTINCT {name} FROM logs WHERE {name} IS NOT NULL") == ["cart"]


def test_segments_are_pruned_by_own_names(lake: lakerunner.Lake) -> None:
    def scanned(where: str) -> int:
        return lake.sql(f"SELECT body FROM logs WHERE {where}").stats.scanned

    assert scanned("\"http.route\" = '/b'") == 1
    assert scanned("\"http_route\" = '/e'") == 1
    assert scanned("\"http_route\" = '/a'") == 0
    assert scanned('"http.route" IS NOT NULL') == 2
    assert scanned("attributes['http.status'] >= 501") == 0
    reasons = {one.reason for one in lake.explain("SELECT 1 FROM logs WHERE service.name = 'x'")[1]}
    assert any("service.name" in reason for reason in reasons)


def test_types_are_kept(lake: lakerunner.Lake) -> None:
    result = lake.sql("SELECT \"http.status\" s, attributes['http.status'] + 1 t FROM logs")
    assert result.schema.types == [pa.int64(), pa.int64()]
    assert sum(value or 0 for value in result.to_arrow()["t"].to_pylist()) == 702


def test_what_a_query_names_itself_comes_first(lake: lakerunner.Lake) -> None:
    own = 'WITH t AS (SELECT body AS "http.route" FROM logs) SELECT "http.route" FROM t ORDER BY 1'
    assert column(lake, own) == ["a", "b", "c", "d"]
    alias = 'SELECT upper(body) AS "http.route" FROM logs ORDER BY "http.route" LIMIT 1'
    assert column(lake, alias) == ["A"]
    through = 'WITH t AS (SELECT "http.route" AS "http.route" FROM logs) SELECT "http.route"'
    assert column(lake, f"{through} FROM t ORDER BY 1 DESC NULLS LAST LIMIT 1") == ["/d"]
    where = 'SELECT body AS "http.route" FROM logs WHERE "http.route" = \'/a\''
    assert column(lake, where) == ["a"]
    aliased = "SELECT resource.body FROM logs AS resource WHERE resource.body = 'a'"
    assert column(lake, aliased) == ["a"]
    struct = "SELECT attributes['x'] FROM (SELECT named_struct('x', body) AS attributes FROM logs)"
    assert sorted(column(lake, struct)) == ["a", "b", "c", "d"]


def test_a_star_shows_what_it_shows_without_them(lake: lakerunner.Lake) -> None:
    plain = lake.sql("SELECT * FROM logs WHERE attr_http_route = '/d'").to_arrow()
    own = lake.sql("SELECT * FROM logs WHERE \"http.route\" = '/d'").to_arrow()
    assert own.equals(plain)
    nested = lake.sql(f"SELECT t.*, {ROUTE} r FROM (SELECT * FROM logs) t").to_arrow()
    assert nested.schema.names == [*plain.schema.names, "r"]
    joined = lake.sql(
        'SELECT l.*, r.body b FROM logs l JOIN logs r USING ("http.route")'
    ).to_arrow()
    assert joined.num_rows == 3
    assert joined.schema.names[-1] == "b"
    assert not any(name.startswith("__") for name in joined.schema.names)
    assert lake.sql("SELECT * FROM logs WHERE http.route IS NULL").schema == plain.schema


def test_texts_and_comments_are_left_alone(lake: lakerunner.Lake) -> None:
    text = """SELECT 'http.route' AS a, "http.route" -- attributes['x'] "nope.nope"
        /* "no.no" /* attributes['y'] */ */ , 'it''s "x.y"' AS b
        FROM logs WHERE http.route = '/a'"""
    assert lake.sql(text).to_arrow().to_pylist() == [
        {"a": "http.route", "http.route": "/a", "b": 'it\'s "x.y"'}
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ('"http-route"', 'did you mean "http.route"'),
        ('"HTTP.Route"', 'did you mean "http.route"'),
        ("attributes['http.statu']", "did you mean attr_http_status"),
        ('"http.rout"', "attr_http_route"),
        ("service.name, body AS service", 'did you mean "service.name", in double quotes?'),
        ("resource['nope']", "there is no column resource['nope']"),
    ],
)
def test_what_nobody_sent_is_said(lake: lakerunner.Lake, name: str, meant: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        lake.sql(f"SELECT {name} FROM logs")
    assert meant in caught.value.message


def test_attributes_in_several_places(tmp_path: Path) -> None:
    """Where a name does not say whose attribute it is, the nearest one counts, row by row."""
    with lakerunner.open(tmp_path) as lake:
        mapping = {"attributes": {"r": "resource.zone"}}
        lines = [{"message": "a", "r": "eu", "zone": "z1"}, {"message": "b", "r": "us"}]
        lake.ingest("\n".join(map(json.dumps, lines)).encode(), mapping=mapping)
        assert column(lake, 'SELECT "zone" FROM logs ORDER BY body') == ["z1", "us"]
        assert column(lake, "SELECT resource['zone'] FROM logs ORDER BY body") == ["eu", "us"]
        assert column(lake, "SELECT attributes['zone'] FROM logs ORDER BY body") == ["z1", None]
        assert column(lake, "SELECT body FROM logs WHERE \"zone\" = 'us'") == ["b"]


def test_attributes_without_a_column(tmp_path: Path) -> None:
    """Beyond the cap on columns, attributes live in a map, and have the same names."""
    many = {f"key.{number:03}": number for number in range(500)}
    with lakerunner.open(tmp_path) as lake:
        ingested(lake, {"message": "a", **many}, {"message": "b"})
        names = [f"key.{number:03}" for number in (0, 250, 499)]
        sums = ", ".join(f'sum("{name}") AS s{place}' for place, name in enumerate(names))
        (row,) = lake.sql(f"SELECT {sums} FROM logs").to_arrow().to_pylist()
        assert list(row.values()) == [0, 250, 499]
        assert column(lake, "SELECT body FROM logs WHERE attributes['key.499'] = 499") == ["a"]


def test_places_in_errors_are_those_of_the_text_as_written(lake: lakerunner.Lake) -> None:
    text = "SELECT if(true, 1, 2),\n  http.route, attributes['http.route'] x 5 FROM logs"
    with pytest.raises(QuerySyntaxError) as caught:
        lake.sql(text)
    place = text.splitlines()[1].index("5") + 1
    assert f"Line: 2, Column: {place}" in caught.value.message
    assert caught.value.context["query"] == text
