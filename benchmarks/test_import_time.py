"""How long `import lakerunner` takes in a fresh interpreter; the budget is 150 ms."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

BUDGET_SECONDS = 0.150
PROGRAM = """
import time
start = time.perf_counter()
import lakerunner
print(time.perf_counter() - start)
"""


def import_once() -> float:
    """Seconds of the import alone, without the start of the interpreter."""
    command = [sys.executable, "-I", "-c", PROGRAM]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_import_time(benchmark: BenchmarkFixture) -> None:
    seconds = [import_once() for _ in range(5)]
    benchmark.extra_info["import_ms"] = round(min(seconds) * 1000, 1)
    benchmark(import_once)
    assert min(seconds) < BUDGET_SECONDS
