"""Records adopted as rows, in a few words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.formats.records.adopt import signal_of
from lakerunner.formats.records.json_lines import read_json_lines
from lakerunner.formats.table import FORMATS
from lakerunner.model.profile import read_mapping
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

FALLBACK_NS = 1_700_000_000_000_000_000

Rows = list[dict[str, Any]]


@pytest.fixture
def rows_of() -> Callable[..., Rows]:
    """Adopt JSON objects, and give the columns that have a value."""

    def rows_of(*objects: object, signal: str | None = None, **mapping: Any) -> Rows:
        payload = "\n".join(json.dumps(item) for item in objects).encode()
        said = read_mapping(mapping) if mapping else None
        records = read_json_lines([payload])
        told = Signal(signal) if signal else signal_of(records.table, said) or Signal.LOGS
        chosen = FORMATS["json"] if said is None else FORMATS["json"].mapped(said)
        table = chosen.decode([payload], told, [FALLBACK_NS]).table
        return [
            {name: value for name, value in row.items() if value is not None}
            for row in table.to_pylist()
        ]

    return rows_of
