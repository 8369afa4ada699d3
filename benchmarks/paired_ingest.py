"""Ingestion of two versions of lakerunner in one run, in turns, by the processor time of each.

`python benchmarks/paired_ingest.py OTHER` writes a table, where OTHER is a worktree of another
version. Each turn is a process of its own, which takes all of the input twice and counts the
second time: everything is loaded by then. The least of all turns counts, as whatever else a machine
does only adds to it.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lakerunner.generate import TelemetryConfig, logs_request, telemetry_objects
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

TURNS = 3
LOG_OBJECTS, LOG_RECORDS = 30, 5000

PROGRAM = """
import sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
import lakerunner
for _ in range(2):
    with TemporaryDirectory() as folder, lakerunner.open(folder + "/lake") as lake:
        begun = time.process_time()
        rows = lake.ingest(Path(sys.argv[1])).rows
        spent = time.process_time() - begun
print(spent / rows)
"""


def inputs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Folders of raw objects, by what is in them."""
    logs = folder / "logs"
    logs.mkdir()
    for number in range(LOG_OBJECTS):
        data = gzip.compress(logs_request(LOG_RECORDS, seed=number), 6)
        (logs / f"logs_{number:03d}.binpb.gz").write_bytes(data)
    yield "gzipped OTLP logs", logs
    for signal, name in ((Signal.SPANS, "spans"), (Signal.METRICS, "metric points")):
        place = folder / name
        place.mkdir()
        config = TelemetryConfig(signal=signal, rate=500, duration_s=200, series=4000)
        for number, one in enumerate(telemetry_objects(config)):
            (place / f"{signal}_{number:03d}.binpb.gz").write_bytes(one.data)
        yield f"gzipped OTLP {name}", place
    lines = folder / "lines"
    lines.mkdir()
    for number in range(6):
        records = (
            {
                "time": f"2026-01-01T00:{n % 60:02d}:00Z",
                "level": "info",
                "user": f"u{n * 7919 % 997}",
            }
            | {"message": f"order {n} of {number} placed in {n % 91} ms", "took": n % 91}
            for n in range(20_000)
        )
        text = "\n".join(map(json.dumps, records))
        (lines / f"app_{number}.ndjson").write_text(text)
    yield "JSON lines", lines


def spent(tree: Path, folder: Path) -> float:
    """Seconds of processor time for a row."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder],
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        check=True,
        text=True,
    )
    return float(done.stdout)


def main(other: Path) -> None:
    """Print the table."""
    mine = Path(__file__).resolve().parent.parent
    sys.stdout.write("| input | before, rows/s | now, rows/s | times |\n|---|---:|---:|---:|\n")
    with TemporaryDirectory() as folder:
        for name, place in inputs(Path(folder)):
            turns = [(spent(other, place), spent(mine, place)) for _ in range(TURNS)]
            before, now = (1 / min(times) for times in zip(*turns, strict=True))
            sys.stdout.write(f"| {name} | {before:,.0f} | {now:,.0f} | {now / before:.2f} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
