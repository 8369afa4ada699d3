"""Settings, services and fixtures that every test may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, settings

from lakerunner.catalog.memory import _SHARED
from lakerunner.testing.matrix import MatrixPlugin
from lakerunner.testing.servers import Service, fake_gcs, moto, seaweedfs
from lakerunner.testing.servers.postgres import PostgresServer, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
TELEMETRY = ROOT.parent / "shared" / "data"

# Files, SQLite and DataFusion make single examples slow now and then: no deadline anywhere.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# The same commit gives the same answer: new examples are looked for at night, not in a review.
settings.register_profile(
    "ci", settings.get_profile("default"), max_examples=60, derandomize=True, database=None
)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=2000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


# The client of Spark takes a process whose main module has no file for its own doctests, and those
# of pytest-xdist have none.
vars(sys.modules["__main__"]).setdefault("__file__", __file__)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance-matrix",
        metavar="FILE",
        help="write which adapter passed which suite, as Markdown",
    )


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("conformance_matrix")
    if file:
        config.pluginmanager.register(MatrixPlugin(Path(file)), "conformance-matrix")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: two processes must call a test the same."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def telemetry() -> Path:
    """The directory of captured telemetry; it lies beside the checkout, not in it."""
    if not TELEMETRY.is_dir():
        pytest.skip(f"no captured telemetry at {TELEMETRY}")
    return TELEMETRY


@pytest.fixture(autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    """What a test puts into `memory://` goes with it; what wider fixtures put there stays.

    That filesystem is one for the whole process and a listing looks at all of it: with the objects
    of thousands of earlier tests in it, those that list often would take minutes.
    """
    files = MemoryFileSystem.store
    before = files.copy().keys()
    yield
    for path in files.copy().keys() - before:
        files.pop(path, None)


@pytest.fixture(autouse=True, scope="module")
def empty_memory() -> Iterator[None]:
    """Leave nothing in the memory of the process: every listing looks at all of it."""
    yield
    MemoryFileSystem.store.clear()
    _SHARED.clear()


# -- services: each is started once a session, by the first test that needs it, and always stopped


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Service]:
    """SeaweedFS, with a bucket `lake`."""
    with seaweedfs() as service:
        yield service


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[Service]:
    """moto, with a bucket `lake`."""
    with moto() as service:
        yield service


@pytest.fixture(scope="session")
def google() -> Iterator[Service]:
    """fake-gcs-server, with a bucket `lake`."""
    with fake_gcs() as service:
        yield service


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL, empty."""
    with postgres() as server:
        yield server
