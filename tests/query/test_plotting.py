"""What of an answer is drawn, and that a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbclient
import nbformat
import pyarrow as pa
import pytest

import lakerunner
from lakerunner.errors import ConfigurationError
from lakerunner.query.explanation import QueryStats
from lakerunner.query.plotting import picture_of
from lakerunner.query.result import TableResult

if TYPE_CHECKING:
    from pathlib import Path

TIMES = pa.array([120, 60, 0], pa.timestamp("s", "UTC"))


def test_texts_tell_series_apart_over_time() -> None:
    table = pa.table(
        {"job": ["a", "b", "a"], "zone": ["x", None, "x"], "timestamp": TIMES, "value": [1, 2, 3]}
    )
    picture = picture_of(table)
    assert (picture.x, picture.y, picture.note) == ("timestamp", "value", "")
    assert picture.rows["series"].to_pylist() == ["job=a zone=x", "job=a zone=x", "job=b"]
    assert picture.rows["y"].to_pylist() == [3.0, 1.0, 2.0]


def test_columns_of_numbers_are_series_where_no_text_is() -> None:
    table = pa.table({"t": TIMES, "n": [1, 2, 3], "m": [4.0, 5.0, float("nan")]})
    picture = picture_of(table)
    assert (picture.x, picture.y) == ("t", "value")
    assert picture.rows["series"].to_pylist() == ["m", "m", "n", "n", "n"]
    assert picture_of(table, y="m").rows["y"].to_pylist() == [5.0, 4.0]


def test_without_times_there_are_bars() -> None:
    picture = picture_of(pa.table({"rows": [7, 5], "level": ["INFO", "\x1b[31m"]}))
    assert (picture.x, picture.y) == ("level", "rows")
    assert picture.rows["x"].to_pylist() == ["INFO", "\\x1b[31m"]


def test_texts_along_and_upwards_make_a_heat_map(tmp_path: Path) -> None:
    table = pa.table({"job": ["a", "b"], "level": ["INFO", None], "t": TIMES[:2], "n": [7, 5]})
    picture = picture_of(table.drop(["t"]))
    assert (picture.x, picture.y, picture.up) == ("job", "n", "level")
    assert picture.rows["series"].to_pylist() == ["INFO", ""]
    over_time = picture_of(table, y="job")
    assert (over_time.x, over_time.y, over_time.up) == ("t", "n", "job")
    assert picture_of(table).up == ""  # lines, where there is a time
    for shown in (table.drop(["t"]), table):
        chart = TableResult(shown, QueryStats()).plot(y="level")
        assert chart.to_dict()["mark"]["type"] == "rect"
        chart.save(str(tmp_path / "heat.png"))
        assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_too_much_to_see_is_left_out_and_said() -> None:
    series = [f"s{n:03d}" for n in range(50) for _ in range(200)]
    times = pa.array([at for _ in range(50) for at in range(200)], pa.timestamp("s", "UTC"))
    values = [float(n) for n in range(50) for _ in range(200)]
    picture = picture_of(pa.table({"s": series, "t": times, "v": values}))
    assert picture.note == "the largest 20 of 50 series"
    assert set(picture.rows["series"].to_pylist()) == {f"s{n:03d}" for n in range(30, 50)}
    few = picture_of(pa.table({"t": times, "v": values}))
    assert few.rows.num_rows <= 5_000
    assert few.note == "one row in 3"


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["t"], {}, "plot needs a column of numbers"),
        (["n"], {}, "one of times or texts"),
        (["t", "n"], {"y": "m"}, "no column 'm'"),
        (["t", "n"], {"x": "n", "y": "n"}, "plot needs"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    names: list[str], given: dict[str, str], message: str
) -> None:
    table = pa.table({"t": TIMES, "n": [1, 2, 3]}).select(names)
    with pytest.raises(ConfigurationError, match=message):
        picture_of(table, **given)


QUESTION = """
import lakerunner
lake = lakerunner.open({path!r})
lake.promql("sum by (x) (rate(m_total[2m]))", start=60, end=180, step=60).plot()
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the packages around the kernel
def test_a_notebook_shows_the_picture(tmp_path: Path) -> None:
    path = str(tmp_path / "lake")
    points: dict[str, Any] = {
        "metric_name": ["m"] * 8,
        "metric_type": ["sum"] * 8,
        "is_monotonic": [True] * 8,
        "temporality": ["cumulative"] * 8,
        "timestamp": pa.array([0, 60, 120, 180] * 2, pa.timestamp("s", "UTC")),
        "value": [0.0, 6.0, 18.0, 24.0, 0.0, 1.0, 2.0, 3.0],
        "attributes": pa.array(
            [[("x", x)] for x in "ab" for _ in range(4)], pa.map_(pa.string(), pa.string())
        ),
    }
    with lakerunner.open(path) as lake:
        lake.ingest(pa.table(points), signal="metrics")
        chart = lake.sql("SELECT timestamp, value, attr_x FROM metrics").plot().to_dict()
    assert chart["mark"]["type"] == "line"
    (data,) = chart["datasets"].values()
    assert {row["series"] for row in data} == {"a", "b"}
    bars = TableResult(pa.table({"level": ["INFO"], "rows": [7]}), QueryStats()).plot().to_dict()
    assert (bars["mark"]["type"], bars["encoding"]["color"]) == ("bar", {"value": "#4c78a8"})
    make: Any = nbformat.v4  # its functions have no types
    notebook = make.new_notebook(cells=[make.new_code_cell(QUESTION.format(path=path))])
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    (shown,) = notebook.cells[0].outputs
    assert shown.output_type == "execute_result"
    assert "vega" in shown.data["text/html"]
    assert '"series": "b"' in shown.data["text/html"]
