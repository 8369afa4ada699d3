"""A small lake, and a way to give commands."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Protocol

import pytest
from typer.testing import CliRunner, Result

from lakerunner.cli.app import app
from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from pathlib import Path

START_NS = 1_767_225_600 * NANOS  # 2026-01-01
RECORDS = 12_000


class Run(Protocol):
    """Gives a command to the command line."""

    def __call__(self, *arguments: object, code: int = 0) -> Result:
        """Run it and insist on its exit code."""


def run_command(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(name="run")
def provide_run() -> Run:
    return run_command


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty minutes of telemetry across an hour's end, and two objects that cannot be taken."""
    root = tmp_path_factory.mktemp("bucket")
    config = TelemetryConfig(
        rate=10,
        duration_s=RECORDS / 10,
        start_ns=START_NS + 50 * 60 * NANOS,
        records_per_object=1000,
    )
    for key, data in generate_objects(config):
        path = root / "good" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    bad = root / "bad"
    bad.mkdir()
    (bad / "cut.binpb.gz").write_bytes(gzip.compress(b"abc" * 99)[:-4])
    (bad / "noise.binpb").write_bytes(b"\xff\xfe\xfd" * 40)
    return root


@pytest.fixture(scope="session")
def lake(bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the good part of the bucket in it."""
    root = tmp_path_factory.mktemp("lake") / "lake"
    run_command("ingest", root, f"{bucket / 'good'}/")
    return root
