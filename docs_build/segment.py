"""Draws what lies where in a segment, from a real one: `python docs_build/segment.py`.

The segment is one of logs of the synthetic shop. Its parts are as wide as they have bytes.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

import lakerunner
from lakerunner.generate import TelemetryConfig, generate_objects

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "segment.svg"
WIDTH, LEFT, STRIP, ROW = 860, 20, 44, 19
LARGEST = 12
COLOURS = {
    "columns that every table has": "#5b7db1",
    "attributes": "#5f9a66",
    "token filter and page index": "#b8914a",
    "footer": "#a35d5d",
}
COLUMNS, ATTRIBUTES, FILTER, FOOTER = COLOURS
OF_ATTRIBUTES = ("attr_", "resource_", "scope_")


class Part(NamedTuple):
    """Some bytes of the file.

    Attributes:
        begin: Where they begin.
        size: How many.
        kind: What they are, a key of `COLOURS`.
        name: Of the column, if they are one.
    """

    begin: int
    size: int
    kind: str
    name: str = ""


def parts_of(data: bytes) -> list[Part]:
    """The parts of a segment's bytes, in their order; what lies between columns is the filter."""
    metadata = pq.read_metadata(pa.BufferReader(data))
    footer = len(data) - metadata.serialized_size - 8
    columns = []
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            begins = (column.dictionary_page_offset, column.data_page_offset)
            name = column.path_in_schema.partition(".")[0]
            kind = ATTRIBUTES if name.startswith(OF_ATTRIBUTES) else COLUMNS
            begin = min(one for one in begins if one)
            columns.append(Part(begin, column.total_compressed_size, kind, name))
    parts, at = list[Part](), 4
    for column in sorted(columns):
        if column.begin > at:
            parts.append(Part(at, column.begin - at, FILTER))
        parts.append(column)
        at = column.begin + column.size
    return [*parts, Part(at, footer - at, FILTER), Part(footer, len(data) - footer, FOOTER)]


def drawn(parts: list[Part], rows: int) -> str:
    """The picture of them."""
    total = sum(part.size for part in parts)
    scale = (WIDTH - 2 * LEFT) / total
    shapes = [
        text(LEFT, 24, f"A segment: {rows:,} logs in {total / 1e6:.2f} MB, byte after byte", 15)
    ]
    shapes += [box(LEFT + p.begin * scale, 40, p.size * scale, STRIP, p.kind) for p in parts]
    at = float(LEFT)
    for kind in COLOURS:
        size = sum(part.size for part in parts if part.kind == kind)
        said = f"{kind}, {size / total:.0%}"
        shapes += [box(at, 100, 12, 12, kind), text(at + 18, 111, said, 13)]
        at += 34 + 7.2 * len(said)
    largest = sorted((p for p in parts if p.name), key=lambda part: -part.size)[:LARGEST]
    shapes.append(text(LEFT, 146, "The largest columns", 13))
    for number, part in enumerate(largest):
        y = 156 + number * ROW
        wide = part.size / largest[0].size * 440
        shapes += [
            text(LEFT + 160, y + 12, part.name, 12, end=True),
            box(LEFT + 170, y, wide, ROW - 4, part.kind),
            text(LEFT + 178 + wide, y + 12, f"{part.size / 1000:,.0f} kB", 12),
        ]
    height = 170 + len(largest) * ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" aria-label="What lies where in a segment">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def text(x: float, y: float, said: str, size: int, *, end: bool = False) -> str:
    """A line of text that begins, or ends, at a place."""
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="#222"{anchor}>{escape(said)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A part; those next to each other can be told apart."""
    return (
        f'<rect x="{x:.2f}" y="{y}" width="{max(width, 0.4):.2f}" height="{height}" '
        f'fill="{COLOURS[kind]}" stroke="#fff" stroke-width="0.3"/>'
    )


def main() -> None:
    """Make a segment, and draw it."""
    with lakerunner.open("memory://segment") as lake:
        for _, data in generate_objects(TelemetryConfig(rate=50, duration_s=600)):
            lake.ingest(data)
        lake.compact()
        (segment,) = lake.segments()
        data = lake.store.get(segment.key).data
    PICTURE.write_text(drawn(parts_of(data), segment.rows))


if __name__ == "__main__":
    main()
