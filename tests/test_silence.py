"""Nothing passes in silence: what is misspelt, missing, closed or empty is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import lakerunner
from lakerunner.cli.app import app
from lakerunner.errors import ConfigurationError
from lakerunner.events import open_source
from lakerunner.model.signal import Signal, read_signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINE = b'{"message": "hello", "level": "INFO", "n": 5}'


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("source", ["raw/", "raw/*.json", "none/**/x", "empty/"])
def test_a_source_that_matches_nothing_is_said(tmp_path: Path, source: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "empty").mkdir()
    place = f"{tmp_path}/{source}"
    with lakerunner.open(tmp_path / "lake") as lake:
        report = lake.ingest(place)
        assert report.unmatched == (place,)
        assert f"nothing matches '{place}'" in str(report)
    done = run("ingest", str(tmp_path / "lake"), place)
    assert done.exit_code == 1
    assert f"nothing matches {place}" in done.stderr
    assert run("ingest", str(tmp_path / "lake"), place, "--allow-empty").exit_code == 0


def test_a_source_of_known_objects_matches(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.json").write_bytes(LINE)
    for _ in range(2):
        assert run("ingest", str(tmp_path / "lake"), f"{tmp_path}/raw/").exit_code == 0


@pytest.mark.parametrize(
    "url", ["{0}/none", "file://{0}/none", "{0}", "memory://silence/none", "bucket+file://{0}/b"]
)
def test_to_read_what_is_no_lake_is_an_error_and_makes_none(tmp_path: Path, url: str) -> None:
    url, catalog = url.format(tmp_path), None
    if url.startswith("bucket"):
        url, catalog = str(tmp_path), f"sqlite:///{tmp_path}/catalogs/none.db"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigurationError, match="there is no"):
        lakerunner.open(url, catalog=catalog, read_only=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert run("sql", url, "SELECT 1").exit_code == 1 or catalog


def test_a_lake_can_be_read_only(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(LINE)
    with lakerunner.open(tmp_path / "lake", read_only=True) as lake:
        assert lake.sql("SELECT body FROM logs").to_arrow().num_rows == 1
    with lakerunner.open("memory://silence/some") as lake:
        lake.ingest(LINE)
        assert lakerunner.open("memory://silence/some", read_only=True).segments()


MISSPELT: list[tuple[Callable[[lakerunner.Lake], object], str]] = [
    (lambda _: lakerunner.open("memory://x", config={"windw_ns": 1}), "did you mean 'window_ns'"),
    (lambda _: lakerunner.open("memory://x", ownership={"prefix": {}}), "did you mean 'prefixes'"),
    (lambda lake: lake.ingest(LINE, format="logfmtt"), "did you mean 'logfmt'"),
    (lambda lake: lake.ingest("memory://none/", format="cvs"), "did you mean 'csv'"),
    (lambda lake: lake.ingest(LINE, signal="metrcs"), "did you mean 'metrics'"),
    (lambda lake: lake.ingest(LINE, mapping={"colums": {}}), "did you mean 'columns'"),
    (lambda lake: lake.ingest(LINE, mapping={"format": "xml"}), "no format 'xml'"),
    (lambda lake: lake.segments("log"), "did you mean 'logs'"),
]


@pytest.mark.parametrize(("attempt", "meant"), MISSPELT)
def test_what_is_misspelt_has_the_nearest_name(
    attempt: Callable[[lakerunner.Lake], object], meant: str
) -> None:
    with lakerunner.open("memory://silence/misspelt") as lake:
        with pytest.raises(ConfigurationError) as caught:
            attempt(lake)
        assert meant in caught.value.message


def test_a_watch_knows_its_settings(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        with pytest.raises(TypeError, match="until_idel"):
            lake.watch(tmp_path, until_idel=1)  # type: ignore[call-arg] # misspelt on purpose
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / "a.json").write_bytes(LINE)
        with open_source(f"file://{tmp_path}/raw") as source:
            source._settle_ns = 0  # type: ignore[attr-defined] # a test need not wait for writers
            assert lake.watch(source, until_idle=0.0, max_age=0.0).rows == 1


def test_traces_are_spans_wherever_a_signal_is_given(tmp_path: Path) -> None:
    assert Signal("traces") is Signal.SPANS
    assert read_signal("traces") is Signal.SPANS
    span = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "name": "x", "start_time": 1, "end_time": 2}
    line = json.dumps(span).encode()
    with lakerunner.open(tmp_path / "lake") as lake:
        assert lake.ingest(line, signal="traces").rows == 1
        assert lake.ingest(line, mapping={"signal": "traces"}).rows == 1
        assert len(lake.segments("traces")) == 2
        assert lake.sql("SELECT t.name FROM traces t JOIN spans s USING (span_id)").to_arrow()
    (tmp_path / "a.json").write_bytes(line)
    arguments = ("ingest", str(tmp_path / "lake"), str(tmp_path / "a.json"), "--signal")
    assert run(*arguments, "traces").exit_code == 0
    wrong = run(*arguments, "tracs")
    assert wrong.exit_code == 2
    assert "traces" in wrong.output


def test_a_closed_lake_refuses(tmp_path: Path) -> None:
    lake = lakerunner.open(tmp_path / "lake")
    bound, past = lake.for_organization("acme"), lake.at(lake.snapshot())
    lake.close()
    attempts: list[Callable[[lakerunner.Lake], object]] = [
        lambda one: one.ingest(LINE),
        lambda one: one.sql("SELECT 1"),
        lambda one: one.explain("SELECT 1"),
        lambda one: one.segments(),
        lambda one: one.rejected(),
        lambda one: one.snapshot(),
        lambda one: one.organizations(),
        lambda one: one.for_organization("acme"),
        lambda one: one.watch(str(tmp_path)),
        lambda one: one.retry_rejected(),
        lambda one: one.collect_orphans(),
        lambda one: one.recover(),
        lambda one: one.at("now"),
    ]
    for attempt in attempts:
        for closed in (lake, bound, past):
            with pytest.raises(ConfigurationError, match="closed"):
                attempt(closed)
    lake.close()


def test_values_on_the_command_line(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    with lakerunner.open(url) as lake:
        lake.ingest(LINE)
    text = "SELECT body FROM logs WHERE attr_n = $n AND body IN ($b)"
    done = run("sql", url, text, "-p", "n=5", "--param", 'b=["hello", "x"]', "-o", "csv")
    assert done.stdout.splitlines()[-1] == '"hello"'
    assert run("explain", url, text, "-p", "n=5", "-p", "b=[]").exit_code == 0
    assert run("sql", url, text, "-p", "n").exit_code == 1
    assert "no value for $b" in run("sql", url, text, "-p", "n=5").stderr
