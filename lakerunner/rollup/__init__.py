"""`Rollup`: sums of metrics over buckets of time, tier by tier, kept true as points come and go.

`worker` finds out what is to be done, `making` does one window, `material` reads what it is made
of as a query would. Which windows and how is decided by `lakerunner.policies.rollup`, the sums are
those of `lakerunner.tiers`.
"""

from __future__ import annotations

from lakerunner.rollup.worker import Rollup

__all__ = ["Rollup"]
