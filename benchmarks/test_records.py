"""Reading records, per core: JSON lines and CSV against the standard library's readers."""

from __future__ import annotations

import csv
import io
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.formats.records.delimited import read_delimited
from lakerunner.formats.records.json_lines import read_json_lines
from lakerunner.formats.records.json_structure import split_json
from lakerunner.formats.records.logfmt import read_logfmt
from lakerunner.formats.records.text import read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture


def records(rows: int) -> list[dict[str, Any]]:
    source = random.Random(0)
    return [
        {
            "timestamp": f"2024-01-01T00:{row // 60 % 60:02d}:{row % 60:02d}.123Z",
            "level": source.choice(["info", "warn", "error"]),
            "message": f"GET /api/v1/users/{source.randrange(10**6)} answered after a while",
            "status": source.choice([200, 404, 500]),
            "duration": source.random() * 100,
            "host": f"web-{source.randrange(20)}",
        }
        for row in range(rows)
    ]


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return records(100_000 if request.config.getoption("benchmark_enable", default=False) else 50)


def as_json_lines(rows: list[dict[str, Any]]) -> bytes:
    nested = ({**row, "context": {"user": "u1", "tags": ["a", "b"]}} for row in rows)
    return "\n".join(json.dumps(row, separators=(",", ":")) for row in nested).encode()


def as_uneven_json_lines(rows: list[dict[str, Any]]) -> bytes:
    """Every hundredth row has text where the others have a number."""
    return as_json_lines(
        [{**row, "status": "?"} if not place % 100 else row for place, row in enumerate(rows)]
    )


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def as_logfmt(rows: list[dict[str, Any]]) -> bytes:
    lines = (" ".join(f"{k}={json.dumps(v)}" for k, v in row.items()) for row in rows)
    return "\n".join(lines).encode()


def as_array(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows).encode()


def read_array(data: bytes) -> int:
    blocks = (data[at : at + 2**20] for at in range(0, len(data), 2**20))
    parts = [part.data for part in split_json(blocks, 8 * 2**20)]
    return len(read_json_lines(parts).payload)


CASES: dict[str, tuple[Callable[[list[dict[str, Any]]], bytes], Callable[[bytes], int]]] = {
    "json lines": (as_json_lines, lambda data: len(read_json_lines([data]).payload)),
    "json lines, uneven": (as_uneven_json_lines, lambda data: len(read_json_lines([data]).payload)),
    "json lines, standard library": (
        as_json_lines,
        lambda data: len([json.loads(line) for line in data.splitlines()]),
    ),
    "json array": (as_array, read_array),
    "csv": (as_csv, lambda data: len(read_delimited([data]).payload)),
    "csv, standard library": (
        as_csv,
        lambda data: len(list(csv.reader(io.StringIO(data.decode())))) - 1,
    ),
    "logfmt": (as_logfmt, lambda data: len(read_logfmt([data]).payload)),
    "text": (as_logfmt, lambda data: len(read_text([data]).payload)),
}


@pytest.mark.parametrize("name", CASES)
def test_reading(benchmark: BenchmarkFixture, rows: list[dict[str, Any]], name: str) -> None:
    write, read = CASES[name]
    data = write(rows)
    count = benchmark(read, data)
    assert count == len(rows)
    if benchmark.stats:
        benchmark.extra_info["MB/s"] = round(len(data) / benchmark.stats.stats.min / 1e6)
