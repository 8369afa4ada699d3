"""Quantiles of buckets, sums of them, and counters from point to point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lakerunner.compute import Session

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    made = Session(threads=2)
    yield made
    made.close()


def ask(session: Session, text: str, **tables: Any) -> list[tuple[Any, ...]]:
    found = session.plan(text, [], tables).execute().read_all()
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


COUNTS = pa.list_(pa.uint64())


def histograms(*rows: tuple[list[int] | None, list[float] | None]) -> Any:
    counts, bounds = zip(*rows, strict=True)
    return pa.table({"c": pa.array(counts, COUNTS), "b": pa.array(bounds, pa.list_(pa.float64()))})


@pytest.mark.parametrize(
    ("q", "counts", "bounds", "expected"),
    [
        (0.5, [10, 10, 0], [1.0, 2.0], 1.0),
        (0.75, [10, 10, 0], [1.0, 2.0], 1.5),
        (0.25, [10, 10, 0], [1.0, 2.0], 0.5),
        (1.0, [10, 10, 5], [1.0, 2.0], 2.0),
        (0.5, [4, 0, 0], [-1.0, 2.0], -1.0),
        (0.0, [0, 4, 0], [1.0, 2.0], 1.0),
        (2.0, [1, 1], [1.0], math.inf),
        (-1.0, [1, 1], [1.0], -math.inf),
        (0.5, [0, 0], [1.0], None),
        (0.5, None, [1.0], None),
        (0.5, [1, 2], None, None),
        (0.5, [1, 2, 3], [1.0], None),
        (0.5, [7], [], None),
    ],
)
def test_explicit_buckets(
    session: Session, q: float, counts: Any, bounds: Any, expected: float | None
) -> None:
    rows = histograms((counts, bounds), ([1, 3], [4.0]))
    found = ask(session, f"SELECT histogram_quantile({q}, c, b) FROM h", h=rows)
    assert found[0] == (expected,)
    assert len(found) == 2


def test_exponential_buckets_are_as_near_as_their_width(session: Session) -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.lognormal(3, 1, 4000), -rng.lognormal(1, 1, 1000), np.zeros(500)])
    scale = 4
    base = 2 ** (2**-scale)

    def side(magnitudes: Any) -> tuple[int, list[int]]:
        index = np.ceil(np.log(magnitudes) / np.log(base)).astype(int) - 1
        counts = np.bincount(index - index.min())
        return int(index.min()), counts.tolist()

    over, positive = side(values[values > 0])
    under, negative = side(-values[values < 0])
    row = pa.table(
        {
            "s": pa.array([scale], pa.int32()),
            "z": pa.array([500], pa.uint64()),
            "po": pa.array([over], pa.int32()),
            "pc": pa.array([positive], COUNTS),
            "no": pa.array([under], pa.int32()),
            "nc": pa.array([negative], COUNTS),
        }
    )
    for q in (0.01, 0.1, 0.2, 0.5, 0.9, 0.99):
        text = f"SELECT exponential_histogram_quantile({q}, s, z, po, pc, no, nc) FROM h"
        ((found,),) = ask(session, text, h=row)
        exact = float(np.quantile(values, q, method="inverted_cdf"))
        assert found == pytest.approx(exact, rel=base - 1, abs=1e-12)


def test_buckets_are_added_up_by_group(session: Session) -> None:
    rows = pa.table(
        {
            "g": ["a"] * 3 + ["b"] + ["c"],
            "c": pa.array([[1, 2], [3, 4, 5], None, [7], None], COUNTS),
        }
    )
    text = "SELECT g, sum_buckets(c) FROM h GROUP BY g ORDER BY g"
    assert ask(session, text, h=rows) == [("a", [4, 6, 5]), ("b", [7]), ("c", [])]
    many = pa.table({"c": pa.array([[1, 10]] * 50_000, COUNTS)})
    assert ask(session, "SELECT sum_buckets(c) FROM h", h=many) == [([50_000, 500_000],)]


def test_counters_go_on_after_a_reset(session: Session) -> None:
    rows = pa.table(
        {
            "k": ["a"] * 5 + ["b"] * 2,
            "ts": pa.array([0, 1, 2, 4, 4, 0, 10], pa.int64()).cast(pa.timestamp("s")).cast(
                pa.timestamp("ns", "UTC")
            ),
            "v": [5.0, 7.0, None, 3.0, 4.0, 1.0, 1.0],
        }
    )  # fmt: skip
    text = """SELECT k, increase(v) OVER w AS grown, rate(v, ts) OVER w AS rate
        FROM h WINDOW w AS (PARTITION BY k ORDER BY ts, v) ORDER BY k, ts, v"""
    assert ask(session, text, h=rows) == [
        ("a", None, None),
        ("a", 2.0, 2.0),
        ("a", None, None),
        ("a", 3.0, 1.0),
        ("a", 1.0, None),
        ("b", None, None),
        ("b", 0.0, 0.0),
    ]
