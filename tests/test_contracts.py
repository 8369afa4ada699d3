"""Proof that each contract of importlinter.ini catches what it forbids."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# One forbidden import a contract at least: (contract, module that gets it, the import).
PLANTED = [
    ("Data flows one way", "lakerunner.model.planted", "lakerunner.query"),
    ("Data flows one way", "lakerunner.errors", "lakerunner.limits"),
    ("Data flows one way", "lakerunner.store.planted", "lakerunner.catalog"),
    ("Data flows one way", "lakerunner.events.planted", "lakerunner.catalog"),
    ("Data flows one way", "lakerunner.ingest.planted", "lakerunner.lake"),
    (
        QUERY := "Query: language, query, plan, engine",
        "lakerunner.query.prune",
        "lakerunner.query.plan",
    ),
    (QUERY, "lakerunner.query.plan", "lakerunner.query.engine"),
    (QUERY, "lakerunner.query.plan", "lakerunner.query.sql"),
    (QUERY, "lakerunner.query.scan", "lakerunner.query.sql"),
    ("SQL: a text, edits, a query", "lakerunner.query.sql.tokens", "lakerunner.query.sql.query"),
    (
        "Adapters are reached through the registry only",
        "lakerunner.lake",
        "lakerunner.store.local",
    ),
    (
        "Adapters are reached through the registry only",
        "lakerunner.lake",
        "lakerunner.catalog.sqlite",
    ),
    (
        "Adapters are reached through the registry only",
        "lakerunner.query.engine",
        "lakerunner.catalog.bucket",
    ),
    (
        "Adapters are reached through the registry only",
        "lakerunner.ingest",
        "lakerunner.events.sqs",
    ),
    ("Raw formats are decoded by ingest alone", "lakerunner.lake", "lakerunner.formats"),
    ("compute is the one door to DataFusion", "lakerunner.query.planted", "datafusion"),
    ("Storage and database clients live in their adapter", "lakerunner.ingest.planted", "s3fs"),
    ("Storage and database clients live in their adapter", "lakerunner.events.base", "botocore"),
    ("Storage and database clients live in their adapter", "lakerunner.catalog.base", "sqlite3"),
    ("Storage and database clients live in their adapter", "lakerunner.catalog.leases", "psycopg"),
    ("Storage and database clients live in their adapter", "lakerunner.lake", "fsspec"),
    (PURE_CODE := "Pure code does no I/O", "lakerunner.policies.planted", "time"),
    (PURE_CODE, "lakerunner.segments.planted", "threading"),
    (PURE_CODE, "lakerunner.formats.planted", "os"),
    (PURE_CODE, "lakerunner.schema.planted", "logging"),
    (PURE_CODE, "lakerunner.model.planted", "random"),
    (PURE_CODE, "lakerunner.query.prune", "lakerunner.store"),
]


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; from importlinter.cli import lint_imports_command as run; run()"
    config = ROOT / "importlinter.ini"
    return subprocess.run(
        [sys.executable, "-c", command, "--config", config, "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("planted")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lakerunner", tree / "lakerunner", ignore=ignore)
    return tree


@pytest.fixture(scope="module")
def broken(copy: Path) -> dict[str, str]:
    """What import-linter says of each contract when every import in PLANTED is there at once."""
    assert lint_imports(copy).returncode == 0
    for _, module, imported in PLANTED:
        file = copy.joinpath(*module.split(".")).with_suffix(".py")
        package = file.with_suffix("") / "__init__.py"
        with (package if package.exists() else file).open("a") as out:
            out.write(f"\nimport {imported}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stderr
    report = result.stdout[result.stdout.index("Broken contracts") :]
    parts = re.split(r"^(.+)\n-+\n", report, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize(("contract", "module", "imported"), PLANTED)
def test_contracts_catch(broken: dict[str, str], contract: str, module: str, imported: str) -> None:
    (report,) = [text for name, text in broken.items() if name.startswith(contract)]
    assert re.search(rf"{module}\S* -> {imported} ", report), report


def test_contracts_catch_a_module_that_no_layer_names(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tree = tmp_path_factory.mktemp("unlisted")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lakerunner", tree / "lakerunner", ignore=ignore)
    (tree / "lakerunner" / "helpers.py").touch()
    result = lint_imports(tree)
    assert result.returncode == 1
    assert "lakerunner.helpers" in result.stdout


def test_every_contract_is_planted() -> None:
    config = (ROOT / "importlinter.ini").read_text()
    names = re.findall(r"^name = (.+)$", config, re.MULTILINE)
    assert all(any(name.startswith(planted) for planted, _, _ in PLANTED) for name in names)
