"""A petabyte a day on paper: the real policies over arrival that is made up, and what it costs.

`python benchmarks/petabyte.py` prints the tables of docs/guides/scale-out.md. What is simulated is
one organization's hour, by `policies.compaction` as it runs in production; the rest is arithmetic
over it and over figures that other benchmarks measured, which stand below.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from lakerunner.limits import MIB
from lakerunner.model.segment import ColumnStats, Segment, encode_segment
from lakerunner.policies.compaction import CompactionSettings, plan_merges
from lakerunner.testing.values import make_segment

DAY_BYTES = 10**15
STORED = 0.1
"""Bytes of segments for each byte of raw telemetry, filters included."""
BATCH_BYTES = 512 * MIB
"""Raw bytes that one batch takes: a worker with 2 GiB."""
OBJECT_BYTES = 8 * MIB
"""Raw bytes of an object as collectors leave them."""
ORGANIZATIONS = 100
KEPT_DAYS = 30
ROW_BYTES = 500
INGEST_ROWS, MERGE_ROWS = 150_000, 1_000_000
"""Rows a second and core, as benchmarks/test_ingest.py and test_compaction.py measured them."""
COMMITS = {"SQLite, on one machine": 476, "bucket, on SeaweedFS": 11, "PostgreSQL": 1_100}
"""Commits a second of several writers, as docs/benchmarks.md and docs/guides/catalogs.md say."""
PUT_USD, GET_USD, MONTH_USD = 5e-6, 4e-7, 0.023e-9
"""Prices of S3 in us-east-1: for a request, a request, and a byte in a month."""

HOUR_NS, MINUTE_NS = 3600 * 10**9, 60 * 10**9


class Hour(NamedTuple):
    """What became of one hour of one organization."""

    arrived: int
    left: int
    merges: int
    read: int
    amplification: float


def simulate(segments_per_minute: float, size: int) -> Hour:
    """An hour of arrivals, and the half day in which they are merged."""
    settings, live = CompactionSettings(), dict[str, Segment]()
    came = number = merges = read = written = 0
    due = 0.0
    for minute in range(12 * 60):
        now_ns = minute * MINUTE_NS
        due += segments_per_minute if minute < 60 else 0
        while came < due:
            came, number = came + 1, number + 1
            at_ns = min(now_ns, HOUR_NS - 1)
            one = replace(make_segment(f"{number:09}", at_ns, at_ns, size=size), created_ns=now_ns)
            live[one.id] = one
        for merge in plan_merges(live.values(), now_ns, settings):
            parts, number, merges = merge.segments, number + 1, merges + 1
            total = sum(one.bytes for one in parts)
            level = max(one.level for one in parts) + 1
            made = replace(parts[0], id=f"{number:09}", bytes=total, level=level, created_ns=now_ns)
            for one in parts:
                del live[one.id]
            live[made.id] = made
            read, written = read + len(parts), written + total
    return Hour(came, len(live), merges, read, written / (came * size))


def entry_bytes() -> int:
    """What a catalog keeps of a segment with thirty columns."""
    text = ColumnStats("string", 10, "a" * 20, "z" * 20, key="some.attribute.name")
    columns = {f"attr_some_attribute_{number}": text for number in range(30)}
    return len(encode_segment(make_segment("0" * 49, columns=columns)))


def main() -> None:
    """Print what a day takes, and for how many lakes of each catalog."""
    batches = DAY_BYTES / BATCH_BYTES
    size = int(BATCH_BYTES * STORED)
    hour = simulate(batches / ORGANIZATIONS / 24 / 60, size)
    hours = ORGANIZATIONS * 24
    merges, left = hour.merges * hours, hour.left * hours
    commits = (batches + merges) / 86400
    live = left * KEPT_DAYS
    rows = DAY_BYTES / ROW_BYTES
    stored = DAY_BYTES * STORED
    puts = hour.arrived * hours + merges + 3 * (batches + merges)
    gets = DAY_BYTES / OBJECT_BYTES + hour.read * hours * 8
    table = {
        "raw bytes a second": f"{DAY_BYTES / 86400 / 1e9:.1f} GB",
        "raw objects a day": f"{DAY_BYTES / OBJECT_BYTES / 1e6:.0f} M",
        "commits a second": f"{commits:.0f}, of which {merges / 86400:.1f} are merges",
        "segments that arrive in an hour of one organization": f"{hour.arrived:,}",
        "segments that are left of it": f"{hour.left:,}",
        "bytes written again for each byte": f"{hour.amplification:.2f}",
        f"live segments after {KEPT_DAYS} days": f"{live / 1e6:.1f} M",
        "their entries in the catalog": f"{live * entry_bytes() / 1e9:.0f} GB",
        "candidates of a query over one hour of one organization": f"{hour.left:,}",
        "cores that ingest": f"{rows / 86400 / INGEST_ROWS:.0f}",
        "cores that merge": f"{rows * hour.amplification / 86400 / MERGE_ROWS:.0f}",
        "requests a day": f"{puts / 1e6:.0f} M PUT, {gets / 1e6:.0f} M GET",
        "their price a day": f"{puts * PUT_USD + gets * GET_USD:,.0f} USD",
        f"price of {KEPT_DAYS} days of storage, a day": (
            f"{stored * KEPT_DAYS * MONTH_USD / 30:,.0f} USD"
        ),
    }
    print(f"| {DAY_BYTES / 1e15:.0f} PB a day, {ORGANIZATIONS} organizations | |\n|---|---:|")  # noqa: T201 - that is what it is for
    for name, value in table.items():
        print(f"| {name} | {value} |")  # noqa: T201 - as above
    print("\n| catalog | commits/s of one lake | lakes for these |\n|---|---:|---:|")  # noqa: T201 - as above
    for name, most in COMMITS.items():
        print(f"| {name} | {most:,} | {-(-commits // most):.0f} |")  # noqa: T201 - as above


if __name__ == "__main__":
    main()
