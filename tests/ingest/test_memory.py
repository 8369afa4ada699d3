"""The memory of an ingesting process stays under its setting, however much there is to take."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.limits import MEMORY_BYTES, MIB

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 5000
POINTS_COPIES = 250  # of points of twenty bytes, whose rows take ten times that
COPIES = 130  # of each of two objects: 1.3 million records, 600 MB once inflated

# `ru_maxrss` is no use here: it counts what the parent held when it started the process.
PROGRAM = """
import json, sys
import lakerunner

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

peaks = []
with lakerunner.open(sys.argv[1]) as lake:
    report = lake.ingest(sys.argv[2], progress=lambda event: peaks.append(peak()))
print(json.dumps({"rows": report.rows, "peaks": peaks}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_peak_memory_reaches_a_plateau_below_the_default(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    config = TelemetryConfig(rate=1000, duration_s=10, records_per_object=RECORDS)
    for number, (_, data) in enumerate(generate_objects(config)):
        first = raw / f"logs_{number}_000.binpb.gz"
        first.write_bytes(data)
        for copy in range(1, COPIES):
            shutil.copyfile(first, raw / f"logs_{number}_{copy:03d}.binpb.gz")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "lake", raw],
        capture_output=True,
        check=True,
        text=True,
    )
    found = json.loads(done.stdout)
    peaks = found["peaks"]
    assert found["rows"] == 2 * COPIES * RECORDS
    assert len(peaks) >= 10
    assert peaks[-1] <= MEMORY_BYTES
    assert peaks[-1] <= peaks[len(peaks) // 2] + 48 * MIB, "it grows with the input"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_rows_many_times_larger_than_what_was_sent_stay_below_the_default(tmp_path: Path) -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    for number in range(20_000):
        metric.gauge.data_points.add(time_unix_nano=1767225600 * 10**9 + number, as_double=1.5)
    raw = tmp_path / "metrics_1.binpb"
    raw.write_bytes(request.SerializeToString() * POINTS_COPIES)
    assert raw.stat().st_size > 80 * MIB
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "lake", raw],
        capture_output=True,
        check=True,
        text=True,
    )
    found = json.loads(done.stdout)
    assert found["rows"] == 20_000 * POINTS_COPIES
    assert found["peaks"][-1] <= MEMORY_BYTES
