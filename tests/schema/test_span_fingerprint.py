"""Equal operations have equal fingerprints, different ones do not, and none ever changes."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given

from lakerunner.schema.span_fingerprint import INPUTS, span_fingerprints, without_ids


def one(**columns: str) -> int:
    (number,) = span_fingerprints({name: pa.array([text]) for name, text in columns.items()})
    return int(number.as_py())


BASE = {"resource_service_name": "shop", "kind": "SERVER", "name": "GET /users/12"}
HTTP = {**BASE, "attr_http_request_method": "GET", "attr_http_route": "/users/:id"}
QUERY = {
    **BASE,
    "attr_db_system_name": "postgresql",
    "attr_db_namespace": "shop",
    "attr_db_operation_name": "SELECT",
    "attr_db_collection_name": "users",
}
MESSAGE = {
    **BASE,
    "attr_messaging_system": "kafka",
    "attr_messaging_operation_type": "send",
    "attr_messaging_destination_name": "orders",
}
STORED = [
    8_339_822_103_383_148_244,
    4_944_549_470_047_265_642,
    2_491_401_723_305_852_881,
    -6_757_568_960_032_501_034,
]


def test_what_is_stored_never_changes() -> None:
    assert [one(**span) for span in (BASE, HTTP, QUERY, MESSAGE)] == STORED


@pytest.mark.parametrize("span", [BASE, HTTP, QUERY, MESSAGE])
def test_place_and_kind_are_part_of_it(span: dict[str, str]) -> None:
    others = {
        "resource_k8s_cluster_name": "eu",
        "resource_k8s_namespace_name": "prod",
        "resource_service_name": "desk",
        "kind": "CLIENT",
    }
    numbers = {one(**{**span, name: value}) for name, value in others.items()}
    assert len(numbers | {one(**span)}) == len(others) + 1


@pytest.mark.parametrize(
    ("span", "parts"),
    [
        (HTTP, ["attr_http_request_method", "attr_http_route"]),
        (QUERY, [name for name in QUERY if name.startswith("attr_db")]),
        (MESSAGE, [name for name in MESSAGE if name.startswith("attr_messaging")]),
        (BASE, ["name"]),
    ],
)
def test_each_part_of_an_operation_counts(span: dict[str, str], parts: list[str]) -> None:
    numbers = {one(**{**span, name: "other"}) for name in parts}
    assert len(numbers | {one(**span)}) == len(parts) + 1


@pytest.mark.parametrize("span", [HTTP, QUERY, MESSAGE])
def test_the_name_does_not_count_where_attributes_tell(span: dict[str, str]) -> None:
    assert one(**{**span, "name": "something else"}) == one(**span)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("attr_http_request_method", "attr_http_method"),
        ("attr_http_route", "attr_url_template"),
        ("attr_db_system_name", "attr_db_system"),
        ("attr_db_namespace", "attr_db_name"),
        ("attr_db_operation_name", "attr_db_operation"),
        ("attr_db_collection_name", "attr_db_sql_table"),
        ("attr_messaging_operation_type", "attr_messaging_operation"),
        ("attr_messaging_destination_name", "attr_messaging_destination"),
    ],
)
def test_both_generations_of_conventions_agree(new: str, old: str) -> None:
    span = next(span for span in (HTTP, QUERY, MESSAGE) if new in span)
    renamed = {(old if name == new else name): value for name, value in span.items()}
    assert one(**renamed) == one(**span)
    assert one(**{**span, old: "ignored"}) == one(**span)


def test_the_first_kind_of_operation_wins() -> None:
    assert one(**HTTP, **{k: v for k, v in QUERY.items() if k.startswith("attr")}) == one(**QUERY)
    everything = {**HTTP, **QUERY, **MESSAGE}
    assert one(**everything) == one(**MESSAGE)


def test_values_do_not_slip_into_other_places() -> None:
    assert one(attr_db_system="x", attr_db_name="y") != one(attr_db_system="y", attr_db_name="x")
    assert one(name="x") != one(kind="x")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("GET /users/123", "GET /users/{}"),
        ("GET /users/123/orders/7", "GET /users/{}/orders/{}"),
        ("GET /a?token=b&x=1", "GET /a"),
        ("/f81d4fae-7dec-11d0-a765-00a0c91e6bf6/x", "/{}/x"),
        ("/f81d4fae7dec11d0a76500a0c91e6bf6", "/{}"),
        ("0x00000000deadbeef", "{}"),
        ("job_17", "job_{}"),
        ("S3.PutObject v1 oauth2", "S3.PutObject v1 oauth2"),
        ("deadbeef", "deadbeef"),
        ("", ""),
        ("größe 9", "größe {}"),
    ],
)
def test_what_varies_is_taken_out(text: str, kept: str) -> None:
    assert without_ids(pa.array([text, None])).to_pylist() == [kept, None]


_CELLS = st.none() | st.sampled_from(["", "a", "b", "GET", "/users/7", "größe"])
_ROWS = st.lists(st.dictionaries(st.sampled_from(sorted(INPUTS)), _CELLS), min_size=1, max_size=8)


def columns_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = {name for row in rows for name in row}
    empty = pa.nulls(len(rows), pa.string())
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
    return {"other": empty, **columns}


@given(_ROWS)
def test_neighbours_encoding_and_empty_columns_do_not_matter(rows: list[dict[str, Any]]) -> None:
    columns = columns_of(rows)
    whole = span_fingerprints(columns)
    assert whole.type == pa.int64()
    assert whole.null_count == 0
    encoded = {name: column.dictionary_encode() for name, column in columns.items()}
    assert span_fingerprints(encoded).equals(whole)
    columns.pop("other", None)
    columns["unrelated"] = pa.nulls(len(rows), pa.int64())
    assert span_fingerprints(pa.table(columns)).equals(whole)
    for number, row in enumerate(rows):
        present = {name: cell for name, cell in row.items() if cell}
        alone = span_fingerprints(columns_of([present]))
        assert alone[0] == whole[number]


def test_slices_and_no_rows() -> None:
    names = pa.array(["x", "y", "z"])
    assert span_fingerprints({"name": names[1:]}).equals(span_fingerprints({"name": names})[1:])
    assert len(span_fingerprints({"name": names[:0]})) == 0
    assert len(span_fingerprints({})) == 0


def test_numbers_are_read_as_they_are_written() -> None:
    number = span_fingerprints({"attr_db_system": pa.array([7])})
    assert number.equals(span_fingerprints({"attr_db_system": pa.array(["7"])}))
