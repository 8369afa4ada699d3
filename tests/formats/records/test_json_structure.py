"""JSON of any layout comes out as one record per line, wherever it is cut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from lakerunner.formats.records.json_lines import read_json_lines
from lakerunner.formats.records.json_structure import split_json

if TYPE_CHECKING:
    from lakerunner.formats.base import Part

TEXTS = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(
    ['"', "\\", '\\"', "},{", "[", "\n", "\\\\"]
)
VALUES = st.recursive(
    st.none() | st.integers(0, 99) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=6)
LAYOUTS = ["array", "pretty array", "array of lines", "glued", "spaced", "pretty", "commas",
           "arrays", "lines", "crlf"]  # fmt: skip


def written(objects: list[dict[str, Any]], layout: str) -> bytes:
    compact = [json.dumps(each, ensure_ascii=False) for each in objects]
    pretty = [json.dumps(each, indent=2) for each in objects]
    halves = json.dumps(objects[:2]), json.dumps(objects[2:])
    text = {
        "array": json.dumps(objects),
        "pretty array": json.dumps(objects, indent=2),
        "array of lines": "[\n" + ",\n".join(compact) + "\n]\n",
        "glued": "".join(compact),
        "spaced": " ".join(compact),
        "pretty": "\n".join(pretty),
        "commas": ",\n".join(pretty) + "," * bool(pretty),
        "arrays": "".join(halves),
        "lines": "\n".join(compact),
        "crlf": "\r\n".join(json.dumps(objects, indent=1).split("\n")),
    }[layout]
    return text.encode()


def parts_of(data: bytes, limit: int, size: int) -> list[Part]:
    return list(split_json((data[at : at + size] for at in range(0, len(data), size)), limit))


def objects_in(parts: list[Part]) -> list[Any]:
    lines = (line for part in parts for line in part.data.split(b"\n"))
    return [json.loads(line) for line in lines if line.strip()]


@given(OBJECTS, st.sampled_from(LAYOUTS), st.integers(1, 80), st.integers(1, 40))
@example([{"a": "\\"}, {"a": '"'}], "pretty", 5, 1)
def test_any_layout_at_any_cut(
    objects: list[dict[str, Any]], layout: str, limit: int, size: int
) -> None:
    assert objects_in(parts_of(written(objects, layout), limit, size)) == objects


@given(OBJECTS, st.sampled_from(["pretty array", "pretty", "array of lines", "lines"]))
def test_parts_know_where_they_began(objects: list[dict[str, Any]], layout: str) -> None:
    data = written(objects, layout)
    lines = data.split(b"\n")
    for part in parts_of(data, 1, 7):
        first = part.data.strip()[:1]
        assert not first or first in lines[part.line - 1]


def test_lines_of_an_array_of_lines_keep_their_numbers() -> None:
    lines = [b"[", *(b'{"a": %d},' % number for number in range(50)), b'{"a": x}', b"]"]
    (part,) = split_json([b"\n".join(lines)], 10_000)
    (aside,) = read_json_lines([part.data]).set_aside
    assert part.line + aside.lines[0] - 1 - (part.data[:1] in b" \n") in (51, 52)


def test_a_large_array_streams() -> None:
    block = b'{"a": "text", "b": [1, 2, {"c": "],["}]},\n' * 20_000
    parts = split_json(iter([b"[\n", *[block] * 10, b'{"a": 1}]']), 100_000)
    sizes, rows = [], 0
    for part in parts:
        sizes.append(len(part.data))
        records = read_json_lines([part.data])
        assert not records.set_aside
        rows += len(records.payload)
    assert max(sizes) <= 100_000
    assert rows == 200_001


@pytest.mark.parametrize(
    ("data", "rows", "aside"),
    [
        (b'[{"a": 1}, {"a": 2}, {"a": ', 2, 1),
        (b'[{"a": 1}, 5, "x", {"a": 2}]', 2, 2),
        (b'{"a": 1}] {"a": 2}', 0, 1),
        (b'{\n"a": 1\n}\n]\n{"a":\n2}', 2, 1),
        (b"[]", 0, 0),
        (b"", 0, 0),
        (b"\xef\xbb\xbf[\n]", 0, 0),
        (b"no json\nat all", 0, 2),
        (b'{"a": "cut off\n{"a": 2}\n{"a": 3}\n', 2, 1),
        (b'\xef\xbb\xbf{"a": 1}\n', 1, 0),
        (b'{"a": 1}\n[1]\n', 1, 1),
        (b"[" * 100_000, 0, 1),
    ],
)
def test_what_is_broken_is_set_aside(data: bytes, rows: int, aside: int) -> None:
    parts = list(split_json([data], 1000))
    assert parts
    records = read_json_lines([part.data for part in parts])
    assert len(records.payload) == rows
    assert sum(lines.rows for lines in records.set_aside) == aside
