"""The function `info`: labels of info series added to the series of the same target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lakerunner.query.promql.binary import _pairs, signatures
from lakerunner.query.promql.checks import matches_empty
from lakerunner.query.promql.labels import NAME, LabelColumn
from lakerunner.query.promql.syntax import Matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.query.promql.series import Vector
    from lakerunner.query.promql.syntax import Matcher

IDENTIFYING = ("instance", "job")
"""Labels that say which target a series belongs to."""


def enrich(base: Vector, info: Vector, wanted: Sequence[Matcher]) -> Vector:
    """Add labels of info series to the series of the same target, at the steps that have both.

    Args:
        base: What gets labels; a label it has already stays.
        info: What has them.
        wanted: Which labels, and which values these must have; all labels if empty. Where no info
            series has a value that is asked for, the series is left out, unless the empty value
            is good enough.
    """
    base, info = base.compact(), info.compact()
    info = info.take(np.flatnonzero(info.labels.matching(wanted)))
    match = signatures(Matching(on=True, labels=IDENTIFYING), base.labels, info.labels)
    base_row, info_row = _pairs(match.left, match.right)
    paired, its = base.take(base_row), info.take(info_row)
    labels = paired.labels
    names = {one.name for one in wanted} or set(its.labels.columns) - {NAME, *IDENTIFYING}
    for name in sorted(names & set(its.labels.columns)):
        added = its.labels.columns[name]
        mine = labels.columns.get(name)
        texts = its.labels.texts(name)
        if mine is not None:
            texts = pa.compute.coalesce(mine.texts(), texts)
        elif not added.codes.any():
            continue
        labels = labels.replace(name, LabelColumn.from_texts(texts))
    joined = paired._replace(labels=labels, present=paired.present & its.present)
    there = np.zeros(base.present.shape, dtype=bool)
    np.logical_or.at(there, base_row, joined.present)
    if all(map(matches_empty, wanted)):
        joined = joined.concat(base._replace(present=base.present & ~there))
    return joined.compact()
