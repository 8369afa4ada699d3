"""SQL functions over quantile sketches: made of numbers, merged, and asked.

They are the sketches of the rollups (`lakerunner.schema.sketch`), so those of a tier and of raw
values can be merged with each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datafusion import Accumulator, udaf, udf

from lakerunner.schema.sketch import (
    Sketches,
    merge_sketches,
    quantiles,
    read_sketches,
    sketch_values,
)
from lakerunner.schema.tables import SKETCH_TYPE

if TYPE_CHECKING:
    from datafusion import AggregateUDF, ScalarUDF

_STATE = [field.type for field in SKETCH_TYPE]


def sketch_functions() -> list[ScalarUDF]:
    """The functions of single values, to be registered with a session."""
    kinds = [pa.float64(), SKETCH_TYPE]
    return [udf(_quantile, kinds, pa.float64(), "immutable", "sketch_quantile")]


def sketch_aggregates() -> list[AggregateUDF]:
    """The aggregates, likewise."""
    return [
        udaf(Sketched, [pa.float64()], SKETCH_TYPE, _STATE, "immutable", "sketch"),
        udaf(Merged, [SKETCH_TYPE], SKETCH_TYPE, _STATE, "immutable", "merge_sketches"),
    ]


def _quantile(shares: Any, sketches: Any) -> Any:
    """One quantile of each sketch; NULL for an empty one, and for a share outside of 0 to 1."""
    wanted = pc.fill_null(shares, np.nan).to_numpy(zero_copy_only=False)
    read = read_sketches(sketches)
    found = np.full(len(wanted), np.nan)
    for share in np.unique(wanted[(wanted >= 0) & (wanted <= 1)]):  # nearly always one
        rows = wanted == share
        found[rows] = quantiles(read, [float(share)])[rows, 0]
    return pa.array(found, pa.float64(), from_pandas=True)


class Merged(Accumulator):
    """Merges sketches; nothing is lost, whatever the order."""

    def __init__(self) -> None:
        none = np.zeros(0, np.int64)
        self._held = Sketches(np.zeros(2, np.int64), none, none)

    def update(self, *values: Any) -> None:
        """Merge the sketches of a batch."""
        self._merge(read_sketches(values[0]))

    def merge(self, states: list[Any]) -> None:
        """Merge what other accumulators have."""
        bins, counts = states
        self._merge(
            read_sketches(pa.StructArray.from_arrays([bins, counts], fields=[*SKETCH_TYPE]))
        )

    def _merge(self, more: Sketches) -> None:
        held = self._held
        both = Sketches(
            np.concatenate([held.offsets, held.offsets[-1] + more.offsets[1:]]),
            np.concatenate([held.bins, more.bins]),
            np.concatenate([held.counts, more.counts]),
        )
        self._held = merge_sketches(both, np.zeros(len(both.offsets) - 1, np.int64), 1)

    def state(self) -> list[Any]:
        """The bins and their counts."""
        return [
            pa.scalar(self._held.bins.tolist(), _STATE[0]),
            pa.scalar(self._held.counts.tolist(), _STATE[1]),
        ]

    def evaluate(self) -> Any:
        """The sketch; one of nothing has no bins."""
        bins, counts = (field.name for field in SKETCH_TYPE)
        held = {bins: self._held.bins.tolist(), counts: self._held.counts.tolist()}
        return pa.scalar(held, SKETCH_TYPE)


class Sketched(Merged):
    """Makes a sketch of numbers; NULL and NaN are left out."""

    def update(self, *values: Any) -> None:
        """See the numbers of a batch."""
        numbers = values[0].drop_null().to_numpy(zero_copy_only=False)
        self._merge(sketch_values(numbers, np.zeros(len(numbers), np.int64), 1))
