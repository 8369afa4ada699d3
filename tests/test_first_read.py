"""What many threads read at once, and nobody has read before: msgspec crashes over such types."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lakerunner

ROUNDS = """
import gc, importlib, sys, threading
from concurrent.futures import ThreadPoolExecutor

import {module} as module

gc.set_threshold(1)
sys.setswitchinterval(1e-6)
for _ in range(30):
    importlib.reload(module)
    start = threading.Barrier(8)

    def read(_):
        start.wait()
        return {call}

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(read, range(8)))) == 8
"""

CALLS = {
    "lakerunner.catalog.bucket.records": (
        "module.decode(module.encode(module.Entry(2, 'a', '', 1, ())), module.ENTRY, 'key')"
    ),
    "lakerunner.model.config": "module.read_config({'workers': 2})",
    "lakerunner.model.profile": (
        "module.read_profiles('- organization_id: a\\n  bucket: b\\n  cloud_provider: gcp')"
    ),
    "lakerunner.intake.settings": "module.read_writer_settings({'acknowledge': 'logged'})",
}


@pytest.mark.parametrize("module", CALLS)
def test_the_first_to_read_may_be_many(module: str) -> None:
    """A type that is looked at by several threads at once ends the process: msgspec crashes."""
    found = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c",
         ROUNDS.format(module=module, call=CALLS[module])],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


def names(tree: ast.AST) -> set[str]:
    """All names that occur."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_every_type_that_is_read_is_looked_at_when_its_module_is_imported() -> None:
    """Whatever `convert` or `decode` is told to make has a decoder at the top of some module."""
    read: dict[str, str] = {}
    looked_at: set[str] = set()
    structs: set[str] = set()
    for path in Path(lakerunner.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for top in tree.body:
            if isinstance(top, ast.ClassDef) and "Struct" in ast.unparse(ast.List(top.bases)):
                structs.add(top.name)
            if isinstance(top, ast.Assign | ast.Expr) and "Decoder(" in ast.unparse(top):
                looked_at |= names(top)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            wanted = node.args[1:2] if called == "convert" else []
            wanted += [each.value for each in node.keywords if each.arg == "type"]
            if called in {"convert", "decode"}:
                read |= {
                    name: f"{path.name}:{node.lineno}" for each in wanted for name in names(each)
                }
    found = {name: place for name, place in read.items() if name in structs}
    assert len(found) > 10
    assert not {name: place for name, place in found.items() if name not in looked_at}
