"""A lake of a million segments: open it, plan an hour, collect leftovers, recover a lost catalog.

As a script it prints a line for each kind of catalog and each step, a process of its own each:

    python benchmarks/test_million.py sqlite bucket postgresql

The catalog is real, and nobody has written the segment files: a store answers for them from a few
templates of real footers. What a request costs elsewhere comes on top. As a test it does the same
with a few thousand segments.
"""

from __future__ import annotations

import io
import json
import random
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.fencing import Fence
from lakerunner.model.config import Config
from lakerunner.model.segment import ColumnStats, Segment, decode_segment, encode_segment
from lakerunner.model.times import NANOS, TimeRange
from lakerunner.segments.codec import FOOTER_KEY
from lakerunner.segments.layout import SEGMENTS_PREFIX, segment_of
from lakerunner.store import GetResult, ObjectMeta, open_store
from lakerunner.store.counting import WrapperStore
from lakerunner.testing.servers.postgres import postgres
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.catalog import Catalog
    from lakerunner.store import ByteRange, ObjectStore

BATCH = 33
"""Segments of one commit; they lie in 1,000 seconds, so that an hour has 119."""

BATCH_NS = 1000 * NANOS
FIRST = 1_000_000
MARK = "1234567"
"""Stands in templates for the number of a batch, which has as many digits."""

RICH = 10
"""One of so many batches has the statistics of a real segment, in 3 kB."""

ORPHANS = 1_000


@cache
def described(member: int) -> str:
    """A segment of the batch `MARK`, as JSON."""
    first = int(MARK) * BATCH_NS
    name = f"{MARK}{member:02d}"
    ids = tuple(f"{MARK}{other:02d}" for other in range(BATCH))
    segment = replace(
        make_segment(name, first + member * NANOS, first + 999 * NANOS, rows=50_000),
        key=f"{SEGMENTS_PREFIX}{ORGANIZATION}/logs/{name}.parquet",
        commit_id=f"commit-{MARK}",
        sources=(make_source(f"otel-raw/acme/year=2026/month=01/day=02/{name}.binpb.gz"),),
        siblings=ids if member == BATCH - 1 else (),
    )
    return encode_segment(segment).decode()


@cache
def template(member: int) -> bytes:
    """The end of the file of that segment."""
    sink = io.BytesIO()
    table = pa.table({"timestamp": [0]})
    with pq.ParquetWriter(sink, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({FOOTER_KEY.decode(): described(member)})
    return sink.getvalue()


def batch(number: int, rng: random.Random) -> list[Segment]:
    """The segments of a batch, as the catalog knows them."""
    texts = (described(member).replace(MARK, str(number)) for member in range(BATCH))
    found = [decode_segment(text) for text in texts]
    if number % RICH:
        return found
    return [replace(one, columns=rich(rng)) for one in found]


def rich(rng: random.Random) -> dict[str, ColumnStats]:
    """Statistics as a segment of logs has them, with bounds that do not compress."""
    bounds = [f"{rng.getrandbits(64):016x}" for _ in range(60)]
    return {
        f"attr_request_header_{n}": ColumnStats(
            "string", nulls=n, min=bounds[2 * n], max=bounds[2 * n + 1], key=f"request.header.{n}"
        )
        for n in range(30)
    }


class Imagined(WrapperStore):
    """A store that has segment files which nobody wrote, and all else in another store.

    Args:
        inner: What is no segment.
        batches: How many batches there are.
        lost: Files that no commit names.
    """

    def __init__(self, inner: ObjectStore, batches: int, lost: int) -> None:
        super().__init__(inner)
        self._batches, self._lost = batches, lost
        self.deleted = 0

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """All of them, in order."""
        if not prefix.startswith(SEGMENTS_PREFIX):
            yield from self.inner.list(prefix, start_after=start_after)
            return
        folder = f"{SEGMENTS_PREFIX}{ORGANIZATION}/logs/"
        for number in range(FIRST, FIRST + self._batches):
            for member in range(BATCH):
                key = f"{folder}{number}{member:02d}.parquet"
                yield ObjectMeta(key, len(template(member)), "", 1)
        for number in range(self._lost):
            yield ObjectMeta(f"{folder}lost-{number:06d}.parquet", len(template(0)), "", 1)

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Make the end of a file."""
        if not key.startswith(SEGMENTS_PREFIX):
            return self.inner.get(key, byte_range)
        name = segment_of(key)
        data = template(int(name[-2:])).replace(MARK.encode(), name[:-2].encode())
        start, end = byte_range.resolve(len(data)) if byte_range else (0, len(data))
        return GetResult(ObjectMeta(key, len(data), "", 1), data[start:end])

    def delete(self, key: str) -> None:
        """Count segments."""
        if key.startswith(SEGMENTS_PREFIX):
            self.deleted += 1
        else:
            self.inner.delete(key)


def opened(url: str, place: str) -> Catalog:
    """A catalog; the one in a bucket lies in the lake."""
    return BucketCatalog(open_store(place)) if url == "bucket" else open_catalog(url)


def fill(url: str, place: str, batches: int) -> dict[str, Any]:
    """Commit all of it."""
    rng = random.Random(1)
    with opened(url, place) as catalog:
        for start in range(FIRST, FIRST + batches, 60):
            numbers = range(start, min(start + 60, FIRST + batches))
            segments = [one for number in numbers for one in batch(number, rng)]
            sources = [source for one in segments for source in one.sources]
            catalog.commit(make_commit(f"c{start}", add=segments, take=sources))
        Fence(open_store(place), catalog).begin()
        if isinstance(catalog, BucketCatalog):
            catalog.checkpoint()
        catalog.purge([])
    return {}


def plan(url: str, place: str, batches: int) -> dict[str, Any]:
    """Open the catalog and plan an hour of rich statistics; then other such hours."""
    begun = time.perf_counter()
    catalog = opened(url, place)
    hour = 3600 * NANOS

    def ask(number: int) -> float:
        asked = time.perf_counter()
        start = number * BATCH_NS
        found = catalog.segments(ORGANIZATION, "logs", TimeRange(start, start + hour))
        assert len(found) == min(4, FIRST + batches - number) * BATCH
        return time.perf_counter() - asked

    ask(FIRST)
    cold = time.perf_counter() - begun
    rng = random.Random(2)
    some = [FIRST + RICH * rng.randrange(batches // RICH) for _ in range(50)]
    for number in some[:10]:
        ask(number)
    warm = statistics.median(map(ask, some))
    catalog.close()
    return {"cold": cold, "warm": warm}


def collect(url: str, place: str, batches: int) -> dict[str, Any]:
    """Delete a thousand leftovers among all the others."""
    store = Imagined(open_store(place), batches, ORPHANS)
    with opened(url, place) as catalog:
        lake = lakerunner.Lake(store, catalog, config=Config(orphan_grace_ns=1))
        # Few segments have many leftovers in a test, which would be refused.
        found = lake.collect_orphans(force=batches < ORPHANS)
        assert len(found) == store.deleted == ORPHANS
    return {}


def recover(url: str, place: str, batches: int) -> dict[str, Any]:
    """Make an empty catalog again from all footers."""
    store = Imagined(open_store(place), batches, 0)
    with opened(url, place) as catalog:
        report = lakerunner.Lake(store, catalog).recover()
        assert report.segments == batches * BATCH == report.sources, report.broken[:2]
    return {}


STEPS = {step.__name__: step for step in (fill, plan, collect, recover)}


def in_process(step: str, url: str, place: Path, batches: int) -> dict[str, float]:
    """Do a step in a process of its own; returns what it took, and the peak of its memory."""
    arguments = ["step", step, url, str(place), str(batches)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def do(step: str, url: str, place: str, batches: str) -> None:
    """What that process does."""
    begun, used = time.perf_counter(), time.process_time()
    found = STEPS[step](url, place, int(batches))
    found |= {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - used}
    status = Path("/proc/self/status").read_text()
    found["peak"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    sys.stdout.write(json.dumps(found))


@contextmanager
def places(kind: str) -> Iterator[tuple[Path, str, str]]:
    """A directory, and the URLs of two empty catalogs of a kind."""
    with TemporaryDirectory() as directory:
        place = Path(directory)
        if kind == "postgresql":
            with postgres() as server:
                yield place, f"{server.url()}?schema=one", f"{server.url()}?schema=two"
        elif kind == "sqlite":
            yield place, f"sqlite://{place}/one.db", f"sqlite://{place}/two.db"
        else:
            yield place, "bucket", "bucket"


@pytest.mark.parametrize("kind", ["sqlite", "bucket", "postgresql"])
def test_all_steps(kind: str) -> None:
    """Each answers as it should."""
    with places(kind) as (place, url, other):
        for step in (fill, plan, collect):
            step(url, str(place / "lake"), 40)
        recover(other, str(place / "again"), 40)


def main(*kinds: str) -> None:
    """Print a line for each kind and step, each done in a process of its own."""
    sys.stdout.write("| catalog | step | seconds | of processor time | peak, MiB |\n")
    for kind in kinds:
        with places(kind) as (place, url, other):
            for step in STEPS:
                where = (other, place / "again") if step == "recover" else (url, place / "lake")
                found = in_process(step, *where, 1_000_000 // BATCH)
                line = f"| {kind} | {step} | {found['seconds']:.1f} | {found['cpu']:.1f} "
                line += f"| {found['peak']:.0f} |"
                if step == "plan":
                    line += f" open and first hour {found['cold']:.2f} s;"
                    line += f" other hours {found['warm'] * 1e3:.1f} ms |"
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    (do if sys.argv[1] == "step" else main)(
        *(sys.argv[2:] if sys.argv[1] == "step" else sys.argv[1:])
    )
