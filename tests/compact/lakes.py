"""A lake that tells its rows, every column of them, and rows that are odd in many ways."""

from __future__ import annotations

import json
from copy import copy
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hypothesis import strategies as st

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.model.config import Config
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

CONFIG = Config(backoff_seconds=0.001)
START_S = 1_767_225_600

Row = dict[str, Any]

VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.sampled_from(["", "5", "true", "é\U0001f600", "NaN", "x" * 300]),
    st.just([1, "a"]),
)
KEYS = st.sampled_from(["a", "a.b", "a_b", "A-B", "n", "user.id", "service.name"])
ROWS = st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=6)


class Rows:
    """A lake in memory; each row it takes has a number of its own."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.store = open_store(f"memory://{uuid4().hex}/lake")
        self.lake = lakerunner.Lake(self.store, MemoryCatalog(), config=config)
        self.taken = 0

    def with_settings(self, config: Config) -> Rows:
        """The same lake with other settings."""
        view = copy(self)
        view.lake = lakerunner.Lake(self.store, self.lake.catalog, config=config)
        return view

    def take(self, *rows: Mapping[str, Any], second: int = 0, level: str = "INFO") -> None:
        """One segment of some rows."""
        lines = []
        for row in rows:
            self.taken += 1
            told = {"time": START_S + second + self.taken % 7, "level": level, **row}
            lines.append(json.dumps({**told, "message": f"row {self.taken}"}))
        self.lake.ingest("\n".join(lines).encode(), format="json", signal="logs")

    def all(self, lake: lakerunner.Lake | None = None) -> pa.Table:
        """Every row and column as SQL tells them, by number."""
        found = (lake or self.lake).sql("SELECT * FROM logs ORDER BY body").to_arrow()
        return found.select(sorted(found.schema.names))

    @property
    def segments(self) -> int:
        return len(self.lake.segments())


def told(table: pa.Table, names: Sequence[str]) -> list[Any]:
    """Rows as text, so that NaN equals itself; only some columns."""
    kept = {name: table[name].to_pylist() for name in names if name in table.schema.names}
    return [repr([(name, kept[name][row]) for name in kept]) for row in range(table.num_rows)]
