"""Importing lakerunner is cheap: nothing heavy is loaded before it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    *("pyarrow", "numpy", "pandas", "polars", "datafusion", "fsspec", "ptars", "msgspec"),
    *("google", "opentelemetry", "isal", "zstandard", "sqlite3", "typer", "rich", "plotext"),
    *("asyncio", "concurrent", "logging", "hypothesis", "pytest", "importlib.metadata"),
}


def loaded(code: str) -> set[str]:
    """Modules that a fresh interpreter holds after running the code."""
    program = f"import json, sys; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_importing_loads_nothing_heavy() -> None:
    modules = loaded("import lakerunner; dir(lakerunner)")
    assert not modules & HEAVY
    assert {name for name in modules if name.startswith("lakerunner")} == {
        "lakerunner",
        "lakerunner.errors",
        "lakerunner.printable",
    }


@pytest.mark.parametrize("name", ["Signal", "LakerunnerError", "ObjectStore", "Catalog"])
def test_contracts_load_neither_arrow_nor_a_backend(name: str) -> None:
    modules = loaded(f"import lakerunner; lakerunner.{name}")
    assert not modules & {"pyarrow", "numpy", "datafusion", "fsspec", "sqlite3"}
