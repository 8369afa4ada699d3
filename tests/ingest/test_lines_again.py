"""Lines that were set aside are all listed, with their text, and can be taken once more, once."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow.csv as pa_csv
import pytest
from typer.testing import CliRunner

import lakerunner
from lakerunner.cli.app import app
from lakerunner.errors import StoreUnavailableError
from lakerunner.limits import MIB
from lakerunner.model.config import Config
from lakerunner.store.counting import WrapperStore

if TYPE_CHECKING:
    from pathlib import Path

GOOD = b'{"msg": "good"}\n'


def listed(lake: lakerunner.Lake) -> list[tuple[str, int, str | None]]:
    table = lake.rejected_lines()
    names = (url.rpartition("/")[2] for url in table["source"].to_pylist())
    return list(zip(names, table["line"].to_pylist(), table["text"].to_pylist(), strict=True))


def count(lake: lakerunner.Lake) -> int:
    found: int = lake.sql("SELECT count(*) AS n FROM logs").to_arrow()["n"][0].as_py()
    return found


def test_every_line_is_listed_however_many(bucket: Any) -> None:
    bucket.store.put("a.json", GOOD + b"{bad\r\n" * 3000 + GOOD + b'{"msg": "\xff\n')
    report = bucket.lake.ingest(bucket.url)
    assert report.rows == 2
    assert sum(each.rows or 0 for each in report.rejected) == 3001
    assert listed(bucket.lake) == [
        *(("a.json", number, "{bad\r") for number in range(2, 3002)),
        ("a.json", 3003, '{"msg": "\ufffd'),
    ]
    assert bucket.lake.rejected_lines().schema.names == [
        "at", "source", "line", "code", "reason", "text",
    ]  # fmt: skip


def test_lines_of_a_large_object_keep_their_numbers(disk: Any) -> None:
    config = Config(memory_bytes=224 * MIB)
    good = b'{"msg": "%b"}\n' % (b"x" * (config.batch_bytes // 40))
    disk.store.put("a.json", b"".join(good * 2 + b"{%d\n" % block for block in range(40)))
    with disk.open(config=config) as lake:
        assert lake.ingest(disk.url).rows == 80
        assert listed(lake) == [("a.json", 3 * (n + 1), f"{{{n}") for n in range(40)]


def test_lines_are_taken_again_once(bucket: Any) -> None:
    bucket.store.put("a.json", GOOD + b"{one\n" + GOOD + b"{two\n")
    bucket.store.put("b.csv", b"a,b\n1,2\n3\n")
    lake = bucket.lake
    lake.ingest(bucket.url)
    again = lake.retry_rejected()  # they are as wrong as before
    assert (again.rows, len(again.failed), len(again.rejected)) == (0, 2, 0)
    assert len(listed(lake)) == 3
    bucket.store.delete("a.json")  # the lake keeps what it could not take
    again = lake.retry_rejected(format="text")
    assert (again.objects, again.rows, again.rejected, again.failed) == (2, 3, (), ())
    assert listed(lake) == []
    assert lake.rejected() == []
    assert lake.retry_rejected().rows == 0
    assert count(lake) == 6
    found = lake.sql("SELECT body FROM logs WHERE body LIKE '{%' ORDER BY body").to_arrow()
    assert found["body"].to_pylist() == ["{one", "{two"]


def test_lines_that_fail_again_keep_their_numbers(disk: Any) -> None:
    disk.store.put("a.csv", b"# made today\na,b\n1,2\n3\n4,5\n6,7,8\n")
    lake = disk.lake
    lake.ingest(disk.url)
    assert [line[1:] for line in listed(lake)] == [(4, "3"), (6, "6,7,8")]
    (wrong,) = {each.source for each in lake.rejected()}
    key = next(meta.key for meta in lake.store.list("_lakerunner/aside/"))
    assert wrong.etag.rpartition(":")[2] in key
    again = lake.retry_rejected(mapping={"format": "json"})
    assert again.failed  # neither row is JSON
    assert [line[1:] for line in listed(lake)] == [(4, "3"), (6, "6,7,8")]


def test_some_lines_are_taken_and_others_fail_again(disk: Any) -> None:
    disk.store.put("a.csv", b"a,b\n1,2\n3\n4,5\n6,7,8\n")
    disk.lake.ingest(disk.url)
    again = disk.lake.retry_rejected(format="csv", mapping={"drop": ["b"]})
    assert again.failed
    again = disk.lake.retry_rejected(format="tsv")  # the first of them is now the header
    assert (again.rows, len(again.rejected)) == (1, 0)
    assert listed(disk.lake) == []


def test_a_row_in_quotes_is_kept_whole(disk: Any) -> None:
    disk.store.put("a.csv", b'a,b\n1,2\n"x\ny"\n4,5\n')
    disk.lake.ingest(disk.url)
    assert [line[1:] for line in listed(disk.lake)] == [(3, '"x\ny"')]


def test_what_is_too_long_is_listed_without_its_text(disk: Any) -> None:
    config = Config(memory_bytes=256 * MIB)
    long = b'{"msg": "%b"}\n' % (b"x" * config.record_bytes)
    disk.store.put("a.json", GOOD + long + GOOD + b"{b\n")
    with disk.open(config=config) as lake:
        assert lake.ingest(disk.url).rows == 2
        assert sorted(line[1:] for line in listed(lake)) == [(2, None), (4, "{b")]
        assert lake.retry_rejected(format="text").rows == 1
        assert [line[1:] for line in listed(lake)] == [(2, None)]


def test_bytes_leave_nothing_behind(disk: Any) -> None:
    report = disk.lake.ingest(GOOD + b"{bad\n", format="json")
    assert report.rows == 1
    assert [each.rows for each in report.rejected] == [1]
    assert disk.lake.rejected_lines().num_rows == 0
    assert not list(disk.lake.store.list("_lakerunner/aside/"))


def test_taken_lines_are_deleted_in_the_end(disk: Any) -> None:
    disk.store.put("a.json", GOOD + b"{one\n")
    disk.lake.ingest(disk.url)
    with disk.open(config=Config(orphan_grace_ns=1)) as lake:
        assert lake.retry_rejected().rows == 0
        assert list(lake.store.list("_lakerunner/aside/"))
        assert lake.retry_rejected(format="text").rows == 1
        assert not list(lake.store.list("_lakerunner/aside/"))


class _NoRoom(WrapperStore):
    """Refuses to keep lines."""

    def put(self, key: str, *rest: Any) -> Any:
        if "/aside/" in key:
            raise StoreUnavailableError("no room", key=key)
        return super().put(key, *rest)


def test_what_cannot_be_kept_is_not_committed(disk: Any) -> None:
    disk.store.put("a.json", GOOD + b"{one\n")
    ingestor = lakerunner.Ingestor(
        _NoRoom(disk.lake.store), disk.lake.catalog, config=Config(attempts=1)
    )
    with pytest.raises(StoreUnavailableError, match="no room"):
        ingestor.ingest(disk.url)
    assert disk.lake.rejected() == []
    assert disk.lake.ingest(disk.url).rows == 1


def test_the_command_lists_lines(tmp_path: Path, disk: Any) -> None:
    disk.store.put("a.json", GOOD + b"{one\n" * 40)
    disk.lake.ingest(disk.url)
    command = ["rejected", str(tmp_path / "lake"), "--lines", "--output", "csv"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0
    table = pa_csv.read_csv(io.BytesIO(shown.stdout.encode()))
    assert table["line"].to_pylist() == list(range(2, 42))
    assert set(table["text"].to_pylist()) == {"{one"}
