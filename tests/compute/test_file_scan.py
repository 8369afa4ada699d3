"""Explicit lists of files, on both roads: what is read, as which types, and what is pushed down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakerunner.compute import Recast, ScanMode, Session, Table, scans
from lakerunner.compute.mended_plan import PatchedPlan, Template, read_template
from lakerunner.compute.scans import FileUnion
from lakerunner.compute.wire import message_field, text_field, write_fields

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.compute import Execution

SCHEMA = pa.schema(
    [
        ("n", pa.int64()),
        ("word", pa.string_view()),
        ("body", pa.string_view()),
        ("attr", pa.string_view()),
        ("never", pa.float64()),
    ]
)


def logs(files: tuple[str, ...], mode: ScanMode, computed: dict[str, str] | None = None) -> Table:
    """The given files; `attr` is a number in the first of the three that there are."""
    numbers = tuple(file for file in files if "file%200" in file)
    recast = (Recast(numbers, {"attr": pa.int64()}),) if numbers else ()
    texts = tuple(file for file in files if file not in numbers)
    return Table("logs", SCHEMA, texts, mode, computed or {}, recast)


def run(
    session: Session, text: str, files: tuple[str, ...], mode: ScanMode = ScanMode.SWEEP
) -> tuple[list[dict[str, Any]], Execution]:
    execution = session.plan(text, [logs(files, mode)]).execute()
    rows: list[dict[str, Any]] = execution.read_all().to_pylist()
    return rows, execution


@pytest.mark.parametrize("mode", ScanMode)
def test_exactly_the_listed_files_are_read(
    session: Session, files: tuple[str, ...], mode: ScanMode
) -> None:
    for some in (files, files[:1], files[1:], (files[2], files[0])):
        rows, _ = run(session, "SELECT count(*) AS c, sum(n) AS s FROM logs", some, mode)
        starts = [files.index(file) * 1000 for file in some]
        assert rows == [{"c": 1000 * len(some), "s": sum(sum(range(a, a + 1000)) for a in starts)}]


@pytest.mark.parametrize("mode", ScanMode)
def test_no_file_is_an_empty_table(session: Session, mode: ScanMode) -> None:
    rows, execution = run(session, "SELECT * FROM logs", (), mode)
    assert rows == []
    assert execution.schema.names == SCHEMA.names
    rows, _ = run(session, "SELECT count(*) AS c, max(n) AS m FROM logs WHERE n > 5", (), mode)
    assert rows == [{"c": 0, "m": None}]


@pytest.mark.parametrize("mode", ScanMode)
def test_files_of_other_shapes_are_read_as_the_schema_says(
    session: Session, files: tuple[str, ...], mode: ScanMode
) -> None:
    text = "SELECT n, attr, never FROM logs WHERE n % 1000 = 7 ORDER BY n"
    rows, execution = run(session, text, files, mode)
    assert rows == [
        {"n": 7, "attr": "7", "never": None},
        {"n": 1007, "attr": "v7", "never": None},
        {"n": 2007, "attr": None, "never": None},
    ]
    assert execution.schema.field("attr").type == pa.string()
    conditions = {"attr = '7'": 1, "attr = 'v7'": 1, "attr IS NULL": 1000, "never IS NULL": 3000}
    conditions |= {"attr <> '7'": 1999, "never > 0": 0}
    ones = [n for n in range(1000) if n % 7 == 3 and str(n).startswith("1")]
    conditions["word = 'w3' AND attr LIKE 'v1%'"] = len(ones)
    for condition, count in conditions.items():
        rows, _ = run(session, f"SELECT body FROM logs WHERE {condition}", files, mode)
        assert len(rows) == count, condition


@pytest.mark.parametrize("mode", ScanMode)
def test_filters_skip_row_groups_and_pages(
    session: Session, files: tuple[str, ...], mode: ScanMode
) -> None:
    text = "SELECT n, body FROM logs WHERE n BETWEEN 1100 AND 1109"
    rows, execution = run(session, text, files, mode)
    assert [row["n"] for row in rows] == list(range(1100, 1110))
    # One page of 50 rows is decoded, of 3 files with 4 row groups of 5 pages each.
    assert execution.metrics().rows == 50
    planned = session.plan(text, [logs(files, mode)]).physical_text()
    assert "pruning_predicate=" in planned
    assert ("FilterExec" in planned) is (mode is ScanMode.SWEEP)


def test_a_needle_does_not_decode_what_its_filter_rejects(
    session: Session, files: tuple[str, ...]
) -> None:
    text = "SELECT body FROM logs WHERE attr = 'v500'"
    _, needle = run(session, text, files, ScanMode.NEEDLE)
    _, sweep = run(session, text, files, ScanMode.SWEEP)
    assert needle.metrics().bytes < sweep.metrics().bytes
    assert needle.metrics().rows <= sweep.metrics().rows


def test_both_modes_live_in_one_session(session: Session, files: tuple[str, ...]) -> None:
    tables = [
        Table("logs", SCHEMA, files[1:], ScanMode.NEEDLE, {}),
        Table("spans", SCHEMA, files[1:2], ScanMode.SWEEP, {}),
    ]
    text = (
        "SELECT a.body FROM logs a JOIN spans b ON a.n = b.n WHERE a.attr = 'v5' AND b.word > 'w'"
    )
    planned = session.plan(text, tables)
    assert planned.physical_text().count("FilterExec") == 1
    assert planned.execute().read_all().to_pylist() == [{"body": "body 5"}]


@pytest.mark.parametrize("mode", ScanMode)
def test_types_meet_across_files(session: Session, tmp_path: Path, mode: ScanMode) -> None:
    values = {
        "texts": pa.array(["x", "1"]),
        "nulls": pa.array([None, "7"]),
        "integers": pa.array([1, -2]),
        "doubles": pa.array([1.5, 1e20]),
        "flags": pa.array([True, False]),
    }
    for name, column in values.items():
        pq.write_table(pa.table({"x": column}), tmp_path / name)
    files = {name: (tmp_path / name).as_uri() for name in values}
    recast = tuple(
        Recast((files[name],), {"x": values[name].type})
        for name in ("integers", "doubles", "flags")
    )
    schema = pa.schema([("x", pa.string_view())])
    table = Table("logs", schema, (files["texts"], files["nulls"]), mode, {}, recast)
    rows = session.plan("SELECT x FROM logs ORDER BY 1", [table]).execute().read_all()
    texts = ["-2", "1", "1", "1.5", "1e20", "7", "false", "true", "x", None]
    assert rows["x"].to_pylist() == texts
    assert session.plan("SELECT x FROM logs", [table]).schema.types == [pa.string()]
    numbers = (files["integers"], files["doubles"])
    doubles = Table("logs", pa.schema([("x", pa.float64())]), numbers, mode, {})
    rows = session.plan("SELECT x FROM logs WHERE x < 5 ORDER BY 1", [doubles]).execute().read_all()
    assert rows["x"].to_pylist() == [-2.0, 1.0, 1.5]


@pytest.mark.parametrize("mode", ScanMode)
def test_bounds_of_numbers_are_not_taken_for_bounds_of_text(
    session: Session, tmp_path: Path, mode: ScanMode
) -> None:
    # As numbers 96 < 100; as text '100' < '95' < '96'. What is known of a file is about numbers.
    pq.write_table(pa.table({"x": [96, 100]}), tmp_path / "numbers", write_page_index=True)
    numbers = ((tmp_path / "numbers").as_uri(),)
    schema = pa.schema([("x", pa.string_view())])
    for copies in (1, 9):
        texts = []
        for copy in range(copies):
            pq.write_table(pa.table({"x": ["95"] * 100}), tmp_path / str(copy))
            texts.append((tmp_path / str(copy)).as_uri())
        recast = (Recast(numbers, {"x": pa.int64()}),)
        table = Table("logs", schema, tuple(texts), mode, {}, recast)
        for text, expected in {
            "SELECT x FROM logs WHERE x > '95'": "96",
            "SELECT x FROM logs ORDER BY x DESC LIMIT 1": "96",
            "SELECT x FROM logs ORDER BY x LIMIT 1": "100",
            "SELECT max(x) FROM logs": "96",
            "SELECT min(x) FROM logs": "100",
        }.items():
            (row,) = session.plan(text, [table]).execute().read_all().to_pylist()
            assert list(row.values()) == [expected], text


@pytest.mark.parametrize("mode", ScanMode)
@pytest.mark.parametrize("read_as", [pa.string_view(), pa.string(), pa.float64()], ids=str)
def test_order_declared_in_footers_is_not_believed(
    session: Session, tmp_path: Path, mode: ScanMode, read_as: pa.DataType
) -> None:
    # Each file is sorted by x; together, or as text, they are not.
    files = []
    for number in range(4):
        columns = {"x": pa.array([9, 10, 11]), "n": pa.array([number] * 3)}
        if read_as != pa.float64():
            columns["x"] = pa.array(["a", "b", "c"]).dictionary_encode()
        path = tmp_path / f"{number}.parquet"
        order = [pq.SortingColumn(0, nulls_first=False)]
        pq.write_table(pa.table(columns), path, sorting_columns=order, write_page_index=True)
        files.append(path.as_uri())
    table = Table("logs", pa.schema([("x", read_as), ("n", pa.int64())]), tuple(files), mode, {})
    rows = session.plan("SELECT x, n FROM logs ORDER BY x, n", [table]).execute().read_all()
    found = list(zip(*rows.to_pydict().values(), strict=True))
    assert found == sorted(found)
    groups = "SELECT x, count(*) AS c FROM logs GROUP BY x ORDER BY x"
    counts = session.plan(groups, [table]).execute().read_all()
    assert counts["c"].to_pylist() == [4, 4, 4]


def test_integers_that_are_sorted_are_not_sorted_as_text(session: Session, tmp_path: Path) -> None:
    order = [pq.SortingColumn(0, nulls_first=False)]
    pq.write_table(pa.table({"x": [9, 10, 11]}), tmp_path / "a", sorting_columns=order)
    recast = (Recast(((tmp_path / "a").as_uri(),), {"x": pa.int64()}),)
    schema = pa.schema([("x", pa.string_view())])
    table = Table("logs", schema, (), ScanMode.SWEEP, {}, recast)
    rows = session.plan("SELECT x FROM logs ORDER BY x", [table]).execute().read_all()
    assert rows["x"].to_pylist() == ["10", "11", "9"]


def test_text_is_looked_for_among_numbers_as_a_number(
    session: Session, files: tuple[str, ...]
) -> None:
    plan = session.plan("SELECT n FROM logs WHERE attr = '7'", [logs(files, ScanMode.NEEDLE)])
    assert "predicate=attr@3 = 7" in plan.physical_text()
    assert plan.execute().read_all().to_pylist() == [{"n": 7}]


@pytest.mark.parametrize("mode", ScanMode)
def test_computed_columns_hide_those_of_the_file(
    session: Session, files: tuple[str, ...], mode: ScanMode
) -> None:
    table = logs(files, mode, {"attr": "coalesce(attr, 'none')", "twice": "n * 2"})
    planned = session.plan("SELECT attr, twice FROM logs WHERE n IN (3, 2003) ORDER BY n", [table])
    rows = planned.execute().read_all().to_pylist()
    assert rows == [{"attr": "3", "twice": 6}, {"attr": "none", "twice": 4006}]
    assert session.plan("SELECT * FROM logs", [table]).schema.names == [*SCHEMA.names, "twice"]


def test_the_union_is_taken_when_the_plan_cannot_be_patched(
    monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...]
) -> None:
    def broken(template: Template, name: str, files: object) -> bytes:
        return template.kept[:-1]

    monkeypatch.setattr("lakerunner.compute.mended_plan.patch_scan", broken)
    made = Session()
    assert isinstance(made.file_scan, FileUnion)
    assert run(made, "SELECT count(*) AS c FROM logs", files)[0] == [{"c": 3000}]
    made.close()


@pytest.mark.parametrize("wrong", ["one file", "no filter"])
def test_a_road_that_answers_wrongly_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    class Wrong(PatchedPlan):
        def frame(self, name: str, schema: Any, files: Any, mode: ScanMode) -> Any:
            if wrong == "one file":
                return super().frame(name, schema, files[:1], mode)
            rows = super().frame(name, schema, files, mode).to_arrow_table()
            return self._context.from_arrow(rows)

    monkeypatch.setattr(scans, "PatchedPlan", Wrong)
    made = Session()
    assert isinstance(made.file_scan, FileUnion)
    made.close()


def test_plans_of_another_make_are_refused() -> None:
    two = write_fields([message_field(1, []), message_field(2, [])])
    with pytest.raises(ValueError, match="too many values"):
        read_template(two)
    with pytest.raises(ValueError, match="past the end"):
        read_template(write_fields([text_field(1, "x")]))


def test_many_files_do_not_exhaust_the_planner(session: Session, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(301)]
    for number, path in enumerate(paths):
        pq.write_table(pa.table({"n": [number, number + 1]}), path)
    many = tuple(path.as_uri() for path in paths)
    rows, _ = run(session, "SELECT count(*) AS c, sum(n) AS s FROM logs WHERE n >= 300", many)
    assert rows == [{"c": 3, "s": 901}]
