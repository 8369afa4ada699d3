"""JSON text taken apart in SQL agrees with a parser, value by value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given

from lakerunner.compute.json_functions import JsonColumn
from lakerunner.compute.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = st.sampled_from(["a", "b", 'q"', "é", "0", "1", "", "a\\"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["}{", '"', "\\", '\\"', "[,]:", "\n\t"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.builds(
    lambda value, indent: json.dumps(value, indent=indent, ensure_ascii=False),
    VALUES,
    st.sampled_from([None, 1]),
)
MISSING = object()
BROKEN = [
    *("", " ", "{", "}", "{}", '{"a"', '"x"', "plain", '{"a":1}}', '{"a":1}{"b":2}', "[1,2"),
    *("\\", '"', '{"a":"\\', "[[[[", '{"a":1', "]", '{"a":[}]', "null", "5"),
    *('{"a"::1}', '{"a":1:2}', '{"a" x: 1}', '{"a" : : 1}'),
]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    opened = Session()
    yield opened
    opened.close()


def follow(value: Any, path: list[str]) -> Any:
    for key in path:
        if isinstance(value, dict):
            value = value.get(key, MISSING)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


@given(st.lists(TEXTS, min_size=1, max_size=8), st.lists(KEYS, max_size=3))
def test_every_path_leads_where_a_parser_finds_it(texts: list[str], path: list[str]) -> None:
    column = JsonColumn(pa.array(texts))
    found = column.at(path)
    shown = dict(zip(found.rows.tolist(), column.texts(found).to_pylist(), strict=True))
    for row, text in enumerate(texts):
        value = json.loads(text)
        expected = follow(value, path) if isinstance(value, dict | list) else MISSING
        assert (row in shown) == (expected is not MISSING), (text, path)
        if row in shown:
            assert json.loads(shown[row]) == expected


@given(st.lists(TEXTS | st.sampled_from(BROKEN) | st.text(max_size=12), max_size=8), KEYS)
def test_what_is_no_json_takes_no_neighbour_with_it(texts: list[str], key: str) -> None:
    alone = [JsonColumn(pa.array([text], pa.string())).at([key]) for text in texts]
    together = JsonColumn(pa.array(texts, pa.string())).at([key])
    assert together.rows.tolist() == [row for row, one in enumerate(alone) if len(one.rows)]


@pytest.mark.parametrize("text", ['{"a"::1}', '{"a":1:2}', '{"a" x: 1}', '{"a" : : 1}'])
def test_a_pair_is_one_key_one_colon_and_one_value(text: str) -> None:
    column = JsonColumn(pa.array([text, '{"a" : 1}', '{"a"\t\n:1, "b":2}']))
    found = column.at(["a"])
    assert (found.rows.tolist(), column.texts(found).to_pylist()) == ([1, 2], ["1", "1"])
    rows, keys = column.keys(column.roots())
    assert (rows.tolist(), keys.to_pylist()) == ([1, 2, 2], ["a", "a", "b"])


DOCUMENT = {
    "s": 'te"xt\n😀',
    "i": 5,
    "f": -2.5e3,
    "t": True,
    "z": None,
    "o": {"k": {"deep": "x"}},
    "l": [1, "two", [3]],
    "big": 10**30,
    "e": {},
    "n": [],
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("json_get_str({0}, make_array('s'))", 'te"xt\n😀'),
        ("json_get_str({0}, make_array('i'))", None),
        ("json_as_text({0}, make_array('i'))", "5"),
        ("json_as_text({0}, make_array('z'))", None),
        ("json_get({0}, make_array('z'))", "null"),
        ("json_get({0}, make_array('o', 'k'))", '{"deep": "x"}'),
        ("json_get_int({0}, make_array('i'))", 5),
        ("json_get_int({0}, make_array('f'))", None),
        ("json_get_int({0}, make_array('big'))", None),
        ("json_get_float({0}, make_array('f'))", -2500.0),
        ("json_get_float({0}, make_array('i'))", 5.0),
        ("json_get_bool({0}, make_array('t'))", True),
        ("json_get_bool({0}, make_array('i'))", None),
        ("json_get_str({0}, make_array('l', '1'))", "two"),
        ("json_get_int({0}, make_array('l', '2', '0'))", 3),
        ("json_length({0}, make_array('l'))", 3),
        ("json_length({0}, make_array('o'))", 1),
        ("json_length({0}, make_array('e'))", 0),
        ("json_length({0}, make_array('n'))", 0),
        ("json_length({0}, make_array('s'))", None),
        ("json_length({0}, make_array())", len(DOCUMENT)),
        ("json_contains({0}, make_array('o', 'k', 'deep'))", True),
        ("json_contains({0}, make_array('o', 'no'))", False),
        ("json_contains(NULL, make_array('o'))", None),
        ("json_object_keys({0}, make_array())", list(DOCUMENT)),
        ("json_object_keys({0}, make_array('l'))", None),
        ("json_get_int(arrow_cast({0}, 'Utf8View'), make_array('i'))", 5),
        ("json_get_int(arrow_cast({0}, 'Dictionary(Int32, Utf8)'), make_array('i'))", 5),
    ],
)
def test_functions(session: Session, expression: str, expected: Any) -> None:
    literal = "'" + json.dumps(DOCUMENT).replace("'", "''") + "'"
    table = session.plan(f"SELECT {expression.format(literal)} AS v", []).execute().read_all()
    assert table["v"].to_pylist() == [expected]


def test_paths_may_differ_by_row(session: Session) -> None:
    text = """SELECT json_get_int('{"a": 1, "b": [2, 3]}', make_array(k)) AS v
        FROM (VALUES ('a'), ('b'), ('c'), ('a')) AS t(k)"""
    assert sorted(session.plan(text, []).execute().read_all()["v"].to_pylist(), key=str) == [
        *(1, 1, None, None)
    ]
