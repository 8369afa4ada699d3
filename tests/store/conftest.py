"""Storage services, each started once a session and always stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lakerunner.testing.servers import Service, fake_gcs, moto, seaweedfs

if TYPE_CHECKING:
    from collections.abc import Iterator


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
