"""Native histograms as Prometheus writes them in text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakerunner.query.promql.annotations import go_number
from lakerunner.query.promql.histograms import Histograms, all_buckets

if TYPE_CHECKING:
    from collections.abc import Sequence


def texts_of(source: Histograms) -> Sequence[str]:
    """Each histogram with its count, its sum and all buckets that hold anything."""
    buckets = all_buckets(source)
    ends = np.searchsorted(buckets.row, np.arange(source.size + 1))
    texts = []
    for number in range(source.size):
        parts = [
            f"count:{go_number(float(source.amount[number]))}",
            f"sum:{go_number(float(source.sum[number]))}",
        ]
        for at in range(ends[number], ends[number + 1]):
            lower, upper = float(buckets.lower[at]), float(buckets.upper[at])
            opening = "[" if lower < 0 else "("
            closing = ")" if upper < 0 else "]"
            span = f"{opening}{go_number(lower)},{go_number(upper)}{closing}"
            parts.append(f"{span}:{go_number(float(buckets.amount[at]))}")
        texts.append("{" + ", ".join(parts) + "}")
    return texts
