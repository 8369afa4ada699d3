"""Forms of SQL that people bring along: each works, or its error names what to write instead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import lakerunner
from lakerunner.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = [
    {
        "message": json.dumps({"user": {"id": 7}, "tags": ["a", "b"], "ok": True}),
        "level": "INFO",
        "service.name": "cart",
        "http.route": "/a",
        "http.status_code": 200,
        "duration_ms": 1.5,
        "tags": ["x", "y"],
    },
    {"message": "took 15 ms", "level": "ERROR", "service.name": "web", "http.status_code": 500},
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lakerunner.Lake]:
    with lakerunner.open(tmp_path_factory.mktemp("forms")) as opened:
        opened.ingest("\n".join(map(json.dumps, RECORDS)).encode())
        yield opened


EXPRESSIONS = [
    *('"http.route"', "http.route", "attributes['http.route']", "logs.attributes['http.route']"),
    *('"service.name"', "service.name", "resource['service.name']", "resource.service.name"),
    *("resource_attributes['service.name']", "ResourceAttributes['service.name']"),
    *("LogAttributes['http.route']", "`http.route`", 'logs."http.route"', "attr_http_route"),
    *("scope['name']", "body", "level", "timestamp", "resource_service_name"),
    *("time_bucket('5 minutes', timestamp)", "time_bucket(interval '1 hour', timestamp)"),
    *("date_bin(interval '5 minutes', timestamp)", "date_trunc('minute', timestamp)"),
    *("toStartOfMinute(timestamp)", "toStartOfHour(timestamp)", "date(timestamp)"),
    *("hour(timestamp)", "minute(timestamp)", "year(timestamp)", "extract(hour from timestamp)"),
    *("timestamp::date", "CAST(timestamp AS DATE)", "epoch(timestamp)", "to_unixtime(timestamp)"),
    *("unix_timestamp(timestamp)", "to_char(timestamp, '%H:%M')", "date_format(timestamp, '%H')"),
    *("now() - interval '15 minutes'", "now() - interval '15m'", "current_timestamp"),
    *("count(*)", "count(distinct level)", "count_if(level = 'ERROR')", "countIf(level = 'X')"),
    *("sum_if(1, level = 'ERROR')", "avgIf(attr_http_status_code, true)"),
    *("count(*) FILTER (WHERE level = 'ERROR')", "sum(CASE WHEN level = 'ERROR' THEN 1 END)"),
    *("arg_max(body, timestamp)", "argMin(body, timestamp)", "max_by(body, timestamp)"),
    *("min_by(level, timestamp)", "any_value(level)", "first_value(body ORDER BY timestamp)"),
    *('quantile("http.status_code", 0.5)', "approx_percentile_cont(attr_http_status_code, 0.9)"),
    *("approx_quantile(attr_http_status_code, 0.5)", "median(attr_http_status_code)"),
    *("percentile_cont(0.5) WITHIN GROUP (ORDER BY attr_http_status_code)", "uniq(level)"),
    *("approx_distinct(level)", "approx_count_distinct(level)", "stddev(attr_http_status_code)"),
    *("variance(attr_http_status_code)", "string_agg(level, ',')", "group_concat(level)"),
    *("array_agg(level)", "bool_or(level = 'INFO')", "every(level = 'INFO')"),
    *("if(level = 'INFO', 1, 0)", "iff(level = 'INFO', 'a', 'b')", "iif(true, 1, 2)"),
    *("CASE level WHEN 'INFO' THEN 1 END", "coalesce(level, 'x')", "ifnull(level, 'x')"),
    *("nvl(level, 'x')", "nullif(level, 'INFO')", "isnull(level)", "greatest(1, 2)"),
    *("regexp_extract(body, '([0-9]+) ms', 1)", "regexp_extract(body, '[0-9]+')"),
    *("regexp_substr(body, '[0-9]+')", "regexp_match(body, '[0-9]+')[1]", "body ~ 'took'"),
    *("body RLIKE 'took'", "body NOT REGEXP 'took'", "regexp_like(body, 'took')"),
    *("regexp_replace(body, '[0-9]+', '#')", "regexp_count(body, 't')", "body LIKE '%ms'"),
    *("body ILIKE '%MS'", "body SIMILAR TO '%ms'", "contains(body, 'ms')", "strpos(body, 'ms')"),
    *("position('ms' in body)", "starts_with(body, 'took')", "startswith(body, 'took')"),
    *("endswith(body, 'ms')", "len(body)", "length(body)", "strlen(body)", "lower(body)"),
    *("ucase(body)", "substring(body, 1, 3)", "substr(body, 1, 3)", "left(body, 3)"),
    *("split_part(body, ' ', 1)", "string_split(body, ' ')", "concat(level, '-', body)"),
    *("level || '-' || body", "trim(body)", "mod(7, 2)", "7 % 2", "round(1.5)", "7 / 2"),
    *("body -> 'user'", "body -> 'user' ->> 'id'", "body ->> 'ok'", "json_get(body, 'user')"),
    *("json_get_int(body, 'user', 'id')", "json_get_str(body, 'tags', 0)"),
    *("json_get_bool(body, 'ok')", "json_length(body, 'tags')", "json_contains(body, 'ok')"),
    *("json_extract(body, '$.user.id')", "json_extract_string(body, '$.tags[0]')"),
    *("JSONExtractString(body, 'ok')", "JSONExtractInt(body, 'user', 'id')"),
    *("json_value(body, '$.user.id')", "get_json_object(body, '$.user.id')"),
    *("json_array_length(attr_tags)", "attr_tags ->> 0", "json_object_keys(body)"),
    *("attr_http_status_code::text", "CAST(attr_http_status_code AS TEXT)"),
    *("TRY_CAST(body AS BIGINT)", "attr_http_status_code == 200", "level IN ('INFO', 'WARN')"),
    *("attr_http_status_code BETWEEN 200 AND 299", "level IS NOT NULL", "arrow_typeof(body)"),
    *("to_timestamp_seconds(1767225600)", "timestamp > '2026-01-01'", "date '2026-01-01'"),
    *("timestamp >= now() - interval '1 day'", "timestamp < to_timestamp_millis(1)"),
]

QUERIES = [
    "SELECT count(*) FROM traces",
    "SELECT level, count(*) AS n FROM logs GROUP BY level HAVING n > 0 ORDER BY n DESC LIMIT 5",
    "SELECT level, count(*) FROM logs GROUP BY ALL",
    "SELECT body FROM logs ORDER BY timestamp DESC LIMIT 1, 1",
    "SELECT body FROM logs QUALIFY row_number() OVER (PARTITION BY level ORDER BY timestamp) = 1",
    "WITH t AS (SELECT level FROM logs) SELECT * FROM t WHERE level = 'INFO'",
    "SELECT * EXCLUDE (body) FROM logs",
    "SELECT l.body FROM logs l JOIN logs r USING (timestamp)",
    "FROM logs SELECT body",
    "SELECT DISTINCT ON (level) level, body FROM logs ORDER BY level, timestamp",
    "DESCRIBE logs",
]

REFUSED = [
    ("message", "did you mean body"),
    ("msg", "body"),
    ("service", "resource_service_name"),
    ("ts", "timestamp"),
    ("_time", "timestamp"),
    ("severity", "level"),
    ("host", "there is no column host"),
    ('body = "INFO"', "a text is written 'INFO'"),
    ("timestamp > 1767225600", "to_timestamp_seconds"),
    ("timestamp = 5", "a number is no time"),
    ("timestamp BETWEEN 1 AND 2", "a number is no time"),
    ("http_route", "attr_http_route"),
    ('"http-route"', "http.route"),
    ("attributes['http.rute']", "attr_http_route"),
    ("mode(level)", "GROUP BY"),
    ("histogram(1)", "date_bin"),
    ("bin(timestamp, '5m')", "date_bin"),
    ("date_diff('minute', timestamp, now())", "date_part('epoch'"),
    ("dateadd(minute, 1, timestamp)", "interval"),
    ("strftime(timestamp, '%H')", "to_char"),
    ("percentile(attr_http_status_code, 95)", "approx_percentile_cont"),
    ("p95(attr_http_status_code)", "approx_percentile_cont"),
    ("latest(body)", "last_value"),
    ("earliest(body)", "first_value"),
    ("rate(1)", "count(*)"),
    ("split(body, ' ')", "split_part"),
    ("regexp_matches(body, 'x')", "regexp_like"),
    ("parse_json(body)", "json_get"),
    ("getdate()", "now()"),
    ("toString(1)", "CAST"),
    ("typeof(body)", "arrow_typeof"),
    ("size(attr_tags)", "json_length"),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_works(lake: lakerunner.Lake, expression: str) -> None:
    lake.sql(f"SELECT {expression} AS v FROM logs").to_arrow()


@pytest.mark.parametrize("text", QUERIES)
def test_a_query_works(lake: lakerunner.Lake, text: str) -> None:
    lake.sql(text).to_arrow()


@pytest.mark.parametrize(("expression", "instead"), REFUSED)
def test_an_error_names_the_equivalent(
    lake: lakerunner.Lake, expression: str, instead: str
) -> None:
    with pytest.raises(QueryError) as caught:
        lake.sql(f"SELECT {expression} AS v FROM logs").to_arrow()
    assert instead in caught.value.message


def test_the_values_are_right(lake: lakerunner.Lake) -> None:
    (row,) = (
        lake.sql("""
        SELECT count_if(level = 'ERROR') AS errors, arg_max(level, "http.status_code") AS worst,
            max(regexp_extract(body, '([0-9]+) ms', 1)) AS ms, max(body ->> 'ok') AS ok,
            sum(if(http.status_code >= 500, 1, 0)) AS failed, max(json_length(body, 'tags')) AS tags
        FROM logs
    """)
        .to_arrow()
        .to_pylist()
    )
    assert row == {"errors": 1, "worst": "ERROR", "ms": "15", "ok": "true", "failed": 1, "tags": 2}
