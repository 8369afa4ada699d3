"""JSON lines against the standard library's reader: nothing is lost, rounded or moved."""

from __future__ import annotations

import json
import math
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import example, given

from lakerunner.formats.records.json_lines import read_json_lines
from lakerunner.limits import NESTING_DEPTH

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["2024-01-01", "2024-01-01T00:00:00Z", "NaN", "}{", 'a"b', "\\", "\\\\", "[1,2]", "null", ""]
)
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**63, 2**63 - 1, -(2**63), 2**64 - 1, 2**53 + 1, 0.5, 1e300])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
KEYS = st.sampled_from(["a", "b", "c", "time", 'q"', "\\", "é"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
COMPACT: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}
STYLES = st.sampled_from([COMPACT, {"ensure_ascii": True}])
UNIFORM = st.lists(st.fixed_dictionaries({}, optional={"a": st.integers(0, 9), "b": TEXTS}))


def same(read: Any, sent: Any) -> bool:
    """Whether a value came through: as it was, or as JSON text."""
    if sent is None or read is None:
        return read is sent or (read is None and sent is None)
    if isinstance(sent, str):
        return bool(read == sent)
    if isinstance(read, str):
        return same_json(json.loads(read), sent)
    if isinstance(sent, dict):
        absent = (value for key, value in read.items() if key not in sent)
        return all(same(read[key], value) for key, value in sent.items()) and not any(
            value is not None for value in absent
        )
    if isinstance(sent, list):
        return len(read) == len(sent) and all(map(same, read, sent))
    return isinstance(read, bool) is isinstance(sent, bool) and bool(read == sent)


def same_json(read: Any, sent: Any) -> bool:
    return json.dumps(read, sort_keys=True) == json.dumps(sent, sort_keys=True)


def rows_of(records: Any) -> list[dict[str, Any]]:
    records.table.validate(full=True)
    assert all(column.num_chunks <= 1 for column in records.table.columns)
    if not records.table.num_columns:
        return [{}] * len(records.payload)
    rows: list[dict[str, Any]] = records.table.to_pylist()
    assert len(rows) == len(records.payload)
    return rows


def lines_of(objects: list[dict[str, Any]], **options: Any) -> bytes:
    return "\n".join(json.dumps(each, **options) for each in objects).encode()


def one(line: bytes | str) -> Any:
    """The one row of one line."""
    records = read_json_lines([line if isinstance(line, bytes) else line.encode()])
    assert not records.set_aside
    (row,) = rows_of(records)
    return row


def assert_same(read: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
    assert len(read) == len(sent)
    for ours, theirs in zip(read, sent, strict=True):
        assert same(ours, theirs), (ours, theirs)


@given(st.lists(OBJECTS, max_size=8), STYLES)
@example([{"a": [None, 1]}], COMPACT)
@example([{"a": {"b": [None, {"c": 1}]}}, {"a": {"b": [None]}}], COMPACT)
@example([{"a": 2**53 + 1}, {"a": 0.5}], COMPACT)
@example([{"a": []}, {"a": {}}, {}], COMPACT)
def test_any_objects_come_through(objects: list[dict[str, Any]], style: dict[str, Any]) -> None:
    data = lines_of(objects, **style)
    records = read_json_lines([data])
    assert not records.set_aside
    assert_same(rows_of(records), objects)


@given(st.lists(st.lists(OBJECTS, max_size=3), max_size=4))
def test_rows_know_their_payload(batches: list[list[dict[str, Any]]]) -> None:
    records = read_json_lines([lines_of(batch) for batch in batches])
    assert_same(rows_of(records), [each for batch in batches for each in batch])
    assert records.payload.tolist() == [place for place, batch in enumerate(batches) for _ in batch]


BROKEN = ["5", "[1]", '"x"', "null", "true", "{", '{"a": 1', '{"a" 1}', "{'a': 1}", '{"a": 1},',
          '{"a": 01}', '{"a": tru}', '{"a": 1}{"a": 2}', '{"a": 1} null', '{"a": "x', "x}", "{]}",
          '{"a": "\\x"}', '{"a": [1,]}', '{"a": 1}}', '{"a": NaN1}', '{"a": "\t"}']  # fmt: skip


@given(UNIFORM | st.lists(OBJECTS, max_size=6), st.sampled_from(BROKEN), st.data())
def test_a_bad_line_removes_only_itself(
    objects: list[dict[str, Any]], bad: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(objects)))
    lines = [json.dumps(each) for each in objects]
    lines.insert(place, bad)
    records = read_json_lines([b"", "\n".join(lines).encode()])
    assert_same(rows_of(records), objects)
    (aside,) = records.set_aside
    assert (aside.payload, aside.lines, aside.rows) == (1, (place + 1,), 1)
    assert aside.reason


def test_one_bad_line_among_many() -> None:
    lines = [b'{"n": %d, "t": "2024-01-01T00:00:00Z"}' % number for number in range(50_000)]
    lines[41_234] = b'{"n": 1, "t": "2024-01-01'
    records = read_json_lines([b"\n".join(lines)])
    assert records.table["t"].type == pa.string()
    assert records.table["n"].to_pylist() == [n for n in range(50_000) if n != 41_234]
    assert [(aside.lines, aside.rows) for aside in records.set_aside] == [((41_235,), 1)]


def test_lines_that_are_whole_only_together() -> None:
    lines = [
        '{"a": [{"b": 1}',
        '{"b": 2}]}',
        '{"a": 1}, {"a": 2}',
        '{"a": [[{"b": 1}',
        '{"b": 2}]]}',
    ]
    records = read_json_lines(["\n".join(['{"a": "x"}', *lines] * 1500).encode()])
    assert sum(aside.rows for aside in records.set_aside) == 1500 * len(lines)
    assert rows_of(records) == [{"a": "x"}] * 1500


def test_many_bad_lines_are_all_listed() -> None:
    records = read_json_lines([b'{"a": 1}\n' + b"{nonsense\n" * 5000])
    (aside,) = records.set_aside
    assert aside.rows == 5000
    assert aside.lines == tuple(range(2, 5002))
    assert rows_of(records) == [{"a": 1}]


@pytest.mark.parametrize("count", [0, 70_000])
def test_text_like_times_stays_text(count: int) -> None:
    """Also where times appear only behind the sample that is looked at first."""
    head = b'{"x": "one"}\n' * count
    tail = b'{"t": "2024-01-01", "o": {"t": "2024-01-01 10:00:00", "n": 1}, "l": ["2024-01-01"]}'
    records = read_json_lines([head + tail])
    assert records.table.slice(count).drop_columns(["x"] if count else []).to_pylist() == [
        {"t": "2024-01-01", "o": {"t": "2024-01-01 10:00:00", "n": 1}, "l": ["2024-01-01"]}
    ]


def test_columns_stand_in_order_of_appearance() -> None:
    data = b'{"b": "2024-01-01", "a": 1}\n{"c": "2024-01-01", "a": 2}\n'
    assert read_json_lines([data]).table.column_names == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ('{"a": 1, "a": "x", "b": 2, "a": null}', {"a": 1, "a#2": "x", "a#3": None, "b": 2}),
        ('{"a": 1, "a": 2, "a#2": 3}', {"a": 1, "a#3": 2, "a#2": 3}),
        ('{"a": 1, "\\u0061": 2}', {"a": 1, "a#2": 2}),
        ('{"o": {"a": 1, "a": 2}}', {"o": {"a": 1, "a#2": 2}}),
        ('{"a": 18446744073709551615}', {"a": 18446744073709551615}),
        ('{"a": 18446744073709551616}', {"a": "18446744073709551616"}),
        ('{"a": [9223372036854775808]}', {"a": "[9223372036854775808]"}),
        ('{"a": 1e400}', {"a": "1e400"}),
        ('{"a": "\\ud800x\\ud83d\\ude00\\\\ud800"}', {"a": "\ufffdx😀\\ud800"}),
        ('{"a": "\\udc00\\udc00"}', {"a": "\ufffd\ufffd"}),
        ('{"": {"": []}}', {"": {"": []}}),
        (b'{"a": "x\xff", "b\xff": 1}', {"a": "x\ufffd", "b\ufffd": 1}),
        (b'\xef\xbb\xbf  {"a": 1}\r', {"a": 1}),
        ('{"a": "x\\u0000y"}', {"a": "x\x00y"}),
    ],
)
def test_what_others_stumble_over(line: bytes | str, row: dict[str, Any]) -> None:
    assert one(line) == row


def test_not_numbers_are_doubles() -> None:
    row = one('{"a": NaN, "b": -Infinity, "c": Infinity, "d": [NaN]}')
    assert math.isnan(row["a"])
    assert math.isnan(row["d"][0])
    assert (row["b"], row["c"]) == (-math.inf, math.inf)
    table = read_json_lines([b'{"a": NaN}\n{"a": "x"}\n{"b": [}\n{"a": 1}\n{"b": NaN}']).table
    assert table["a"].to_pylist() == ["NaN", "x", "1", None]


def nested(depth: int, opening: str, closing: str) -> str:
    return '{"a": ' + opening * depth + "1" + closing * depth + "}"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"k":', "}")])
def test_nesting(opening: str, closing: str) -> None:
    levels = NESTING_DEPTH - 1  # the object itself is the first
    deep = nested(levels, opening, closing)
    assert one(deep) == json.loads(deep)
    for depth in (levels + 1, 900, 5000, 100_000):
        lines = ['{"a": [2]}', nested(depth, opening, closing), nested(20, opening, closing)]
        records = read_json_lines(["\n".join(lines).encode()])
        (aside,) = records.set_aside
        assert aside.lines == (2,)
        assert "deep" in aside.reason
        assert_same(rows_of(records), [json.loads(lines[0]), json.loads(lines[2])])
    brackets_in_text = '{"a": "' + "[" * 20_000 + '"}'
    assert one(brackets_in_text) == json.loads(brackets_in_text)


def test_unclosed_brackets_do_not_end_the_process() -> None:
    for opening in ("[", '{"k":'):
        records = read_json_lines([('{"a":' + opening * 100_000).encode() + b"}"])
        assert [aside.lines for aside in records.set_aside] == [(1,)]


def test_many_keys_that_stand_once_share_a_column() -> None:
    """Columns for all of them would take 20,000 times 20,000 cells."""
    rows = [{f"key{number}": number, "all": "x"} for number in range(20_000)]
    table = read_json_lines([lines_of(rows)]).table
    assert table.num_columns < 2000
    assert table["all"].to_pylist() == ["x"] * 20_000
    assert table.column_names == ["all", "other_keys"]
    rest = table["other_keys"].to_pylist()
    assert [json.loads(row) for row in rest] == [{f"key{n}": n} for n in range(20_000)]
    nested = read_json_lines([lines_of([{"o": row} for row in rows])]).table["o"]
    assert nested.type.num_fields < 2000
    assert json.loads(nested[19_999]["other_keys"].as_py()) == {"key19999": 19_999}


def test_of_many_keys_those_that_are_common_have_columns() -> None:
    rows = [{f"rare{number}": number, f"common{number % 100}": number} for number in range(10_000)]
    table = read_json_lines([lines_of(rows)]).table
    assert sorted(table.column_names) == sorted([*(f"common{n}" for n in range(100)), "other_keys"])
    assert table["common7"].drop_null().to_pylist() == list(range(7, 10_000, 100))


def test_one_object_of_very_many_keys() -> None:
    row = {f"key{number}": number for number in range(20_000)}
    table = read_json_lines([b'{"a": 1}\n' + lines_of([row])]).table
    assert table.num_columns <= 513
    (_, found) = table.to_pylist()
    rest = json.loads(found.pop("other_keys"))
    assert {**{key: value for key, value in found.items() if value is not None}, **rest} == row


@pytest.mark.parametrize("payloads", [[], [b""], [b"", b"\n \r\n"], [b"5"]])
def test_no_objects(payloads: list[bytes]) -> None:
    records = read_json_lines(payloads)
    assert records.table.num_rows == len(records.payload) == 0
