"""Sums of metrics over buckets of time: from points to the finest tier, and from tier to tier.

Pure: Arrow tables in, Arrow tables out. `points` sums up what was sent, `buckets` what was summed
up before; `explicit` and `exponential` add histograms, `numbers` counters, `exact` what
PromQL needs beyond that.
"""

from __future__ import annotations

from lakerunner.tiers.buckets import roll_buckets
from lakerunner.tiers.points import Span, last_points, roll_points

__all__ = ["Span", "last_points", "roll_buckets", "roll_points"]
