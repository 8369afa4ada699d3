"""Questions and answers: `QueryEngine` takes SQL text and gives a `Result`.

Text is read by a front end, planned by DataFusion without any file, pruned by the predicates found
in that plan, and planned again over the files that are left.
"""

from __future__ import annotations

from lakerunner.query.engine import QueryEngine
from lakerunner.query.explanation import Explanation, QueryStats, SegmentVerdict
from lakerunner.query.result import Result

__all__ = ["Explanation", "QueryEngine", "QueryStats", "Result", "SegmentVerdict"]
