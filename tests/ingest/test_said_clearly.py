"""Objects that are not what they seem: taken where that can be done, else refused by their name."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import zipfile
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.errors import CorruptObjectError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = b"2026-01-01T00:00:00Z ERROR it failed\n" * 20


def _zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("app.log", TEXT)
        archive.writestr("web.log", TEXT)
    return sink.getvalue()


def _packed(pack: Callable[[bytes], bytes], times: int) -> bytes:
    data = TEXT
    for _ in range(times):
        data = pack(data)
    return data


def _parquet(**columns: list[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _reasons(lake: lakerunner.Lake) -> list[str]:
    return [rejection.reason for rejection in lake.rejected()]


def _rows(lake: lakerunner.Lake, text: str = "SELECT * FROM logs") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.sql(text).to_arrow().to_pylist()
    return found


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.log", _zipped(), "it holds several files: unpack it"),
        ("a.zip.gz", gzip.compress(_zipped()), "it holds several files: unpack it"),
        ("a.log", b"\x02\x21\x4c\x18" + bytes(40), "this is lz4 of the legacy format"),
        ("a.log", _packed(bz2.compress, 4), "this is bzip2 within one compression after another"),
        ("a", _packed(gzip.compress, 4), "this is gzip within one compression after another"),
        ("a.log", b"\xff\xfe" + bytes(range(256)) * 40, "UTF-16"),
        ("a.evtx", b"ElfFile\x00" + bytes(40), "this is a Windows event log"),
        ("a.log", b"\x89PNG\r\n\x1a\n" + bytes(40), "this is a PNG image"),
        ("a.csv", b"\x1f\x8b\x08" + bytes(40), "broken"),
        ("a.json", _parquet(message=["x"]), "this is Parquet"),
        ("a.log", _parquet(message=["x"]), "this is Parquet"),
    ],
)
def test_what_no_format_reads_is_refused_by_its_name(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(tmp_path / name).rows == 0
    (reason,) = _reasons(lake)
    assert said in reason


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.log.bz2", bz2.compress(TEXT)),
        ("a.log", lzma.compress(TEXT)),
        ("a.log.lz4", pa.compress(TEXT, "lz4", asbytes=True)),
        ("a.log.gz.gz", gzip.compress(gzip.compress(TEXT))),
        ("a.log.zst", zstandard.ZstdCompressor().compress(gzip.compress(TEXT))),
        ("a.log.zst", b"\x50\x2a\x4d\x18\1\0\0\0x" + zstandard.ZstdCompressor().compress(TEXT)),
        ("a.log", TEXT.decode().encode("utf-16")),
        ("a.log", codecs.BOM_UTF16_BE + TEXT.decode().encode("utf-16-be")),
        ("a.log.gz", gzip.compress(TEXT.decode().encode("utf-32"))),
        ("a.csv", "time,level,message\n2026-01-01T00:00:00Z,ERROR,it failed\n".encode("utf-16")),
        ("a.json", '{"level": "ERROR", "message": "it failed"}'.encode("utf-16")),
    ],
)
def test_what_can_be_unpacked_lands(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    lake = lakerunner.open(tmp_path / "lake")
    lake.ingest(tmp_path / name)
    assert _reasons(lake) == []
    found = _rows(lake, "SELECT DISTINCT level, right(body, 9) AS body FROM logs")
    assert found == [{"level": "ERROR", "body": "it failed"}]


def test_parquet_under_another_name_is_taken_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(_parquet(message=["x"]))
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(tmp_path / "a.json").rows == 0
    assert lake.retry_rejected(format="parquet").rows == 1
    assert _reasons(lake) == []


@pytest.mark.parametrize("garbage", [b"garbage", b"\x1f", b"\x00\x00trailer", b"x" * 9_000_000])
def test_garbage_behind_a_gzip_member_takes_no_row_with_it(tmp_path: Path, garbage: bytes) -> None:
    whole = gzip.compress(TEXT) + gzip.compress(TEXT)
    (tmp_path / "a.log.gz").write_bytes(whole + garbage)
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(tmp_path / "a.log.gz")
    assert (report.objects, report.rows) == (1, 40)
    (reason,) = _reasons(lake)
    assert f"{len(garbage.lstrip(bytes(1))):,} bytes behind the last gzip member" in reason
    assert lake.retry_rejected().rows == 0
    assert lake.ingest(tmp_path / "a.log.gz").skipped == 1


def test_a_gzip_member_that_is_cut_off_takes_its_object_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(TEXT) + gzip.compress(TEXT)[:-9])
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(tmp_path / "a.log.gz").rows == 0
    assert lake.rejected()[0].rows is None


def test_text_that_begins_like_a_mark_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("BZh is the mark of bzip2\nORC is a format\n")
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(tmp_path / "a.log").rows == 2


@pytest.mark.parametrize("name", ["with space.log", "100%.log", "a%20b.log", "größe#1?.log"])
def test_a_url_that_python_made_of_a_path_names_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "50% of it"
    folder.mkdir()
    (folder / name).write_bytes(TEXT)
    lake = lakerunner.open((folder / "a lake").as_uri())
    assert lake.ingest((folder / name).as_uri()).rows == 20
    assert (folder / "a lake" / "catalog.db").is_file()
    lake.close()
    with lakerunner.open(folder / "a lake") as again:
        assert again.ingest(folder / name).skipped == 1
        assert again.ingest(f"{folder.as_uri()}/").skipped == 1


def test_a_file_whose_name_has_brackets_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "app[1].log").write_text("brackets\n")
    (tmp_path / "app1.log").write_text("none\n")
    lake = lakerunner.open(tmp_path / "lake")
    lake.ingest(tmp_path / "app[1].log")
    assert [row["body"] for row in _rows(lake)] == ["brackets"]
    lake.ingest(tmp_path / "app[12].log")
    assert sorted(row["body"] for row in _rows(lake)) == ["brackets", "none"]


def test_markers_and_empty_objects_are_no_rejections(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in (
        "_SUCCESS",
        ".part-0.json.crc",
        "_started_1",
        "_committed_1",
        "empty",
        "none.json",
    ):
        (raw / name).write_bytes(b"crc\x00\x01" if name.endswith(".crc") else b"")
    (raw / "part-0.json").write_text('{"message": "x"}\n')
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(f"{raw}/")
    assert (report.rows, report.rejected, _reasons(lake)) == (1, (), [])
    assert lake.ingest(f"{raw}/").objects == 0


@pytest.mark.parametrize("catalog", ["sqlite", "memory"])
def test_an_object_that_was_replaced_and_taken_is_listed_no_more(
    tmp_path: Path, catalog: str
) -> None:
    chosen = open_catalog(f"memory://{tmp_path.name}") if catalog == "memory" else None
    lake = lakerunner.open(tmp_path / "lake", catalog=chosen)
    path, other = tmp_path / "y.parquet", tmp_path / "other.parquet"
    path.write_bytes(b"nope")
    other.write_bytes(b"nope")
    lake.ingest(path)
    lake.ingest(other)
    assert len(lake.rejected()) == 2
    path.write_bytes(_parquet(message=["x"]))
    report = lake.ingest(path)
    assert (report.objects, report.rows) == (1, 1)
    assert [rejection.source.key for rejection in lake.rejected()] == [str(other)[1:]]
    assert lake.retry_rejected().rows == 0
    assert len(_rows(lake)) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", '{"message":"x","level":"warn"}\n'),
        ("x.tsv", '{"message":"x","level":"warn"}\n{"message":"x","level":"warn"}\n'),
    ],
)
def test_json_lines_named_as_rows_are_json(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(tmp_path / name).rows == content.count("\n")
    assert {(row["body"], row["level"]) for row in _rows(lake)} == {("x", "WARN")}


@pytest.mark.parametrize(
    "content",
    [
        "2026-01-01T00:00:00Z,ERROR,only record\n",
        "2026-01-01T00:00:00Z,ERROR,first\n2026-01-01T00:00:01Z,INFO,second\n",
        "1767225600,a\n1767225601,b\n",
        "x,1.5\ny,2.5\n",
        "a record of one line,of which nothing more is said,here\n",
    ],
)
def test_rows_without_a_header_lose_no_record_in_silence(tmp_path: Path, content: str) -> None:
    (tmp_path / "y.csv").write_text(content)
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(tmp_path / "y.csv").rows == 0
    (reason,) = _reasons(lake)
    assert "is no header" in reason
    assert lake.retry_rejected(format="text").rows == content.count("\n")


@pytest.mark.parametrize(
    "content", ["time,level,message\n", "metric,2024,2025\nx,1,2\n", "a,,a\n1,2,3\n", "a,b\n1,2\n"]
)
def test_a_header_is_a_header(tmp_path: Path, content: str) -> None:
    (tmp_path / "y.csv").write_text(content)
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(tmp_path / "y.csv", signal="logs")
    assert (report.objects, report.rows, report.rejected) == (1, content.count("\n") - 1, ())


@pytest.mark.parametrize(
    "above",
    ["", "# a comment\n", "sep=;\r\n", "#\n\n# two, of them\n", "# made;by a tool\nsep=;\n"],
)
@pytest.mark.parametrize("mark", ["", "#"])
def test_comments_and_the_delimiter_may_stand_above_a_header(
    tmp_path: Path, above: str, mark: str
) -> None:
    rows = "".join(f"2026-01-01T00:00:0{n}Z;info;line {n}\n" for n in range(3))
    (tmp_path / "y.csv").write_text(f"{above}{mark}time;level;message\n{rows}")
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(tmp_path / "y.csv")
    assert (report.rows, report.rejected) == (3, ())
    found = _rows(lake, "SELECT body, level, timestamp_source FROM logs ORDER BY timestamp")
    assert found == [
        {"body": f"line {n}", "level": "INFO", "timestamp_source": "time"} for n in range(3)
    ]


def test_text_keeps_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.logfmt").write_text(
        'msg=a version=1.10 commit=1234e56 build="1.20" amount=0.12345678901234567890 n=5 d=1.5\n'
    )
    rows = ("message,size,commit,id,n,d", 'a,1.10,12e4,"7",5,1.5', 'b,1.1,00e1,"8",6,2.5')
    (tmp_path / "b.csv").write_text("\n".join(rows))
    lake = lakerunner.open(tmp_path / "lake")
    lake.ingest(tmp_path / "a.logfmt")
    lake.ingest(tmp_path / "b.csv")
    first, *others = sorted(_rows(lake), key=lambda row: str(row["attr_build"]))
    assert (first["attr_version"], first["attr_commit"]) == ("1.10", "1234e56")
    assert (first["attr_build"], first["attr_amount"]) == ("1.20", "0.12345678901234567890")
    assert (first["attr_n"], first["attr_d"]) == (5, 1.5)
    assert [row["attr_size"] for row in others] == ["1.10", "1.1"]
    assert [row["attr_commit"] for row in others] == ["12e4", "00e1"]
    assert [(row["attr_id"], row["attr_n"], row["attr_d"]) for row in others] == [
        ("7", 5, 1.5),
        ("8", 6, 2.5),
    ]


def test_a_record_of_json_keeps_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"message": "x", "n": 1.10}) + "\n")
    lake = lakerunner.open(tmp_path / "lake")
    lake.ingest(tmp_path / "a.json")
    assert _rows(lake)[0]["attr_n"] == 1.1


def test_bytes_without_a_header_are_an_error(tmp_path: Path) -> None:
    with (
        lakerunner.open(tmp_path / "lake") as lake,
        pytest.raises(CorruptObjectError, match="is no header"),
    ):
        lake.ingest(b"2026-01-01,a\n", format="csv")
