"""The first hour at the command line: what it starts with, where answers go, and what is found."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

import lakerunner
from lakerunner.cli.app import COMMANDS
from lakerunner.cli.doctor import Health
from lakerunner.cli.options import Shown
from lakerunner.cli.output import Output
from lakerunner.cli.shell import Shell, _session, converse, statements

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = "SELECT count(*) AS n FROM logs"
HEAVY = {"pyarrow", "numpy", "datafusion", "pandas", "fsspec", "rich", "msgspec", "lakerunner.lake"}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LAKE", "ORGANIZATION", "CATALOG", "OUTPUT", "CONFIG"):
        monkeypatch.delenv(f"LAKERUNNER_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LAKERUNNER_HISTORY", str(tmp_path / "history"))


def loaded(*words: str, **environment: str) -> tuple[set[str], str]:
    """Modules that the command has loaded when it ends, and what it printed."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('\\n#', *sorted(sys.modules)))\n"
        f"sys.argv = ['lakerunner', *{words!r}]\n"
        "from lakerunner.cli.entry import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    said, _, modules = done.stdout.rpartition("\n#")
    return set(modules.split()), said


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["sql", "--help"], ["ingest", "--help"], ["doctor", "-h"]]
)
def test_version_and_help_load_nothing_that_takes_long(words: list[str]) -> None:
    modules, said = loaded(*words)
    assert not modules & HEAVY, sorted(modules & HEAVY)
    assert said.strip()


def test_completion_loads_nothing_that_takes_long() -> None:
    asked = {"COMP_WORDS": "lakerunner se", "COMP_CWORD": "1"}
    modules, said = loaded(_LAKERUNNER_COMPLETE="complete_bash", **asked)
    assert said.split() == ["serve", "services", "segments"]
    assert not modules & HEAVY
    asked = {"COMP_WORDS": "lakerunner sql --lim", "COMP_CWORD": "2"}
    modules, said = loaded(_LAKERUNNER_COMPLETE="complete_bash", **asked)
    assert said.split() == ["--limit-rows"]
    assert not modules & HEAVY


def test_the_list_of_commands_says_what_their_help_says(run: Any) -> None:
    listed = run("--help").stdout
    for name, named in COMMANDS.items():
        assert f"\n  {name}" in listed
        function = getattr(import_module(f"lakerunner.cli.{named.module}"), name)
        first = " ".join(function.__doc__.split("\n\n")[0].split())
        assert named.says == first


def test_help_fits_80_columns(run: Any) -> None:
    for name in ["--help", *COMMANDS]:
        text = run(*([name] if name.startswith("-") else [name, "--help"])).stdout
        help_text = text.split("Examples:")[0]  # an example is to be copied whole
        assert max(map(len, help_text.splitlines())) <= 80, name
        assert "[bold]" not in text


def test_a_lake_of_the_environment_and_of_a_file(
    run: Any, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Missing argument 'SQL'" in run("sql", COUNT, code=2).stderr
    monkeypatch.setenv("LAKERUNNER_LAKE", str(lake))
    assert run("sql", COUNT, "-o", "csv").stdout == '"n"\n12000\n'
    assert "12,000" not in run("tables", "-o", "csv", "--quiet").stderr
    monkeypatch.delenv("LAKERUNNER_LAKE")
    settings = tmp_path / "own.toml"
    settings.write_text(f'lake = "{lake}"\noutput = "jsonl"\n[storage_options]\n')
    monkeypatch.setenv("LAKERUNNER_CONFIG", str(settings))
    assert json.loads(run("sql", COUNT).stdout) == {"n": 12_000}
    assert run("sql", lake, COUNT, "-o", "csv").stdout == '"n"\n12000\n'
    settings.write_text('lakes = "x"\n')
    assert "did you mean 'lake'?" in run("sql", COUNT, code=1).stderr
    monkeypatch.setenv("LAKERUNNER_CONFIG", str(tmp_path / "none.toml"))
    assert "there is no file" in run("sql", COUNT, code=1).stderr


def test_ingest_into_the_lake_of_the_environment(
    run: Any, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKERUNNER_LAKE", str(tmp_path / "lake"))
    run("ingest", f"{bucket / 'good'}/", "--workers", 1)
    assert run("sql", COUNT, "-o", "csv").stdout == '"n"\n12000\n'


def test_sql_comes_from_a_file_or_from_stdin(lake: Path, tmp_path: Path, run: Any) -> None:
    (tmp_path / "q.sql").write_text(f"-- how many\n{COUNT}\n")
    assert run("sql", lake, f"@{tmp_path / 'q.sql'}", "-o", "csv").stdout == '"n"\n12000\n'
    assert "No such file" in run("sql", lake, "@nowhere.sql", code=1).stderr
    done = command(["sql", lake, "-", "-o", "csv"], stdin=COUNT)
    assert done.stdout == '"n"\n12000\n'


def command(words: list[Any], stdin: str = "") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "lakerunner.cli.entry", *map(str, words)]
    program[1:3] = ["-c", "from lakerunner.cli.entry import main; main()"]
    return subprocess.run(program, input=stdin, capture_output=True, text=True, check=False)


def test_every_form_and_the_same_rows(run: Any, lake: Path, tmp_path: Path) -> None:
    query = "SELECT timestamp, level, attr_count AS n FROM logs ORDER BY timestamp, body LIMIT 3"
    rows = lakerunner.open(lake, read_only=True).sql(query).to_pylist()
    texts = {form: run("sql", lake, query, "-o", form).stdout for form in ("json", "jsonl")}
    listed = json.loads(texts["json"])
    assert [row["level"] for row in listed] == [row["level"] for row in rows]
    assert [json.loads(line) for line in texts["jsonl"].splitlines()] == listed
    assert all(row["timestamp"][10] == "T" and row["timestamp"].endswith("Z") for row in listed)
    markdown = run("sql", lake, query, "-o", "markdown", "-f", "-").stdout.splitlines()
    assert markdown[:2] == ["| timestamp | level | n |", "| --- | --- | ---: |"]
    assert [line.split(" | ")[1] for line in markdown[2:]] == [row["level"] for row in rows]
    streamed = pa.ipc.open_stream(run("sql", lake, query, "-o", "arrow").stdout_bytes).read_all()
    assert streamed["level"].to_pylist() == [row["level"] for row in rows]
    run("sql", lake, query, "-o", "arrow", "-f", tmp_path / "rows.arrows")
    assert pa.ipc.open_stream((tmp_path / "rows.arrows").read_bytes()).read_all() == streamed
    assert run("sql", lake, "SELECT 1 WHERE false", "-o", "json").stdout == "[]\n"
    csv = run("sql", lake, query, "-o", "csv").stdout.splitlines()[1]
    assert csv.split(",")[0].strip('"') == listed[0]["timestamp"]


def test_quiet_says_nothing_but_errors(run: Any, lake: Path) -> None:
    assert run("sql", lake, COUNT).stderr
    assert run("sql", lake, COUNT, "--quiet").stderr == ""
    assert "query_syntax" in run("sql", lake, "SELECT", "--quiet", code=1).stderr


def test_start_and_end_of_a_query(run: Any, lake: Path) -> None:
    words = ["--start", "2026-01-01T01:00:00Z", "--end", "2026-01-01T01:05:00Z", "-o", "csv"]
    found = run("sql", lake, COUNT, *words).stdout
    where = "timestamp >= '2026-01-01T01:00:00Z' AND timestamp < '2026-01-01T01:05:00Z'"
    assert found == run("sql", lake, f"{COUNT} WHERE {where}", "-o", "csv").stdout
    assert found not in ('"n"\n0\n', '"n"\n12000\n')


def test_a_closed_pipe_is_no_error(lake: Path) -> None:
    program = [sys.executable, "-c", "from lakerunner.cli.entry import main; main()"]
    query = "SELECT a.body, a.trace_id FROM logs a CROSS JOIN (SELECT 1 FROM logs LIMIT 20) b"
    words = ["sql", str(lake), query, "-o", "csv"]
    with subprocess.Popen(
        [*program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
        assert running.wait() == 0
    assert b"Traceback" not in said
    assert b"Broken" not in said


def test_nearest_names(run: Any, lake: Path) -> None:
    assert "Did you mean 'segments'?" in run("segmets", lake, code=2).stderr
    assert "did you mean logs?" in run("sql", lake, "SELECT 1 FROM log", code=1).stderr
    assert "did you mean body?" in run("sql", lake, "SELECT bdy FROM logs", code=1).stderr
    assert "did you mean 'level'" in run("values", lake, "levle", code=1).stderr


def test_statements_end_at_semicolons_that_count() -> None:
    text = "SELECT ';' AS \"a;b\"; -- one; two\nSELECT /* ; */ 2;\n.tables\nSELECT 'open"
    found = list(statements(text))
    assert [one.whole for one in found] == [True, True, True, False]
    assert found[0].text == "SELECT ';' AS \"a;b\""
    assert found[2].text == ".tables"
    assert list(statements("  \n ; ;")) == []


def test_a_shell_without_a_terminal_answers_what_it_is_given(lake: Path) -> None:
    done = command(["shell", lake, "-o", "csv"], stdin=f"{COUNT};\n.rows 5\n.services\n")
    assert done.stdout.startswith('"n"\n12000\n"service","logs"')
    assert done.returncode == 0
    failed = command(["shell", lake, "-o", "csv"], stdin=f"SELECT nothing FROM logs;\n{COUNT};")
    assert failed.returncode == 1
    assert failed.stdout == ""


@pytest.fixture
def opened(lake: Path) -> Iterator[lakerunner.Lake]:
    with lakerunner.open(lake, read_only=True) as it:
        yield it


def test_a_conversation(
    opened: lakerunner.Lake, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shell = Shell(opened, Shown(Output.CSV), 40)
    with create_pipe_input() as keys:
        session = _session(shell, input=keys, output=DummyOutput())
        keys.send_text("SELECT count(*)\rFROM logs;\r.otput csv\r.explain SELECT 1 FROM logs\r")
        keys.send_text("SELECT nothing\rFROM logs;\r.output jsonl\rSELECT 7 AS seven;\r.quit\r")
        converse(shell, session)
    out, said = capsys.readouterr()
    assert out.startswith('"count(*)"\n12000\n')
    assert "did you mean '.output'" in said
    assert "there is no column nothing" in said
    assert '{"seven":7}' in out
    assert "logs: 2 of 2 segments kept" in out
    assert "SELECT nothing" in Path(tmp_path / "history").read_text()
    assert {"logs", "resource_service_name", "SELECT", ".trace"} <= set(shell.words())


TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from lakerunner.cli.entry import main
main()
"""


def test_ctrl_c_ends_a_query_and_not_the_shell(lake: Path) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, "shell", str(lake)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={**os.environ, "TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"},
    ) as running:
        os.close(terminal)
        try:
            read_until(controller, b"lake> ")
            long = b"SELECT count(*) FROM logs a, logs b, logs c WHERE a.body <> c.body || b.body;"
            os.write(controller, long + b"\r")
            read_until(controller, b"b.body;")
            time.sleep(1.0)  # that it runs cannot be seen from outside
            os.write(controller, b"\x03")
            read_until(controller, b"interrupted")
            os.write(controller, b".quit\r")
            read_until(controller, b"quit\r\n")
            assert running.wait(60) == 0
        finally:
            running.kill()
    os.close(controller)


def read_until(terminal: int, wanted: bytes) -> None:
    said, last = b"", time.monotonic() + 60
    while wanted not in said:
        ready, _, _ = select.select([terminal], [], [], max(0, last - time.monotonic()))
        assert ready, said
        said += os.read(terminal, 4096)


def test_show_says_what_is_in_a_segment(run: Any, lake: Path) -> None:
    (first, _) = lakerunner.open(lake, read_only=True).segments("logs")
    text = run("show", lake, first.id, "--rows", 2).stdout
    assert first.key in text
    assert "resource_service_name" in text
    assert "the first 2 rows" in text
    rows = run("show", lake, first.key, "--rows", 2, "-o", "jsonl").stdout.splitlines()
    assert [json.loads(row)["organization"] for row in rows] == ["default", "default"]
    assert "no live segment" in run("show", lake, "nowhere", code=1).stderr


def test_replay_takes_nothing(run: Any, lake: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_text('{"time": "2026-03-01T00:00:00Z", "lvl": "warn", "msg": "again"}\n')
    done = run("replay", lake, raw, "-o", "jsonl")
    row = json.loads(done.stdout)
    assert (row["body"], row["level"]) == ("again", "WARN")
    assert "of which nothing was taken" in done.stderr
    assert run("sql", lake, COUNT, "-o", "csv").stdout == '"n"\n12000\n'
    (tmp_path / "noise.bin").write_bytes(b"\xff\xfe\xfd" * 40)
    run("replay", lake, tmp_path / "noise.bin", code=3)


def test_unpublish_takes_a_segment_out_of_all_answers(run: Any, tmp_path: Path) -> None:
    place = tmp_path / "lake"
    with lakerunner.open(place) as lake:
        lake.ingest(b'{"message": "one"}')
        lake.ingest(b'{"message": "two"}')
        first, second = lake.segments("logs")
    run("unpublish", place, first.id, "--reason", "not ours")
    assert run("sql", place, "SELECT body FROM logs", "-o", "csv").stdout.count("\n") == 2
    assert "not ours" in run("rejected", place, "-o", "json").stdout
    assert [one.id for one in lakerunner.open(place, read_only=True).segments()] == [second.id]


def test_input_comes_from_stdin(tmp_path: Path) -> None:
    words = ["ingest", tmp_path / "lake", "-", "--workers", 1]
    done = command(words, stdin='{"message": "one"}\n' * 3)
    assert done.returncode == 0, done.stderr
    assert lakerunner.open(tmp_path / "lake", read_only=True).sql(COUNT).scalar() == 3


def found(run: Any, *words: object, code: int = 0) -> dict[str, str]:
    listed = json.loads(run("doctor", *words, "-o", "json", code=code).stdout)
    return {one["check"]: one["health"] for one in listed}


def test_the_doctor_finds_nothing_in_a_healthy_lake(run: Any, tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(b'{"message": "one"}')
    assert set(found(run, tmp_path / "lake").values()) == {Health.GOOD}
    assert "clock" not in found(run, tmp_path / "lake", "--read-only", "--quick")


def test_the_doctor_says_what_is_wrong_and_what_to_do(run: Any, tmp_path: Path) -> None:
    place = tmp_path / "lake"
    with lakerunner.open(place) as lake:
        lake.ingest(b'{"message": "one"}')
        lake.ingest(b'{"message": "two"}')
        lake.ingest(b'{"message": "three"}')
        segments = lake.segments("logs")
        (tmp_path / "noise.binpb").write_bytes(b"\xff\xfe\xfd" * 40)
        lake.ingest(tmp_path / "noise.binpb")
    (place / segments[0].key).unlink()
    orphan = place / segments[1].key.replace(segments[1].id, f"{segments[1].id[:-4]}0000")
    orphan.write_bytes(b"PAR1")
    os.utime(orphan, (0, 0))
    health = found(run, place, code=3)
    assert health["files"] == Health.BAD
    assert health["orphans"] == Health.NOTE
    assert health["set aside"] == Health.NOTE
    assert health["work"] == Health.NOTE
    said = run("doctor", place, code=3).stdout
    assert segments[0].key in said
    assert "lakerunner rejected LAKE" in said
    assert "lakerunner maintain LAKE" in said


def test_the_doctor_of_a_lake_that_cannot_be_opened(run: Any, tmp_path: Path) -> None:
    assert found(run, tmp_path / "none", "--read-only", code=3)["lake"] == Health.BAD


def test_an_answer_without_columns_is_shown(run: Any, lake: Path) -> None:
    assert run("sql", lake, "SELECT NULL AS x WHERE false").exit_code == 0
    text = io.StringIO(run("sql", lake, "SELECT NULL AS x WHERE false", "-o", "markdown").stdout)
    assert text.read() == "| x |\n| --- |\n"
