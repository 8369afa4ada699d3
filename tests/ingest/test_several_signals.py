"""OTLP JSON with documents of several signals: all of an object lands in one commit, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import lakerunner
from lakerunner.model.config import Config

if TYPE_CHECKING:
    from pathlib import Path

NS = "1767225600000000000"
LOG = f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{NS}"}}]}}]}}]}}\n'
SPAN = (
    '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c",'
    f'"spanId":"b7ad6b7169203331","name":"a","startTimeUnixNano":"{NS}"}}]}}]}}]}}\n'
)
POINT = (
    '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{'
    f'"timeUnixNano":"{NS}","asInt":"1"}}]}}}}]}}]}}]}}\n'
)
BROKEN = '{"resourceSpans":[{"scopeSpans":7}]}\n'


def _counts(lake: lakerunner.Lake) -> list[int]:
    tables = ("logs", "spans", "metrics")
    return [lake.sql(f"SELECT count(*) FROM {one}").to_arrow()[0][0].as_py() for one in tables]


@pytest.mark.parametrize("content", [LOG + SPAN + POINT, POINT + LOG + SPAN + SPAN[:0]])
def test_all_signals_of_an_object_land_in_one_commit(tmp_path: Path, content: str) -> None:
    (tmp_path / "otel.jsonl").write_text(content)
    (tmp_path / "more.jsonl").write_text(LOG + LOG)
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(tmp_path / "otel.jsonl")
    assert (report.objects, report.rows, report.rejected) == (1, 3, ())
    assert _counts(lake) == [1, 1, 1]
    assert len({segment.commit_id for segment in lake.segments()}) == 1
    again = lake.ingest(tmp_path / "otel.jsonl")
    assert (again.skipped, again.rows) == (1, 0)
    assert lake.ingest(f"{tmp_path}/*.jsonl").rows == 2


def test_one_document_may_carry_several(tmp_path: Path) -> None:
    both = f"{LOG.rstrip()[:-1]},{SPAN.rstrip()[1:]}"
    (tmp_path / "otel.json").write_text(both + "\n")
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(tmp_path / "otel.json")
    assert (report.rows, report.rejected) == (2, ())
    assert _counts(lake) == [1, 1, 0]


def test_a_broken_line_is_set_aside_once(tmp_path: Path) -> None:
    (tmp_path / "otel.jsonl").write_text(LOG + "{broken\n" + SPAN + '{"x":1}\n' + BROKEN + POINT)
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(tmp_path / "otel.jsonl").rows == 3
    lines = sorted(rejection.reason.partition(":")[0] for rejection in lake.rejected())
    assert lines == ["line 2", "line 4", "line 5"]


def test_what_the_user_names_is_all_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "otel.jsonl").write_text(LOG + SPAN)
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(tmp_path / "otel.jsonl", signal="logs").rows == 1
    (rejection,) = lake.rejected()
    assert rejection.reason == "line 2: it carries spans, and the others logs"


def test_a_large_object_of_several_signals(tmp_path: Path) -> None:
    (tmp_path / "otel.jsonl").write_text(LOG * 30_000 + SPAN * 20_000 + (POINT + LOG) * 10_000)
    small = Config(memory_bytes=230 * 1024 * 1024)
    lake = lakerunner.open(tmp_path / "lake", config=small)
    report = lake.ingest(tmp_path / "otel.jsonl")
    assert (report.objects, report.rows, report.rejected) == (1, 70_000, ())
    assert _counts(lake) == [40_000, 20_000, 10_000]
    assert len({segment.commit_id for segment in lake.segments()}) == 1


def test_a_lost_catalog_is_made_again_with_all_signals(tmp_path: Path) -> None:
    (tmp_path / "otel.jsonl").write_text(LOG + SPAN + POINT)
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(tmp_path / "otel.jsonl")
    (tmp_path / "lake" / "catalog.db").unlink()
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.recover()
        assert _counts(lake) == [1, 1, 1]
        assert lake.ingest(tmp_path / "otel.jsonl").skipped == 1
