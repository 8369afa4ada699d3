"""The rules of the house that neither import-linter nor ruff can state."""

from __future__ import annotations

import ast
import configparser
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "lakerunner").rglob("*.py"))
OTHERS = [
    path for name in ("tests", "benchmarks", "docs_build") for path in (ROOT / name).rglob("*.py")
]
EVERYTHING = [*LIBRARY, *sorted(OTHERS), ROOT / "noxfile.py"]

MODULE_LINES, FUNCTION_LINES, INIT_LINES = 500, 60, 60
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base_utils"}
PURE = ("model", "schema", "formats", "segments", "policies", "query/prune.py", "query/prune/")
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"}

LAZY_INITS = {
    "lakerunner/__init__.py": "importing it must stay cheap; PEP 562 needs `__getattr__` there",
    "lakerunner/gateway/__init__.py": "it needs an extra, and says which if that is missing",
    "lakerunner/testing/__init__.py": "it names suites that need an extra, which may be missing",
}
"""The only `__init__.py` files with code, and why."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_modules_and_functions_stay_small() -> None:
    long = [
        f"{name_of(path)}: {lines} lines"
        for path in EVERYTHING
        if (lines := len(path.read_text().splitlines())) > MODULE_LINES
    ]
    long += [
        f"{name_of(path)}:{node.lineno} {node.name}: {lines} lines"
        for path in EVERYTHING
        for node in functions(path)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert not long


def test_names_say_what_lives_there() -> None:
    assert not [name_of(p) for p in EVERYTHING if EMPTY_NAMES & {p.stem, p.parent.name}]


def only_names(node: ast.stmt) -> bool:
    """Whether a statement is a docstring, an import, `__all__`, or imports for type checkers."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=[]):
            return all(map(only_names, body))
    return False


def test_init_files_hold_names_only() -> None:
    wrong = []
    for path in LIBRARY:
        if path.name != "__init__.py" or name_of(path) in LAZY_INITS:
            continue
        if len(path.read_text().splitlines()) > INIT_LINES:
            wrong.append(f"{name_of(path)}: longer than {INIT_LINES} lines")
        wrong += [f"{name_of(path)}:{n.lineno}" for n in tree_of(path).body if not only_names(n)]
    assert not wrong


def test_every_module_is_in_a_package() -> None:
    assert not [name_of(p) for p in LIBRARY if not (p.parent / "__init__.py").exists()]


def test_pure_code_reads_no_clock() -> None:
    calls = [
        f"{name_of(path)}:{node.lineno}: {ast.unparse(node.func)}()"
        for path in LIBRARY
        if path.relative_to(ROOT / "lakerunner").as_posix().startswith(PURE)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCKS
        and ast.unparse(node.func.value).split(".")[-1] in {"datetime", "date", "time"}
    ]
    assert not calls


def test_only_the_command_line_prints() -> None:
    calls = [
        f"{name_of(path)}:{node.lineno}"
        for path in LIBRARY
        if not path.is_relative_to(ROOT / "lakerunner" / "cli")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not calls


def undocumented(path: Path) -> Iterator[str]:
    tree = tree_of(path)
    if not ast.get_docstring(tree):
        yield f"{name_of(path)}: the module"
    holders: list[ast.Module | ast.ClassDef] = [tree]
    holders += [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    for holder in holders:
        # A method that overrides or implements another carries that one's contract.
        inherits = isinstance(holder, ast.ClassDef) and bool(holder.bases)
        for node in holder.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                exempt = inherits
            elif isinstance(node, ast.ClassDef):
                exempt = False
            else:
                continue
            if node.name[0] != "_" and not exempt and not ast.get_docstring(node):
                yield f"{name_of(path)}:{node.lineno}: {node.name}"


def test_public_names_have_docstrings() -> None:
    assert not [line for path in LIBRARY for line in undocumented(path)]


def test_the_documented_layers_are_those_that_are_checked() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / "importlinter.ini")
    layers = rules["importlinter:contract:layers"]["layers"].split("\n")[1:]
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert "\n".join(["```text", *layers, "```"]) in page
    for part in " | ".join(layers).split(" | "):
        assert f"\n| `{part}` |" in page, f"{part} is in no row of the table"
