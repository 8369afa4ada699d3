"""Every byte of a segment is covered by a checksum, and each column can be looked at alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import lakerunner
from lakerunner.errors import ErrorCode, SegmentDamagedError
from lakerunner.model.segment import Segment, decode_segment, encode_segment
from lakerunner.segments.checksums import FOOTER, checksums_of, damaged_parts
from lakerunner.segments.codec import encode
from lakerunner.testing.values import make_segment

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 5000


def written() -> tuple[bytes, Segment]:
    rows = pa.table(
        {
            "timestamp": pa.array(range(ROWS), pa.int64()).cast(pa.timestamp("ns", "UTC")),
            "body": [f"message {row}" for row in range(ROWS)],
            "attr_n": [float(row) for row in range(ROWS)],
        }
    )
    segment = replace(make_segment("s"), sort=("timestamp",))
    file = encode(rows, segment)
    described = replace(segment, checksums=checksums_of(file), bytes=file.size)
    return file.to_pybytes(), described


FILE, SEGMENT = written()


def damaged(data: bytes, segment: Segment = SEGMENT, columns: Any = None) -> list[str]:
    return damaged_parts(pa.BufferReader(data), segment, columns)


def flipped(position: int, bit: int = 4) -> bytes:
    data = bytearray(FILE)
    data[position] ^= 1 << bit
    return bytes(data)


def test_a_sound_file_is_sound() -> None:
    assert damaged(FILE) == []
    assert damaged(FILE, decode_segment(encode_segment(SEGMENT))) == []
    assert len(SEGMENT.checksums) < 50


# The first four bytes say that it is Parquet, and no reader that has come so far looks at them.
@given(st.integers(4, len(FILE) - 1), st.integers(0, 7))
def test_any_flipped_bit_is_found(position: int, bit: int) -> None:
    assert damaged(flipped(position, bit))


@given(st.integers(4, len(FILE) - 1))
def test_a_file_that_ends_early_is_found(length: int) -> None:
    assert damaged(FILE[:length]) == [FOOTER]


def test_the_column_is_named_and_others_can_be_read() -> None:
    chunk = pq.read_metadata(pa.BufferReader(FILE)).row_group(0).column(1)
    data = flipped(chunk.data_page_offset + chunk.total_compressed_size // 2)
    assert damaged(data) == ["body"]
    assert damaged(data, columns={"attr_n", "timestamp"}) == []
    assert damaged(data, columns={"body"}) == ["body"]
    # Without checksums in the catalog those of Parquet's pages tell the same.
    assert damaged(data, replace(SEGMENT, checksums="")) == ["body"]
    assert damaged(FILE, replace(SEGMENT, checksums="")) == []
    assert damaged(FILE, replace(SEGMENT, checksums="AAAA")) == [FOOTER]
    assert damaged(FILE[:-9], SEGMENT) == damaged(b"", SEGMENT) == [FOOTER]
    assert damaged(FILE, replace(SEGMENT, checksums="no base64")) == [FOOTER]


def test_queries_refuse_damaged_columns_and_no_others(
    make_lake: Callable[..., Any],
) -> None:
    for verify in ("local", "all"):
        lake = make_lake({"query_verify": verify})
        (segment,) = lake.segments()
        data = bytearray(lake.store.get(segment.key).data)
        metadata = pq.read_metadata(pa.BufferReader(bytes(data)))
        chunk = next(
            one
            for one in map(metadata.row_group(0).column, range(metadata.num_columns))
            if one.path_in_schema == "attr_n"
        )
        data[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 1
        lake.store.put(segment.key, bytes(data))
        assert lake.sql("SELECT max(body) AS b FROM logs").to_arrow().to_pylist() == [{"b": "m9"}]
        with pytest.raises(SegmentDamagedError, match=r"is damaged \(attr_n\)") as caught:
            lake.sql("SELECT sum(attr_n) FROM logs").to_arrow()
        assert caught.value.code is ErrorCode.SEGMENT_DAMAGED
        assert caught.value.context["key"] == segment.key
        with pytest.raises(SegmentDamagedError):
            lake.sql("SELECT * FROM logs").to_arrow()
        with pytest.raises(SegmentDamagedError):
            lake.sql("SELECT body FROM logs WHERE attr_n > 3").to_arrow()
        assert lake.sql("SELECT sum(attr_n) FROM logs WHERE body = '' AND false").to_arrow()
    lake = make_lake({"query_verify": "none"})
    (segment,) = lake.segments()
    assert segment.checksums
    assert lake.sql("SELECT sum(attr_n) AS s FROM logs").to_arrow().to_pylist() == [{"s": 45}]


@pytest.fixture(params=["memory", "file"])
def make_lake(request: pytest.FixtureRequest, tmp_path: Any) -> Any:

    made: list[Any] = []

    def make(config: dict[str, Any]) -> Any:
        url = "memory://" if request.param == "memory" else str(tmp_path / f"lake {len(made)}")
        lake = lakerunner.open(url, config=config)
        lines = (f'{{"time": 1790002800, "message": "m{row}", "n": {row}}}' for row in range(10))
        lake.ingest("\n".join(lines).encode())
        made.append(lake)
        return lake

    yield make
    for lake in made:
        lake.close()
