"""From rows to a commit: what every worker that adds segments to a lake goes through.

`writing` makes segments of sorted rows, whole or in a stream, and puts them; `committing` makes
them visible at once, or deletes them again. Nothing here knows where rows came from.
"""

from __future__ import annotations

from lakerunner.publish.committing import publish_commit, send_commit
from lakerunner.publish.writing import (
    MadeSegment,
    Origin,
    SegmentStream,
    SegmentWriter,
    make_segments,
)

__all__ = [
    "MadeSegment",
    "Origin",
    "SegmentStream",
    "SegmentWriter",
    "make_segments",
    "publish_commit",
    "send_commit",
]
