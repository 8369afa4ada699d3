"""The documentation is true: its examples run, and what exists is described.

A `python` fence is executed, and so is each line of a `bash` fence that starts with `lakerunner `.
The fences of one page run in order, in one namespace and one empty directory. A fence that cannot
run says why in the line above it: `<!-- no-run: needs a bucket -->`.
"""

from __future__ import annotations

import re
import shlex
import struct
import tomllib
import types
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import lakerunner
from docs_build.segment import drawn, parts_of
from docs_build.site import changes
from lakerunner import limits
from lakerunner.cli.app import app
from lakerunner.errors import ErrorCode
from lakerunner.model.signal import Signal
from lakerunner.schema.arrays import type_name
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.schema.tables import QUANTILE_TYPE, TABLE_OF

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
LANGUAGES = {"python", "bash", "text", "sql", "toml", "yaml", "json", ""}
NO_RUN = re.compile(r"<!-- no-run: (.+) -->")
NOT_RUN = [
    ("docs/guides/kafka.md", "needs a cluster"),
    ("docs/guides/scale-out.md", "needs a bucket"),
    ("docs/guides/scale-out.md", "needs a cluster"),
]
"""Every example that does not run: its page and why."""


class Fence(NamedTuple):
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    code: str
    reason: str


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page, in order; `line` is that of the opening mark."""
    found: list[Fence] = []
    opened: tuple[int, str] | None = None
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith("```"):
            continue
        if opened is None:
            opened = number, line.removeprefix("```").strip()
            continue
        start, language = opened
        code = "\n".join(lines[start : number - 1])
        reason = NO_RUN.fullmatch(lines[start - 2].strip()) if start > 1 else None
        found.append(Fence(page, start, language, code, reason[1] if reason else ""))
        opened = None
    assert opened is None, f"{page}: a fence is never closed"
    return found


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run_python(fence: Fence, namespace: dict[str, object]) -> None:
    # Blank lines in front make a traceback name the line of the page.
    code = compile("\n" * fence.line + fence.code, str(fence.page), "exec")
    exec(code, namespace)  # noqa: S102 - our own documentation


def run_commands(fence: Fence) -> None:
    for line in fence.code.replace("\\\n", " ").splitlines():
        command, *arguments = shlex.split(line, comments=True) or [""]
        if command == "lakerunner":
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == 0, f"{name_of(fence.page)}: {line}\n{done.output}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("__main__")
    for fence in fences(page):
        if fence.reason:
            continue
        if fence.language == "python":
            run_python(fence, module.__dict__)
        elif fence.language == "bash":
            run_commands(fence)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_fences_are_of_a_known_kind(page: Path) -> None:
    assert not [(f.line, f.language) for f in fences(page) if f.language not in LANGUAGES]


def test_examples_that_do_not_run_are_listed_here() -> None:
    exempt = [(name_of(f.page), f.reason) for page in PAGES for f in fences(page) if f.reason]
    assert exempt == NOT_RUN


def test_reasons_stand_right_above_a_fence() -> None:
    for page in PAGES:
        marks = [line for line in page.read_text().splitlines() if NO_RUN.fullmatch(line)]
        shown = [
            line for f in fences(page) for line in f.code.splitlines() if NO_RUN.fullmatch(line)
        ]
        assert len(marks) - len(shown) == sum(bool(fence.reason) for fence in fences(page))


def text_of(page: str) -> str:
    return (DOCS / page).read_text()


@pytest.mark.parametrize("name", lakerunner.__all__)
def test_public_names_are_documented(name: str) -> None:
    reference = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    assert re.search(
        rf"^::: lakerunner\.([\w.]+\.)?{name}$|^#+ .*`lakerunner\.{name}`", reference, re.MULTILINE
    )


@pytest.mark.parametrize("code", ErrorCode)
def test_error_codes_are_documented(code: ErrorCode) -> None:
    assert re.search(
        rf"^\| `{code}` \| `\w+Error` \|", text_of("reference/errors.md"), re.MULTILINE
    )


def test_limits_are_documented() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|", text_of("reference/limits.md"), re.MULTILINE)
    assert sorted(rows) == sorted(name for name in vars(limits) if name.isupper() and name != "MIB")


def documented_type(name: str, dtype: pa.DataType) -> str:
    if pa.types.is_list(dtype):
        of = dtype.value_type
        return f"list of {'struct' if pa.types.is_struct(of) else type_name(of)}"
    return "map" if name == OVERFLOW else type_name(dtype)


def rows_of_columns(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| `(\w+)` \| `([\w ]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("signal", Signal)
def test_columns_are_documented(signal: Signal) -> None:
    section = text_of("reference/columns.md").partition(f"## `{signal}`\n")[2].partition("\n## ")[0]
    rows = rows_of_columns(section)
    schema = TABLE_OF[signal].schema
    assert rows[: len(schema)] == [(f.name, documented_type(f.name, f.type)) for f in schema]
    structs = [f.type.value_type for f in schema if pa.types.is_list(f.type)]
    fields = [f for of in structs if pa.types.is_struct(of) for f in of if of != QUANTILE_TYPE]
    assert rows[len(schema) :] == [(f.name, type_name(f.type)) for f in fields]


def test_extras_are_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| `(\w+)` \|", text_of("guides/install.md"), re.MULTILINE)
    assert sorted(rows) == sorted(project["optional-dependencies"])


def test_ci_runs_the_second_command_of_the_readme() -> None:
    _, second, *_ = (f.code for f in fences(ROOT / "README.md") if f.language == "bash")
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == second


def test_decisions_are_listed() -> None:
    listed = re.findall(r"\]\((\d{3}-[\w-]+\.md)\)", text_of("decisions/index.md"))
    assert listed == sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))


def test_pages_are_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    loose = [page for page in pages if not page.startswith(("decisions/0", "changes/"))]
    assert not [page for page in loose if f": {page}" not in menu]


def test_changes_are_fragments() -> None:
    names = [path.name for path in (DOCS / "changes").iterdir() if path.name != "index.md"]
    pattern = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md")
    assert not [name for name in names if not pattern.fullmatch(name)]


def test_each_rule_on_deletion_names_tests_that_are_there() -> None:
    page = (ROOT / "docs" / "concepts" / "exactly-once.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    places = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "lakerunner" / "testing").glob("*.py")]
    there = {name for place in places for name in re.findall(r"def (test_\w+)", place.read_text())}
    assert named
    assert not named - there


def test_changes_are_listed_by_kind(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text("# Changes\n")
    (tmp_path / "b.added.md").write_text("Words are\nfound.\n")
    (tmp_path / "a.added.md").write_text("A bucket.\n")
    (tmp_path / "c.fixed.md").write_text("No loss.\n")
    listed = changes(tmp_path)
    assert listed == "\n## Added\n\n- A bucket.\n- Words are found.\n\n## Fixed\n\n- No loss.\n"


def test_the_picture_of_a_segment_shows_all_of_its_bytes() -> None:
    with lakerunner.open("memory://pictured") as lake:
        lake.ingest([{"message": "hello", "n": 7, "service": "shop"}])
        (segment,) = lake.segments()
        data = lake.store.get(segment.key).data
    parts = parts_of(data)
    assert [part.begin + part.size for part in parts[:-1]] == [part.begin for part in parts[1:]]
    assert (parts[0].begin, parts[-1].begin + parts[-1].size) == (4, len(data))
    assert {part.name for part in parts} >= {"body", "attr_n", "resource_service_name"}
    assert "1 logs" in drawn(parts, 1)


def test_pictures_are_shown_and_of_a_sensible_size() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    pictures = sorted((DOCS / "pictures").glob("*.png"))
    assert len(pictures) >= 6
    for path in pictures:
        data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data[1:4] == b"PNG"
        assert max(width, height) <= 1280, path
        assert len(data) <= 200_000, path
        assert f"pictures/{path.name}" in pages
