"""Values travel beside the text: typed, of any length, and never a part of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lakerunner.errors import QuerySyntaxError

if TYPE_CHECKING:
    from lakerunner.query.sql.params import Params

START = 1_790_002_800 * 10**9
AT = datetime(2026, 9, 21, 15, tzinfo=UTC)


def rows(lake: Any, text: str, params: Params | None) -> list[Any]:
    table = lake.engine.sql(text, params=params).to_arrow()
    values: list[Any] = table.column(0).to_pylist()
    return values


@pytest.mark.parametrize(
    ("where", "params", "expected"),
    [
        ("attr_code = $1", [7], [7]),
        ("attr_code = ? OR attr_code = ?", [7, 9], [7, 9]),
        ("attr_code = $b OR attr_code = $a", {"a": 7, "b": 9}, [7, 9]),
        ("attr_code = $a AND attr_code = $a", {"a": 7}, [7]),
        ("attr_code = $a", {"$a": np.int64(7)}, [7]),
        ("attr_code IN ($ids)", {"ids": [3, 1]}, [1, 3]),
        ("attr_code IN $ids", {"ids": {1, 3}}, [1, 3]),
        ("attr_code IN ?", [(1, 3)], [1, 3]),
        ("attr_code IN ($ids)", {"ids": np.array([1, 3])}, [1, 3]),
        ("attr_code IN ($ids)", {"ids": pa.array([1, 3])}, [1, 3]),
        ("attr_code IN ($ids)", {"ids": []}, []),
        ("attr_code < 2 AND attr_code NOT IN ($ids)", {"ids": []}, [0, 1]),
        ("attr_code = ANY($ids)", {"ids": [1, 3]}, [1, 3]),
        ("body = $t AND attr_code < 5", {"t": "request 2 done"}, [2]),
        ("timestamp = $t", {"t": AT}, [0]),
        ("timestamp < $t", {"t": AT.replace(tzinfo=None) + timedelta(seconds=2)}, [0, 1]),
        ("timestamp IN ($t)", {"t": [AT, AT + timedelta(seconds=1)]}, [0, 1]),
        ("timestamp = $t", {"t": pd.Timestamp("2026-09-21T15:00:03Z")}, [3]),
        ("timestamp < $t + interval '1 second'", {"t": AT}, [0]),
        ("timestamp::date = $d AND attr_code = 1", {"d": date(2026, 9, 21)}, [1]),
        ("attr_code = $n", {"n": Decimal(4)}, [4]),
        ("attr_code > $n AND attr_code < 100", {"n": 98.5}, [99]),
        ("level = $n", {"n": None}, []),
    ],
)
def test_values_are_bound(lake: Any, where: str, params: Params, expected: list[int]) -> None:
    lake.add_hours(2)
    assert rows(lake, f"SELECT attr_code FROM logs WHERE {where} ORDER BY 1", params) == expected


@pytest.mark.parametrize(
    "value", ["' OR 1=1 --", '"; DROP TABLE logs; --', "$1", "?", "\\'", "it's", "\x00\x1b[31m", ""]
)
def test_a_value_is_never_read_as_sql(lake: Any, value: str) -> None:
    lake.add({"timestamp": [START], "body": [value]})
    assert rows(lake, "SELECT body FROM logs WHERE body = $1", [value]) == [value]
    assert rows(lake, "SELECT ? FROM logs WHERE body IN (?)", [value, [value, "x"]]) == [value]
    assert rows(lake, "SELECT '?$1' FROM logs WHERE body <> ?", [value]) == []


def test_segments_are_pruned_by_values(lake: Any) -> None:
    lake.add_hours(5)
    for text, params, scanned in [
        ("attr_code = $1", [250], 1),
        ("attr_code IN ($ids)", {"ids": [10, 450]}, 2),
        ("timestamp >= $t", {"t": AT + timedelta(hours=3)}, 2),
        ("resource_service_name = $s", {"s": "nobody"}, 0),
    ]:
        result = lake.engine.sql(f"SELECT body FROM logs WHERE {text}", params=params)
        assert result.stats.scanned == scanned, text
        explained = lake.engine.explain(f"SELECT body FROM logs WHERE {text}", params=params)
        assert len(explained.kept) == scanned


def test_long_lists(lake: Any) -> None:
    lake.add_hours(1)
    many = list(range(90, 200_000))
    assert rows(lake, "SELECT count(*) FROM logs WHERE attr_code IN ($ids)", {"ids": many}) == [10]
    assert rows(lake, "SELECT count(*) FROM logs WHERE attr_code NOT IN (?)", [many]) == [90]
    texts = [f"request {number} done" for number in range(95, 50_000)]
    assert rows(lake, "SELECT count(*) FROM logs WHERE body IN $t", {"t": texts}) == [5]
    # The list is forgotten with its query.
    with pytest.raises(QuerySyntaxError, match="no table"):
        lake.engine.sql('SELECT * FROM "$ids"')


@pytest.mark.parametrize(
    ("text", "params", "reason"),
    [
        ("SELECT $1", None, r"no value for \$1"),
        ("SELECT $2", [1], r"no value for \$2"),
        ("SELECT $b", {"a": 1}, r"no value for \$b"),
        ("SELECT 1", [1], r"no placeholder \$1"),
        ("SELECT $a", {"a": 1, "b": 2}, r"no placeholder \$b"),
        ("SELECT ?, $1", [1], r"not both"),
        ("SELECT $a", {"a": object()}, r"a object, which no column has"),
        ("SELECT 1 WHERE 1 IN ($a)", {"a": [1, "x"]}, r"not of one type"),
        ("SELECT $1", "text", r"params is a str"),
        ("SELECT $1", 5, r"params is a int"),
    ],
)
def test_what_does_not_fit_is_said(lake: Any, text: str, params: Any, reason: str) -> None:
    with pytest.raises(QuerySyntaxError, match=reason):
        lake.engine.sql(text, params=params)
