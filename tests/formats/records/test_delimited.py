"""Delimited text against the standard library's reader."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from lakerunner.formats.records.delimited import (
    read_delimited,
    sniff_delimiter,
)
from lakerunner.formats.records.delimited_split import split_delimited

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS = (
    st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=6)
    | st.integers(-(10**20), 10**20).map(str)
    | st.floats(allow_nan=False).map(repr)
    | st.sampled_from(
        ["", "007", "+1", "-0", "true", "false", "True", "2024-01-01", "NaN", "1.5", "0.5",
         'say "hi"', '5" disk', '"', "a\nb", "a,b", " x ", "1e5", "0x1F", "1_000", "-", ".", "e"]
    )
)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """Rows of one width, without rows that would be blank."""
    width = draw(st.integers(1, 4))
    fields = draw(st.sampled_from([FIELDS, st.integers(-99, 10**18).map(str), st.just("true")]))
    return draw(st.lists(st.lists(fields, min_size=width, max_size=width), min_size=1, max_size=8))


def written(rows: list[list[str]], width: int, delimiter: str = ",") -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator="\n")
    writer.writerow([f"c{place}" for place in range(width)])
    writer.writerows(rows)
    return sink.getvalue().encode()


def assert_same(read: Any, sent: str) -> None:
    """A value is what was sent: as text, or as the number or boolean that the text is."""
    if sent == "":
        assert read is None
    elif isinstance(read, bool):
        assert sent == str(read).lower()
    elif isinstance(read, int):
        assert sent == str(read)
    elif isinstance(read, float):
        assert repr(read) == repr(float(sent))
        assert re.fullmatch(r"-?(?!0\d).*|NaN", sent)
    else:
        assert read == sent


def assert_rows(table: pa.Table, rows: list[list[str]]) -> None:
    table.validate(full=True)
    assert table.num_rows == len(rows)
    for place, column in enumerate(table.columns):
        for read, row in zip(column.to_pylist(), rows, strict=True):
            assert_same(read, row[place])


@given(tables(), st.sampled_from(",\t;|"))
@example([["9007199254740993"], ["0.5"]], ",")
@example([["1"], ["1e400"]], ",")
def test_any_fields_come_through(rows: list[list[str]], delimiter: str) -> None:
    records = read_delimited([written(rows, len(rows[0]), delimiter)], delimiter)
    assert not records.set_aside
    assert_rows(records.table, rows)


@given(tables(), st.integers(1, 60), st.integers(1, 30))
def test_parts_hold_the_same_rows(rows: list[list[str]], limit: int, size: int) -> None:
    data = written(rows, len(rows[0]))
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    parts = list(split_delimited(iter(blocks), limit))
    records = read_delimited([part.data for part in parts])
    assert not records.set_aside
    assert_rows(records.table, rows)
    header = data[: data.index(b"\n") + 1]
    bodies = [part.data.removeprefix(header) for part in parts]
    assert header + b"".join(bodies) == data
    before = 1
    for part, body in zip(parts, bodies, strict=True):
        assert part.line == before
        before += body.count(b"\n")


@given(tables(), st.lists(st.integers(0, 8), max_size=4))
def test_ragged_rows_are_set_aside_with_their_lines(
    rows: list[list[str]], places: list[int]
) -> None:
    width = len(rows[0])
    marked = [(row, True) for row in rows]
    for place in places:
        marked.insert(place, (["x"] * (width + 1), False))
    data = written([row for row, _ in marked], width)
    reader = csv.reader(io.StringIO(data.decode(), newline=""))
    begins, line = [], 0
    for row in reader:
        begins.append((line + 1, len(row)))
        line = reader.line_num
    records = read_delimited([b"h\nv\n", data])
    assert_rows(records.table.slice(1).drop_columns("h"), [row for row, good in marked if good])
    wrong = [begin for begin, size in begins if size not in (0, width)]
    assert [aside.lines for aside in records.set_aside] == ([tuple(wrong)] if wrong else [])
    assert all(aside.payload == 1 and aside.rows == len(wrong) for aside in records.set_aside)


def test_types() -> None:
    data = (
        b"a,b,c,d,e,f,g,h\n1,1.5,true,007,9223372036854775808,2024-01-01,,+1\n2,2,false,1,1,,,1\n"
    )
    table = read_delimited([data]).table
    kinds = dict(zip(table.column_names, map(str, table.schema.types), strict=True))
    assert kinds == {
        "a": "int64", "b": "double", "c": "bool", "d": "string",
        "e": "string", "f": "string", "g": "null", "h": "string",
    }  # fmt: skip
    assert table["e"].to_pylist() == ["9223372036854775808", "1"]


@pytest.mark.parametrize(
    ("payloads", "names", "rows"),
    [
        ([b"a,a,,a\n1,2,3,4\n"], ["a", "a#2", "column_3", "a#3"], 1),
        ([b'"a","b"\r\n1,"x\r\ny"\r\n'], ["a", "b"], 1),
        ([b"\xef\xbb\xbfa,b\n1,2"], ["a", "b"], 1),
        ([b"\n\r\na,b\n\n1,2\n\r\n3,4\n\n"], ["a", "b"], 2),
        ([b"a,b\n"], ["a", "b"], 0),
        ([b"a,b"], ["a", "b"], 0),
        ([b'"a\nb",c\n1,2\n'], ["a\nb", "c"], 1),
        ([b""], [], 0),
        ([], [], 0),
        ([b"a,b\n1,2\n", b"b,c\n3,4\n5,6\n", b"a,b\n"], ["a", "b", "c"], 3),
        ([b"caf\xe9\n\xe9\n"], ["caf\ufffd"], 1),
    ],
)
def test_headers(payloads: list[bytes], names: list[str], rows: int) -> None:
    records = read_delimited(payloads)
    assert records.table.column_names == names
    assert len(records.payload) == records.table.num_rows == rows
    assert not records.set_aside


def test_columns_of_several_payloads_have_one_type() -> None:
    records = read_delimited([b"a,b\n1,1\n", b"b,a\n2,x\n", b"b\n0.5\n"])
    assert records.table.to_pydict() == {"a": ["1", "x", None], "b": [1.0, 2.0, 0.5]}
    assert records.payload.tolist() == [0, 1, 2]


@pytest.mark.parametrize("bad", ['9,"open', '5" disk,"open', 'x"y"z,"', '"open'])
def test_a_quote_that_nothing_closes_takes_its_own_line_only(bad: str) -> None:
    rows = [f'{n},"text {n}"' for n in range(100)]
    rows.insert(40, bad)
    records = read_delimited(["\n".join(["a,b", *rows]).encode()])
    assert [n for n in records.table["a"].to_pylist() if n != "9"] == list(range(100))
    assert [aside.lines for aside in records.set_aside] == [(42,)]


def test_an_open_quote_does_not_gather_the_whole_object() -> None:
    row = b"1,some text\n"
    blocks = [b'a,b\n1,"open\n'] + [row * 1000] * 200
    parts = list(split_delimited(blocks, 10_000))
    assert max(len(part.data) for part in parts) < 200_000
    rows = sum(len(read_delimited([part.data]).payload) for part in parts)
    assert rows == 200_000


@pytest.mark.parametrize(
    ("head", "delimiter"),
    [
        (b"a,b,c\n1,2,3\n", ","),
        (b"a\tb\n1,5\t2\n", "\t"),
        (b"a;b;c\n1,5;2,5;3\n", ";"),
        (b"a|b\n1|2\n", "|"),
        (b'a;b\n"x;y";1\n', ";"),
        (b'"a, b, c";d\n"1, 2, 3";4\n', ";"),
        (b"message\nhello\n", ","),
        (b"", ","),
        (b"a,b\n1,2\n3,\xff", ","),
    ],
)
def test_delimiters(head: bytes, delimiter: str) -> None:
    assert sniff_delimiter(head) == delimiter


def test_carriage_returns_end_rows_too() -> None:
    records = read_delimited([b'a,b\n1,2\r3,4\r5\n6,"x\ry"\n8\n'])
    rows = records.table.to_pylist()
    assert [row["a"] for row in rows] == [1, 3, 6]
    assert rows[2]["b"] == "x\ry"
    assert [(aside.lines, aside.rows) for aside in records.set_aside] == [((2, 4), 2)]


@pytest.mark.parametrize("closing", [b"", b'"'])
def test_a_name_may_be_very_long(closing: bytes) -> None:
    data = b'a,"' + b"x" * 200_000 + closing + b"\n1,2\n"
    assert sniff_delimiter(data) == ","
    assert read_delimited([data]).table.num_rows == 1


def test_a_header_with_an_open_quote_ends_with_its_line() -> None:
    data = b'a,"b\n' + b"1,2\n" * 100
    assert read_delimited([data]).table.num_rows == 100
    parts = [part.data for part in split_delimited([data], 10)]
    assert read_delimited(parts).table.num_rows == 100


def test_two_bad_rows_on_one_line_are_two() -> None:
    records = read_delimited([b'a,b\n1\r"u,2\n3,4\n'])
    assert sum(aside.rows for aside in records.set_aside) == 2
    assert {aside.lines for aside in records.set_aside} == {(2,)}


def test_very_many_columns_of_one_name() -> None:
    """Telling names apart takes one step for each: with a step for each pair this takes minutes."""
    header = b",".join([b"a"] * 20_000)
    names = read_delimited([header + b"\n" + header + b"\n"]).table.column_names
    assert (names[0], names[-1], len(set(names))) == ("a", "a#20000", 20_000)
