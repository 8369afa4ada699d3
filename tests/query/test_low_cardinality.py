"""Columns that are read as dictionaries behave as the text they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from datafusion import SessionContext

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_790_002_800 * 10**9
ROWS = 60
LEVELS = ["INFO", "WARN", "ERROR", None]
SERVICES = ["cart", "INFO", "checkout"]
COLUMNS: dict[str, list[Any]] = {
    "attr_n": list(range(ROWS)),
    "level": [LEVELS[n * 7 % 4] for n in range(ROWS)],
    "resource_service_name": [SERVICES[n * 5 % 3] for n in range(ROWS)],
    "body": ["WARN" if n % 3 == 0 else f"INFO {n % 7}" for n in range(ROWS)],
}
VALUES = """
level || 'x' ; level || body ; upper(level) ; lower(level) ; reverse(level) ; initcap(level) ;
concat(level, resource_service_name, body) ; concat_ws('-', level, body) ;
coalesce(level, 'none') ; coalesce(level, resource_service_name) ; coalesce(level, body) ;
nullif(level, 'INFO') ; nullif(level, resource_service_name) ; nvl(level, body) ;
CASE level WHEN 'INFO' THEN 'i' ELSE level END ; CASE WHEN attr_n > 5 THEN level ELSE body END ;
level = resource_service_name ; level = body ; level < body ; level IN ('INFO', 'WARN') ;
level NOT IN ('INFO', NULL) ; level LIKE 'I%' ; level ~ '^I' ; level NOT ILIKE '%r%' ;
level BETWEEN 'E' AND 'J' ; level IS DISTINCT FROM 'INFO' ; length(level) ;
octet_length(level) ; substr(level, 2) ; left(level, 2) ; replace(level, 'I', 'i') ;
trim(level) ; split_part(level, 'F', 1) ; strpos(level, 'N') ; starts_with(level, 'I') ;
contains(level, 'NF') ; lpad(level, 8, '*') ; repeat(level, 2) ; ascii(level) ; md5(level) ;
regexp_replace(level, 'N', '#') ; regexp_match(level, '(N)') ; CAST(level AS VARCHAR) ;
TRY_CAST(level AS BIGINT) ; make_array(level) ; make_array(level, body) ;
named_struct('a', level) ; map([body], [level]) ; greatest(level, 'K') ; least(level, body) ;
level = ANY(make_array('INFO', 'x')) ; (level, body) = ('INFO', 'WARN')
"""
AGGREGATES = """
max(level) ; min(level) ; count(level) ; count(DISTINCT level) ; array_agg(level ORDER BY attr_n) ;
string_agg(level, ',' ORDER BY attr_n) ; first_value(level ORDER BY attr_n) ;
approx_distinct(level) ;
max(level || body) ; bool_and(level = 'INFO') ; count(*) FILTER (WHERE level = 'ERROR') ;
array_agg(DISTINCT level ORDER BY level) ; max(coalesce(level, 'Z'))
"""
QUERIES = """
SELECT DISTINCT level FROM logs ORDER BY 1 ;
SELECT DISTINCT ON (level) level, attr_n FROM logs ORDER BY level, attr_n ;
SELECT level, body, count(*) AS c FROM logs GROUP BY ROLLUP (level, body) ORDER BY 1, 2, 3 ;
SELECT level FROM logs UNION SELECT body FROM logs ORDER BY 1 ;
SELECT body FROM logs UNION ALL SELECT level FROM logs ORDER BY 1 ;
SELECT level FROM logs INTERSECT SELECT resource_service_name FROM logs ORDER BY 1 ;
SELECT level FROM logs EXCEPT SELECT body FROM logs ORDER BY 1 ;
SELECT a.attr_n FROM logs a JOIN logs b ON a.level = b.resource_service_name ORDER BY 1 ;
SELECT a.attr_n, b.attr_n AS n FROM logs a LEFT JOIN logs b ON a.level = b.body ORDER BY 1, 2 ;
SELECT attr_n FROM logs WHERE level NOT IN (SELECT body FROM logs WHERE body < 'J') ORDER BY 1 ;
SELECT attr_n, lag(level, 1, 'none') OVER (ORDER BY attr_n) AS v FROM logs ORDER BY 1 ;
SELECT attr_n, max(level) OVER (ORDER BY attr_n ROWS 3 PRECEDING) AS v FROM logs ORDER BY 1 ;
SELECT attr_n, row_number() OVER (PARTITION BY level ORDER BY attr_n) AS v FROM logs ORDER BY 1 ;
SELECT level, attr_n FROM logs ORDER BY level DESC NULLS LAST, attr_n LIMIT 7 ;
SELECT resource_service_name, level, attr_n FROM logs ORDER BY 1, 2, 3 ;
SELECT level, max(attr_n) AS m FROM logs GROUP BY level HAVING level > 'F' ORDER BY 1 ;
SELECT resource_service_name, max(level) AS m FROM logs GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 2 ;
SELECT attr_n FROM (VALUES ('INFO'), ('x')) v (l) JOIN logs ON l = level ORDER BY 1
"""


class Pair:
    """A lake, and the same rows as plain text in memory."""

    def __init__(self, lake: Any) -> None:
        self.lake = lake
        for number in range(3):
            rows = slice(number * 20, number * 20 + 20)
            part: dict[str, Any] = {name: values[rows] for name, values in COLUMNS.items()}
            part["body"] = pa.array(part["body"])
            if number == 1:
                part["level"] = pa.array(part["level"])  # plain text in this file
            lake.add({"timestamp": [START + n for n in part["attr_n"]], **part})
        self.context = SessionContext()
        self.context.from_arrow(pa.table(COLUMNS), name="logs")

    def check(self, text: str) -> None:
        expected = self.context.sql(text).to_arrow_table()
        found = self.lake.engine.sql(text).to_arrow()
        assert found.to_pylist() == expected.to_pylist()
        assert "dictionary" not in str(found.schema)
        assert "view" not in str(found.schema)
        found.validate(full=True)


@pytest.fixture(scope="module")
def pair(small_lake: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Pair(small_lake(str(tmp_path_factory.mktemp("lake"))))
    yield made
    made.lake.engine.close()


def listed(text: str) -> list[str]:
    return [" ".join(one.split()) for one in text.split(";")]


@pytest.mark.parametrize("value", listed(VALUES))
def test_values(pair: Pair, value: str) -> None:
    pair.check(f"SELECT attr_n, {value} AS v FROM logs ORDER BY attr_n")
    pair.check(f"SELECT attr_n FROM logs WHERE ({value}) IS NOT NULL ORDER BY attr_n")


@pytest.mark.parametrize("value", listed(AGGREGATES))
def test_aggregates(pair: Pair, value: str) -> None:
    pair.check(f"SELECT {value} AS v FROM logs")
    pair.check(f"SELECT {value} AS v FROM logs WHERE attr_n > 7")
    pair.check(f"SELECT level, {value} AS v FROM logs GROUP BY level ORDER BY level")


@pytest.mark.parametrize("text", listed(QUERIES))
def test_queries(pair: Pair, text: str) -> None:
    pair.check(text)
