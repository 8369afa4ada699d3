"""Logfmt against pairs written by hand."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from lakerunner.formats.records.logfmt import looks_like_logfmt, read_logfmt

KEYS = st.sampled_from(["a", "b", "c.d", "level", "é", "k-1"])
VALUES = st.text(max_size=6) | st.sampled_from(
    ['say "hi"', "a=b", "\\", '\\"', "C:\\new", "\n\t", "1.5", "007", "", "[x", "{}"]
)
LINES = st.lists(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), max_size=6)


def quoted(value: str) -> str:
    plain = value and not any(c in ' "=\\' or c < " " for c in value)
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        value = value.replace(character, escape)
    value = value.replace("\r", "\\r")
    return value if plain else f'"{value}"'


def written(lines: list[dict[str, str]]) -> bytes:
    text = (" ".join(f"{key}={quoted(value)}" for key, value in line.items()) for line in lines)
    return "\n".join(text).encode()


def rows_of(*payloads: bytes) -> list[dict[str, Any]]:
    records = read_logfmt(payloads)
    records.table.validate(full=True)
    assert not records.set_aside
    assert len(records.payload) == records.table.num_rows
    rows: list[dict[str, Any]] = records.table.to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def same_value(found: object, sent: str) -> bool:
    if isinstance(found, bool):
        return sent == str(found).lower()
    if not isinstance(found, (int, float)):
        return False
    return float(sent) == found or (sent == "NaN" and math.isnan(found))


@given(LINES)
@example([{"n": "NaN"}])
def test_any_pairs_come_through(lines: list[dict[str, str]]) -> None:
    text = [{"text": "x", **line} for line in lines]
    for read, sent in zip(rows_of(written(text)), text, strict=True):
        for key, value in sent.items():
            found = read.get(key, "")
            assert found == value or same_value(found, value)
        assert read.keys() <= sent.keys()


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("n=1 x=2.5 t=true z=007", {"n": 1, "x": 2.5, "t": True, "z": "007"}),
        ("a=1 flag b=2", {"a": 1, "flag": True, "b": 2}),
        ("no pairs here", {"message": "no pairs here"}),
        (
            "2024-01-01 INFO listening on port=80",
            {"port": 80, "message": "2024-01-01 INFO listening on port=80"},
        ),
        ('size=5" msg="a b"', {"size": '5"', "msg": '"a', "message": 'size=5" msg="a b"'}),
        ('a="open b=c d', {"a": '"open', "b": "c", "d": True}),
        ("a=b=c url=http://x/?q=1", {"a": "b=c", "url": "http://x/?q=1"}),
        ("a=1 a=2 a=x", {"a": 1, "a#2": 2, "a#3": "x"}),
        ("=x a=1 b=2", {"a": 1, "b": 2, "message": "=x a=1 b=2"}),
        ('a="" b= c="\\\\"', {"a": "", "b": "", "c": "\\"}),
        ('message="said" and more words follow', {"message": "said"}),
        ("\ta=1\r", {"a": 1}),
    ],
)
def test_lines(line: str, row: dict[str, Any]) -> None:
    assert rows_of(line.encode()) == [row]


def test_a_line_does_not_change_its_neighbours() -> None:
    rows = rows_of(b'a="x y" b=1\na="open b=2\n\na="z z" b=3\n', b"", b"b=4")
    assert [row["b"] for row in rows] == [1, 2, 3, 4]
    assert [row.get("a") for row in rows] == ["x y", '"open', "z z", None]
    assert read_logfmt([b"a=1\n", b"", b"a=2\na=3"]).payload.tolist() == [0, 2, 2]


def test_types_are_those_of_all_values() -> None:
    rows = rows_of(b"a=1 b=1 c=true d=\na=x b=0.5 c= d=5\n")
    assert rows == [{"a": "1", "b": 1.0, "c": True}, {"a": "x", "b": 0.5, "d": 5}]


@pytest.mark.parametrize("payloads", [[], [b""], [b"\n \n"]])
def test_no_lines(payloads: list[bytes]) -> None:
    assert rows_of(*payloads) == []


@pytest.mark.parametrize(
    ("head", "is_logfmt"),
    [
        (
            b'ts=2024-01-01T00:00:00Z level=info msg="it is \\"up\\""\nlevel=warn n=1 x=2 cut=of',
            True,
        ),
        (b"at=info method=GET path=/ host=x fwd=1.2.3.4", True),
        (b"[2024-01-01] started a=b on host", False),
        (b'{"a": "b=c d=e f=g"}\n', False),
        (b"a,b,c\n1,2,3\n", False),
        (b"", False),
        (b"plain text\n", False),
    ],
)
def test_recognition(head: bytes, is_logfmt: bool) -> None:
    assert looks_like_logfmt(head) is is_logfmt


def test_many_keys_that_stand_once_take_no_column() -> None:
    table = read_logfmt(["\n".join(f"key{n}={n} all=x" for n in range(40_000)).encode()]).table
    assert table.num_columns < 2000
    assert table["all"].to_pylist() == ["x"] * 40_000
    assert table["message"][39_999].as_py() == "key39999=39999 all=x"
    assert "key0" not in table.column_names
