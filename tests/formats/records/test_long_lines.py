"""Records that are too long are left out of a stream, and their neighbours keep their numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from lakerunner.formats.records.delimited_split import split_delimited
from lakerunner.formats.records.json_structure import split_json
from lakerunner.formats.records.lines import split_lines

if TYPE_CHECKING:
    from lakerunner.formats.base import Part


def blocks_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)] or [b""]


def numbered(parts: list[Part]) -> dict[int, bytes]:
    """The lines of parts by their numbers, without the blank ones."""
    return {
        part.line + place: line
        for part in parts
        for place, line in enumerate(part.data.split(b"\n"))
        if line
    }


@given(
    st.lists(st.integers(0, 30), max_size=12),
    st.lists(st.integers(0, 400), max_size=6),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_lines(lengths: list[int], cuts: list[int], limit: int, longest: int) -> None:
    lines = [b"x" * length for length in lengths]
    parts = list(split_lines(blocks_of(b"\n".join(lines), cuts), limit, longest))
    kept = {n: line for n, line in enumerate(lines, 1) if line and len(line) <= longest}
    assert numbered(parts) == kept
    dropped = [n for part in parts for aside in part.set_aside for n in aside.lines]
    assert dropped == [n for n, line in enumerate(lines, 1) if len(line) > longest]


# The bracket and the comma beside an element become spaces, which count with it.
@given(
    st.lists(st.integers(1, 25) | st.integers(40, 60), min_size=1, max_size=8),
    st.lists(st.integers(0, 600)),
)
def test_elements_of_an_array(lengths: list[int], cuts: list[int]) -> None:
    elements = [b'{"a":"%b"}' % (b"x" * length) for length in lengths]
    parts = list(split_json(blocks_of(b"[" + b",\n".join(elements) + b"]", cuts), 20, 40))
    kept = [line.strip() for part in parts for line in part.data.split(b"\n") if line.strip()]
    dropped = [n for part in parts for aside in part.set_aside for n in aside.lines]
    assert kept == [element for element in elements if len(element) < 40]
    assert dropped == [n for n, element in enumerate(elements, 1) if len(element) > 40]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.lists(st.integers(0, 600)))
def test_rows(lengths: list[int], cuts: list[int]) -> None:
    rows = [b"x" * length for length in lengths]
    data = b"a\n" + b"".join(row + b"\n" for row in rows)
    parts = list(split_delimited(blocks_of(data, cuts), 20, ",", 40))
    kept = [line for part in parts for line in part.data.split(b"\n")[1:] if line]
    dropped = [n for part in parts for aside in part.set_aside for n in aside.lines]
    assert kept == [row for row in rows if len(row) < 40]
    assert dropped == [n for n, row in enumerate(rows, 2) if len(row) >= 40]
