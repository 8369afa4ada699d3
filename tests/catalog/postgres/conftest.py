"""The PostgreSQL server of the session, and a schema of its own for each test."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lakerunner.testing.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def server(postgres_server: PostgresServer) -> PostgresServer:
    return postgres_server


@pytest.fixture
def url_of(server: PostgresServer) -> Callable[[Path], str]:
    """The URL of a catalog in a schema that belongs to a directory."""

    def url(place: Path) -> str:
        digest = blake2b(str(place).encode(), digest_size=8).hexdigest()
        return f"{server.url()}?schema=place_{digest}"

    return url


@pytest.fixture
def url(tmp_path: Path, url_of: Callable[[Path], str]) -> str:
    return url_of(tmp_path)
