"""Sketches in SQL: of numbers, merged, and asked, as near as they promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lakerunner.compute import Session
from lakerunner.schema.sketch import RELATIVE_ERROR, sketch_column, sketch_values

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    made = Session(threads=2)
    yield made
    made.close()


def ask(session: Session, text: str, rows: Any) -> list[tuple[Any, ...]]:
    found = session.plan(text, [], {"t": rows}).execute().read_all()
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def test_quantiles_of_numbers_are_as_near_as_promised(session: Session) -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.lognormal(3, 2, 50_000), -rng.lognormal(1, 1, 5_000), [0.0] * 99])
    rows = pa.table({"v": values, "g": np.arange(len(values)) % 3})
    for q in (0.0, 0.05, 0.5, 0.99, 1.0):
        text = f"SELECT g, sketch_quantile({q}, sketch(v)) FROM t GROUP BY g ORDER BY g"
        for group, found in ask(session, text, rows):
            exact = float(np.quantile(values[group::3], q, method="lower"))
            assert found == pytest.approx(exact, rel=RELATIVE_ERROR * 1.001)


def test_merged_sketches_are_those_of_all_numbers(session: Session) -> None:
    values = np.random.default_rng(2).normal(0, 10, 10_000)
    groups = np.arange(10_000) % 50
    whole = pa.table({"v": values})
    parts = pa.table({"s": sketch_column(sketch_values(values, groups, 50))})
    for q in (0.1, 0.5, 0.9):
        (together,) = ask(session, f"SELECT sketch_quantile({q}, merge_sketches(s)) FROM t", parts)
        (alone,) = ask(session, f"SELECT sketch_quantile({q}, sketch(v)) FROM t", whole)
        assert together == alone


def test_what_is_empty_has_no_quantile(session: Session) -> None:
    rows = pa.table({"v": pa.array([None, float("nan")], pa.float64())})
    assert ask(session, "SELECT sketch_quantile(0.5, sketch(v)) FROM t", rows) == [(None,)]
    nulls = pa.table({"s": sketch_column(sketch_values(np.ones(1), np.zeros(1, np.int64), 2))})
    assert ask(session, "SELECT sketch_quantile(0.5, s) IS NULL FROM t", nulls) == [
        (False,),
        (True,),
    ]
    assert ask(session, "SELECT sketch_quantile(1.5, s) FROM t LIMIT 1", nulls) == [(None,)]
