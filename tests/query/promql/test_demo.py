"""What everybody asks first, over the demo shop: as a plot in a terminal and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner

import lakerunner
from lakerunner.cli.app import app
from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from pathlib import Path

QUERY = "sum by (service_name) (rate(http_server_request_duration_seconds_count[5m]))"
START, END = 1_767_225_600 + 300, 1_767_225_600 + 600

CELLS = [
    "import lakerunner\nlake = lakerunner.open(LAKE)",
    f"requests = lake.promql({QUERY!r}, start={START}, end={END}, step='30s')\nrequests",
    "requests.plot()",
    "requests.to_pandas().pivot(index='timestamp', columns='service_name', values='value')",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("demo")
    for key, data in generate_objects(TelemetryConfig(signals=(Signal.METRICS,), rate=20)):
        path = folder / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with lakerunner.open(folder / "lake") as lake:
        lake.ingest(str(folder / "bucket"))
    return str(folder / "lake")


def test_requests_by_service_are_what_their_counts_say(demo: str) -> None:
    with lakerunner.open(demo) as lake:
        found = lake.promql(QUERY, start=START, end=END, step="30s")
        table = found.to_arrow()
        steps = (END - START) // 30 + 1
        points = lake.sql(
            "SELECT resource_service_name AS service, series_id, timestamp, count FROM metrics "
            "WHERE metric_name = 'http.server.request.duration'"
        ).to_pandas()
    services = sorted(set(points["service"]))
    assert services
    assert table["service_name"].to_pylist() == list(np.repeat(services, steps))
    assert found.kind == "matrix"
    # What came in five minutes, from the counts themselves: extrapolation adds a part of a point.
    last = points[points["timestamp"].astype("int64") // 10**9 > END - 300].groupby(
        ["service", "series_id"]
    )["count"]
    grown = (last.max() - last.min()).groupby("service").sum() / 300
    rates = dict(zip(services, table["value"].to_numpy().reshape(-1, steps)[:, -1], strict=True))
    for service in services:
        assert rates[service] == pytest.approx(grown[service], rel=0.15)


def test_a_terminal_shows_it(demo: str) -> None:
    times = ["--start", str(START), "--end", str(END), "--step", "30s"]
    shown = CliRunner().invoke(app, ["promql", demo, QUERY, *times, "--plot"])
    assert shown.exit_code == 0, shown.output
    assert "service_name=frontend" in shown.output
    assert len(shown.output.splitlines()) > 15
    table = CliRunner().invoke(app, ["promql", demo, QUERY, *times])
    assert table.exit_code == 0, table.output
    assert "service_name" in table.output
    assert "frontend" in table.output


def test_a_notebook_shows_it(demo: str, tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call] # has no types
    cells = [CELLS[0].replace("LAKE", repr(demo)), *CELLS[1:]]
    notebook.cells = [
        nbformat.v4.new_code_cell(one)  # type: ignore[no-untyped-call] # has no types
        for one in cells
    ]
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    _, table, plot, pivot = (
        [dict(one.data) for one in cell.outputs if "data" in one] for cell in notebook.cells
    )
    assert "frontend" in table[0]["text/html"]
    assert "vegaEmbed" in str(plot[0])
    assert "frontend" in pivot[0]["text/html"]
