"""What the tests of fingerprints share: the answer for one body, and bodies to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from lakerunner.schema.fingerprints import log_fingerprints

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def template() -> Callable[[str], str]:
    """The template of one body, by itself."""

    def of(body: str) -> str:
        text: str = log_fingerprints(pa.array([body])).template.to_pylist()[0]
        return text

    return of
