"""Every command, from its words to what is on the screen and the exit code."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakerunner
from lakerunner.cli.app import COMMANDS
from lakerunner.generate.shop import SERVICE_NAMES
from lakerunner.lake import Lake

if TYPE_CHECKING:
    from typer.testing import Result

RECORDS = 12_000


def line_of(result: Result, name: str) -> str:
    """The value beside a name in an ingest's table."""
    match = re.search(rf"{name} +[│|] +(\S.*?) +[│|]", result.stdout)
    assert match, result.stdout
    return match[1]


def test_help_of_every_command_has_examples(run: Any) -> None:
    for command in COMMANDS:
        text = run(command, "--help").stdout
        assert "Examples:" in text
        assert f"lakerunner {command}" in text


def test_version(run: Any) -> None:
    assert run("--version").stdout == f"lakerunner {lakerunner.__version__}\n"


def test_ingest_reports_and_skips_what_was_taken(run: Any, bucket: Path, tmp_path: Path) -> None:
    first = run("ingest", tmp_path / "lake", f"{bucket / 'good'}/")
    assert line_of(first, "objects taken") == "12"
    assert line_of(first, "rows") == "12,000"
    assert line_of(first, "rejected") == "0"
    again = run("ingest", tmp_path / "lake", f"{bucket / 'good'}/")
    assert line_of(again, "objects skipped") == "12"
    assert line_of(again, "rows") == "0"


def test_ingest_with_bad_objects_takes_the_good_ones_and_exits_with_3(
    run: Any, bucket: Path, tmp_path: Path
) -> None:
    lake, copy = tmp_path / "lake", tmp_path / "bucket"
    shutil.copytree(bucket, copy)
    report = run("ingest", lake, f"{copy / 'good'}/", f"{copy / 'bad'}/", code=3)
    assert line_of(report, "rows") == "12,000"
    assert line_of(report, "rejected") == "2"
    assert "cut.binpb.gz: " in report.stdout
    assert "noise.binpb: " in report.stdout

    listed = run("rejected", lake, "--output", "jsonl")
    reasons = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {Path(each["source"]).name for each in reasons} == {"cut.binpb.gz", "noise.binpb"}
    assert all(each["reason"] for each in reasons)
    assert "2 set aside" in listed.stderr

    assert line_of(run("rejected", lake, "--retry", code=3), "rejected") == "2"
    mended = next((copy / "good").rglob("*.gz")).read_bytes()
    (copy / "bad" / "cut.binpb.gz").write_bytes(mended)
    retried = run("rejected", lake, "--retry", code=3)
    assert line_of(retried, "rows") == "1,000"


def test_ingest_by_two_processes_is_the_same(run: Any, bucket: Path, tmp_path: Path) -> None:
    report = run("ingest", tmp_path / "lake", f"{bucket / 'good'}/", "--workers", 2)
    assert line_of(report, "rows") == "12,000"


def test_sql_as_a_table_says_what_it_took(run: Any, lake: Path) -> None:
    counts = "SELECT resource_service_name AS service, count(*) AS n, max(level) AS worst"
    result = run("sql", lake, f"{counts} FROM logs GROUP BY 1 ORDER BY 1")
    for name in SERVICE_NAMES:
        assert re.search(rf"│ {name} +│ +\d+ │", result.stdout)
    assert re.search(r"\d+\.\d\d s; \d+ of \d+ segments \(0 pruned\), .* rows read", result.stderr)
    assert "segments" not in result.stdout


def test_sql_shows_no_more_rows_than_asked(run: Any, lake: Path) -> None:
    result = run("sql", lake, "SELECT timestamp FROM logs", "--limit-rows", 7)
    assert len(re.findall(r"│ 2026-01-01T", result.stdout)) == 7
    assert "only the first 7 rows" in result.stderr


def test_sql_prunes(run: Any, lake: Path) -> None:
    query = "SELECT count(*) FROM logs WHERE timestamp >= timestamp '2026-01-01T01:05:00Z'"
    assert re.search(r" of \d+ segments \([1-9]\d* pruned\)", run("sql", lake, query).stderr)


def test_sql_as_csv_json_and_parquet_agree(run: Any, lake: Path, tmp_path: Path) -> None:
    query = "SELECT timestamp, body, attr_duration_ms, attr_cache_hit, attr_count FROM logs"
    target = tmp_path / "rows.parquet"
    run("sql", lake, query, "--output", "parquet", "--file", target)
    table = pq.read_table(target)
    assert table.num_rows == RECORDS

    lines = [json.loads(x) for x in run("sql", lake, query, "-o", "jsonl").stdout.splitlines()]
    rows = list(csv.DictReader(io.StringIO(run("sql", lake, query, "-o", "csv").stdout)))
    assert len(lines) == len(rows) == RECORDS
    bodies = sorted(table["body"].to_pylist())
    assert sorted(line["body"] for line in lines) == bodies
    assert sorted(row["body"] for row in rows) == bodies
    assert sum(line["attr_count"] or 0 for line in lines) == sum(
        int(row["attr_count"] or 0) for row in rows
    )


def test_a_table_takes_no_file_and_parquet_may_be_piped(
    run: Any, lake: Path, tmp_path: Path
) -> None:
    parquet = run("sql", lake, "SELECT 1 AS n", "-o", "parquet").stdout_bytes
    assert pq.read_table(pa.BufferReader(parquet)).to_pylist() == [{"n": 1}]
    assert "--file" in run("sql", lake, "SELECT 1", "-f", tmp_path / "x", code=1).stderr
    nowhere = tmp_path / "no" / "where"
    target = tmp_path / "half.csv"
    broken = "SELECT 1 / (attr_count - attr_count) AS n FROM logs WHERE attr_count > 0"
    run("sql", lake, broken, "-o", "csv", "-f", target, code=1)
    assert not target.exists()
    assert "cannot write" in run("sql", lake, "SELECT 1", "-o", "csv", "-f", nowhere, code=1).stderr


def test_explain_names_segments(run: Any, lake: Path) -> None:
    query = "SELECT count(*) FROM logs WHERE timestamp >= timestamp '2026-01-01T01:05:00Z'"
    assert len(run("explain", lake, query).stdout.splitlines()) > 1


def test_segments_lists_those_of_an_interval(run: Any, lake: Path) -> None:
    every = run("segments", lake, "--output", "jsonl").stdout.splitlines()
    rows = [json.loads(line) for line in every]
    assert sum(row["rows"] for row in rows) == RECORDS
    assert {row["window"] for row in rows} == {"2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"}
    late = run("segments", lake, "--start", "2026-01-01T01:00:00Z")
    assert "12,000 rows" not in late.stderr
    assert run("segments", lake, "--end", "2025-01-01").stderr.startswith("0 segments")


def test_a_damaged_segment_is_found_and_set_aside(run: Any, tmp_path: Path) -> None:
    place = tmp_path / "lake"
    with lakerunner.open(place) as opened:
        opened.ingest(b'{"message": "0"}')
        opened.ingest(b'{"message": "1"}')
        victim = opened.segments()[0]
    assert "0 damaged" in run("segments", place, "--verify").stderr
    file = place / victim.key
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(bytes(data))
    count = ("sql", place, "SELECT count(body) AS n FROM logs", "--output", "csv")
    assert f"lake.set_aside('{victim.id}')" in " ".join(run(*count, code=1).stderr.split())
    found = json.loads(run("segments", place, "--verify", "-o", "jsonl", code=3).stdout)
    assert (found["id"], found["reason"]) == (victim.id, "damaged: the footer")
    assert "--set-aside" in run("segments", place, "--reason", "x", code=2).stderr
    assert "damaged: the footer" in run("segments", place, "--set-aside", victim.id).stderr
    assert run(*count).stdout.splitlines()[1:] == ["1"]
    assert json.loads(run("rejected", place, "-o", "jsonl").stdout)["code"] == "segment_damaged"
    assert "integers beyond" not in run(*count).stderr


def test_an_answer_says_what_is_rounded(run: Any, tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as opened:
        opened.ingest(b'{"message": "0", "n": 9007199254740993}')
        opened.ingest(b'{"message": "1", "n": 0.5}')
    result = run("sql", tmp_path / "lake", "SELECT attr_n FROM logs")
    assert "integers beyond 2^53 are rounded in attr_n" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sql", "LAKE", "SELEKT 1"], "(query_syntax)"),
        (["sql", "LAKE", "SELECT 1", "--storage-option", "key"], "KEY=VALUE"),
        (["ingest", "LAKE", "/no/such/place"], "(object_not_found)"),
        (["segments", "LAKE", "--start", "yesterday"], "(invalid_time)"),
        (["segments", "warp://lake"], "(unknown_scheme)"),
        (["generate", "x", "--services", "cat"], "no service cat"),
        (["generate", "x", "--signals", "logs,cats"], "no signal cats"),
        (["generate", "x", "--duration", "-1"], "duration -1"),
    ],
)
def test_errors_are_one_line_with_a_code(
    run: Any, lake: Path, arguments: list[str], message: str
) -> None:
    result = run(*(str(lake) if each == "LAKE" else each for each in arguments), code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


def test_a_lake_that_is_not_there_is_not_made_by_asking(run: Any, tmp_path: Path) -> None:
    for command in (["sql", tmp_path / "nowhere", "SELECT 1"], ["segments", tmp_path]):
        assert "there is no lake at" in run(*command, code=1).stderr
    assert not list(tmp_path.iterdir())


def test_interrupted_is_130(run: Any, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lake, "segments", interrupt)
    assert run("segments", lake, code=130).stderr.startswith("interrupted")


def test_generate_is_what_ingest_takes(run: Any, tmp_path: Path) -> None:
    options = ["--rate", 100, "--duration", 20, "--start", "2026-03-01T00:00:00Z", "--seed", 3]
    wrote = run("generate", tmp_path / "raw", *options, "--org", "acme", "--compression", "zstd")
    assert "2,000 log records in 1 object" in wrote.stdout
    (path,) = (tmp_path / "raw").rglob("*.binpb.zst")
    key = path.relative_to(tmp_path / "raw").as_posix()
    assert key.startswith(
        "otel-raw/acme/collector-0/year=2026/month=03/day=01/hour=00/minute=00/logs_"
    )
    report = run("ingest", tmp_path / "lake", f"{tmp_path / 'raw'}/")
    assert line_of(report, "rows") == "2,000"


def test_as_a_process(lake: Path) -> None:
    program = "from lakerunner.cli import main; main()"
    command = [sys.executable, "-W", "error", "-c", program]
    query = ["sql", str(lake), "SELECT count(*) AS n FROM logs", "--output", "jsonl"]
    done = subprocess.run([*command, *query], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"n": RECORDS}
    failed = subprocess.run([*command, "sql", str(lake), "x"], capture_output=True, check=False)
    assert failed.returncode == 1
    assert b"Traceback" not in failed.stderr


def test_without_typer_it_says_how_to_install_it() -> None:
    program = "import sys; sys.modules['typer'] = None; from lakerunner.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'lakerunner[cli]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_trace_draws_a_waterfall_or_writes_rows(run: Any, tmp_path: Path) -> None:
    ids = {"trace_id": ["ab" * 16] * 2, "span_id": ["01" * 8, "02" * 8]}
    spans = {**ids, "parent_span_id": [None, "01" * 8], "name": ["outer", "inner"]}
    times = pa.array([10**18, 10**18 + 5], pa.timestamp("ns", "UTC"))
    with lakerunner.open(str(tmp_path / "lake")) as lake:
        lake.ingest(pa.table({**spans, "timestamp": times}), signal="spans")
        lake.ingest(
            pa.table({"trace_id": ["ab" * 16], "body": ["said"], "timestamp": times[:1]}),
            signal="logs",
        )
    drawn = run("trace", tmp_path / "lake", "AB" * 16, "--logs")
    assert "2 spans" in drawn.stdout
    assert "  inner" in drawn.stdout
    assert "said" in drawn.stdout
    assert "1 of 1 segment" in drawn.stderr
    rows = run("trace", tmp_path / "lake", "ab" * 16, "-o", "jsonl").stdout.splitlines()
    assert [json.loads(row)["depth"] for row in rows] == [0, 1]
    logs = run("trace", tmp_path / "lake", "ab" * 16, "-o", "jsonl", "--logs").stdout
    assert json.loads(logs)["body"] == "said"
    assert "no span of trace 00" in run("trace", tmp_path / "lake", "00").stdout


def test_what_there_is_is_listed(run: Any, tmp_path: Path) -> None:
    with lakerunner.open(str(tmp_path / "lake")) as lake:
        lake.ingest(b'{"message": "hello", "level": "warn", "http.route": "/a"}')
    assert '"rows":1' in run("tables", tmp_path / "lake", "-o", "jsonl").stdout
    assert "timestamp" in run("describe", tmp_path / "lake", "logs").stdout
    listed = run("attributes", tmp_path / "lake", "logs", "-o", "jsonl").stdout
    assert '"key":"http.route"' in listed
    assert run("values", tmp_path / "lake", "http.route", "-o", "csv").stdout.splitlines() == [
        '"value"',
        '"/a"',
    ]
    assert run("services", tmp_path / "lake", "-o", "csv").stdout.startswith('"service"')
    assert run("metrics", tmp_path / "lake", "-o", "csv").stdout.startswith('"name"')
    assert "did you mean 'level'" in run("values", tmp_path / "lake", "levl", code=1).stderr
