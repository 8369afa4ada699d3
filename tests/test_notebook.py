"""The notebook of the documentation runs from its first cell to its last, and draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbclient import NotebookClient

from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "notebooks" / "bucket-to-plot.ipynb"
LINES = 10
"""Lines of code that may lie between the bucket and the plot."""


def test_the_notebook_goes_from_a_bucket_to_a_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TelemetryConfig(signals=tuple(Signal), rate=20, duration_s=120)
    for key, data in generate_objects(config):
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    monkeypatch.setenv("BUCKET", str(tmp_path))
    notebook = nbformat.read(PAGE, as_version=4)  # type: ignore[no-untyped-call] # has no types
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [dict(output.data) for cell in cells for output in cell.outputs if "data" in output]
    plots = [one for one in shown if "vegaEmbed" in str(one)]
    assert len(plots) == 2
    assert any('"rect"' in str(one) for one in plots)  # the heat map
    tables = [one["text/html"] for one in shown if "text/html" in one]
    assert any("checkout" in one and "<small>" in one for one in tables)
    assert any("background:" in one for one in tables)  # the waterfall
    drawn = next(n for n, cell in enumerate(cells) if "plot()" in cell.source)
    lines = [line for cell in cells[: drawn + 1] for line in cell.source.splitlines() if line]
    assert len(lines) <= LINES
