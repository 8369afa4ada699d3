"""Samples in Prometheus' JSON: read back by an ordinary JSON reader, and by value."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.gateway.sample_json import data_json, numbers_first
from lakerunner.query.promql.answering import HISTOGRAM_TYPE

STAMP = pa.timestamp("ns", "UTC")
MS = 1_000_000


def shown(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return ("+Inf" if value > 0 else "-Inf") if math.isinf(value) else value.__repr__()


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(["__name__", "job", 'ho"st\n']), st.text(min_size=1)),
            st.lists(
                st.tuples(st.integers(0, 9 * 10**12), st.floats()),
                min_size=1,
                unique_by=lambda s: s[0],
            ),
        ),
        unique_by=lambda series: tuple(sorted(series[0].items())),
    )
)
def test_a_matrix_is_read_back(
    series: list[tuple[dict[str, str], list[tuple[int, float]]]],
) -> None:
    rows = [(labels, at, value) for labels, samples in series for at, value in samples]
    names = sorted({name for labels, _ in series for name in labels})
    columns: dict[str, Any] = {
        name: pa.array([labels.get(name) for labels, _, _ in rows], pa.string()) for name in names
    }
    columns["timestamp"] = pa.array([at * MS for _, at, _ in rows], pa.int64()).cast(STAMP)
    columns["value"] = pa.array([value for _, _, value in rows], pa.float64())
    data, cut = data_json(pa.table(columns), "matrix")
    found = json.loads(data)
    assert not cut
    assert found["resultType"] == "matrix"
    assert [one["metric"] for one in found["result"]] == [labels for labels, _ in series]
    for one, (_, samples) in zip(found["result"], series, strict=True):
        assert [round(at * 1000) for at, _ in one["values"]] == [at for at, _ in samples]
        for (_, text), (_, value) in zip(one["values"], samples, strict=True):
            assert shown(float(text)) == shown(value)
            assert text not in ("inf", "-inf", "nan")


@pytest.mark.parametrize("kind", ["scalar", "string"])
def test_a_single_value_is_a_pair(kind: str) -> None:
    value = pa.array(['a "b"']) if kind == "string" else pa.array([math.inf])
    table = pa.table({"timestamp": pa.array([1500 * MS]).cast(STAMP), "value": value})
    found = json.loads(data_json(table, kind)[0])
    assert found == {
        "resultType": kind,
        "result": [1.5, 'a "b"' if kind == "string" else "+Inf"],
    }


def test_a_limit_counts_series() -> None:
    table = pa.table(
        {
            "job": ["a", "a", "b", "c"],
            "timestamp": pa.array([0, MS, 0, 0]).cast(STAMP),
            "value": [1.0, 2.0, 3.0, 4.0],
        }
    )
    data, cut = data_json(table, "matrix", limit=2)
    assert cut
    assert [one["metric"]["job"] for one in json.loads(data)["result"]] == ["a", "b"]


def histogram(**fields: Any) -> dict[str, Any]:
    return dict.fromkeys(one.name for one in HISTOGRAM_TYPE) | fields


def test_histograms_come_after_the_numbers_of_a_series() -> None:
    exponential = histogram(
        count=7.0, sum=3.5, scale=0, zero_count=1.0, zero_threshold=0.001,
        positive_offset=0, positive_bucket_counts=[2.0, 0.0, 1.0],
        negative_offset=0, negative_bucket_counts=[3.0],
    )  # fmt: skip
    custom = histogram(
        count=3.0, sum=2.0, zero_count=0.0, zero_threshold=0.0,
        positive_offset=0, positive_bucket_counts=[1.0, 0.0, 2.0],
        negative_offset=0, negative_bucket_counts=[], custom_bounds=[5.0, 10.0],
    )  # fmt: skip
    table = pa.table(
        {
            "job": ["a", "a", "a"],
            "timestamp": pa.array([0, 1000 * MS, 2000 * MS]).cast(STAMP),
            "value": pa.array([None, 1.0, None], pa.float64()),
            "histogram": pa.array([exponential, None, custom], HISTOGRAM_TYPE),
        }
    )
    (one,) = json.loads(data_json(numbers_first(table), "matrix")[0])["result"]
    assert one["values"] == [[1, "1"]]
    (at, first), (_, second) = one["histograms"]
    assert at == 0
    assert first == {
        "count": "7",
        "sum": "3.5",
        "buckets": [
            [1, "-2", "-1", "3"],
            [3, "-0.001", "0.001", "1"],
            [0, "1", "2", "2"],
            [0, "4", "8", "1"],
        ],
    }
    assert second["buckets"] == [[3, "-Inf", "5", "1"], [0, "10", "+Inf", "2"]]
