"""Results as files: every form and compression, in full or not at all, never held as a whole."""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakerunner.errors import ConfigurationError
from lakerunner.query.writing import Form, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.model.report import ProgressEvent

TABLE = pa.table(
    {
        "n": list(range(1000)),
        "text": ['a "quoted"\nline', None] * 500,
        "nested": pa.array([[{"a": 1}], None] * 500),
    }
)


def batches() -> Iterator[Any]:
    yield from TABLE.to_batches(max_chunksize=100)


def write(target: Any, form: Form, **options: Any) -> int:
    return write_rows(batches(), TABLE.schema, target, form, **options)


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "lz4", "brotli", "none", None])
def test_parquet_has_one_row_group_for_few_rows(tmp_path: Path, codec: str | None) -> None:
    path = tmp_path / "rows.parquet"
    assert write(path, Form.PARQUET, compression=codec) == 1000
    file = pq.ParquetFile(path)
    assert file.read().equals(TABLE)
    assert file.metadata.num_row_groups == 1
    expected = {"none": "UNCOMPRESSED", None: "ZSTD"}.get(codec, str(codec).upper())
    assert file.metadata.row_group(0).column(0).compression == expected


def test_text_is_compressed_as_the_path_says_or_the_caller(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv.gz", Form.CSV)
    text = gzip.decompress((tmp_path / "rows.csv.gz").read_bytes()).decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["n", "text", "nested"]
    assert rows[1] == ["0", 'a "quoted"\nline', '[{"a":1}]']
    assert len(rows) == 1001
    for codec in ("gzip", "zstd", "bz2"):
        write(tmp_path / "rows", Form.JSON, compression=codec)
        with pa.input_stream(str(tmp_path / "rows"), compression=codec) as stream:
            lines = stream.read().splitlines()
        assert json.loads(lines[2]) == {"n": 2, "text": 'a "quoted"\nline', "nested": [{"a": 1}]}


def test_streams_are_written_to_and_left_open() -> None:
    sink = io.BytesIO()
    assert write(sink, Form.JSON) == 1000
    assert len(sink.getvalue().splitlines()) == 1000
    for form in Form:
        packed = io.BytesIO()
        write(packed, form, compression="gzip")
        assert not packed.closed
        assert packed.getvalue()[:2] == (b"PA" if form is Form.PARQUET else b"\x1f\x8b")
    empty = io.BytesIO()
    assert write_rows([], TABLE.schema, empty, Form.CSV) == 0
    assert empty.getvalue() == b'"n","text","nested"\n'


def test_a_file_has_all_rows_or_what_it_had_before(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("before")

    def broken() -> Iterator[Any]:
        yield from TABLE.to_batches(max_chunksize=100)[:3]
        raise KeyError("broken")

    with pytest.raises(KeyError):
        write_rows(broken(), TABLE.schema, path, Form.JSON)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["rows.json"]


def test_progress_tells_rows_and_may_end_the_work(tmp_path: Path) -> None:
    seen: list[ProgressEvent] = []
    write(tmp_path / "rows.csv", Form.CSV, progress=seen.append)
    assert [event.rows for event in seen] == list(range(100, 1001, 100))
    assert seen[-1].stage == "write"
    assert 0 < seen[-1].bytes <= (tmp_path / "rows.csv").stat().st_size

    def stop(event: ProgressEvent) -> None:
        raise KeyError(event.stage)

    with pytest.raises(KeyError):
        write(tmp_path / "other.csv", Form.CSV, progress=stop)
    assert not (tmp_path / "other.csv").exists()


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot write"):
        write(tmp_path / "nowhere" / "rows.csv", Form.CSV)
    with pytest.raises(ConfigurationError, match="there are zstd, snappy"):
        write(tmp_path / "rows.parquet", Form.PARQUET, compression="zip")
    with pytest.raises(ConfigurationError, match="there are gzip, zstd"):
        write(tmp_path / "rows.csv", Form.CSV, compression="brotli")
