"""OTLP JSON as producers really write it, and as nobody should."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.formats.otlp.json import OtlpJson
from lakerunner.limits import NESTING_DEPTH
from lakerunner.model.signal import Signal

TIME = 1_767_225_600 * 10**9
TRACE = "5b8efff798038103d269b633813fc60c"


def decode(*lines: bytes, signal: Signal = Signal.LOGS) -> Any:
    return OtlpJson().decode([b"\n".join(lines)], signal, [7])


def log(record: str) -> bytes:
    return b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{%s}]}]}]}' % record.encode()


def attribute(value: str) -> bytes:
    return log(f'"attributes":[{{"key":"a","value":{value}}}]')


def span(fields: str) -> bytes:
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[{%s}]}]}]}' % fields.encode()


def only(decoded: Any) -> dict[str, Any]:
    assert decoded.set_aside == ()
    (row,) = decoded.table.to_pylist()
    return dict(row)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('{"intValue":"5"}', 5),
        ('{"intValue":5}', 5),
        ('{"intValue" : -9223372036854775808}', -(2**63)),
        ('{"intValue":"9223372036854775807"}', 2**63 - 1),
        ('{"intValue":"5.0"}', 5),
        ('{"intValue":1e3}', 1000),
        ('{"int_value":5}', 5),
        ('{"doubleValue":5}', 5.0),
        ('{"doubleValue":"1.5"}', 1.5),
        ('{"doubleValue":"Infinity"}', float("inf")),
        ('{"doubleValue":"-Infinity"}', float("-inf")),
        ('{"doubleValue":-Infinity}', float("-inf")),
        ('{"boolValue":true}', True),
        ('{"stringValue":""}', ""),
        ('{"stringValue":"\\u00e4\\ud83e\\udd9c\\n"}', "ä🦜\n"),
        ('{"stringValue":"x","more":{"intValue":7}}', "x"),
        ('{"intValue":null,"stringValue":"x"}', "x"),
        ('{"stringValue":"x","stringValue":"y"}', "y"),
        ('{"bytesValue":"+/8="}', "+/8="),
        ('{"bytesValue":"-_8"}', "+/8="),
        ('{"bytesValue":""}', ""),
        ('{"arrayValue":{}}', []),
        ('{"arrayValue":{"values":null}}', []),
        ('{"kvlistValue":{"values":[]}}', {}),
        ('{"array_value":{"values":[{"int_value":1},{}]}}', [1, None]),
        ('{"arrayValue":{"values":[{"doubleValue":"NaN"},{"intValue":1}]}}', ["NaN", 1]),
        ('{"arrayValue":{"values":[null,{"intValue":1}]}}', [1]),
        ('{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"-_8"}}]}}', {"k": "+/8="}),
        (
            '{"kvlistValue":{"values":[{"key":"k"},{"value":{"boolValue":true}}]}}',
            {"k": None, "": True},
        ),
    ],
)
def test_values(value: str, wanted: Any) -> None:
    found = only(decode(attribute(value)))["attr_a"]
    if isinstance(wanted, (list, dict)) or "bytesValue" in value:
        found = json.loads(found)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize("text", ['"NaN"', "NaN"])
def test_not_a_number(text: str) -> None:
    found = only(decode(attribute(f'{{"doubleValue":{text}}}')))["attr_a"]
    assert found != found  # noqa: PLR0124 - nothing else is unequal to itself


@pytest.mark.parametrize(
    ("fields", "column", "wanted"),
    [
        ('"kind":2', "kind", "SERVER"),
        ('"kind":"SPAN_KIND_SERVER"', "kind", "SERVER"),
        ('"kind":"2"', "kind", "SERVER"),
        ('"kind":null', "kind", "UNSPECIFIED"),
        ('"status":{"code":"STATUS_CODE_ERROR"}', "status_code", "ERROR"),
        ('"status":{"code":2,"message":"bad"}', "status_message", "bad"),
        ('"traceId":"5B8EFFF798038103D269B633813FC60C"', "trace_id", TRACE),
        ('"traceId":"W47/95gDgQPSabYzgT/GDA=="', "trace_id", TRACE),
        ('"traceId":"W47_95gDgQPSabYzgT_GDA"', "trace_id", TRACE),
        ('"spanId":"7uGbfsPBsXQ="', "span_id", "eee19b7ec3c1b174"),
        ('"parent_span_id":"EEE19B7EC3C1B174"', "parent_span_id", "eee19b7ec3c1b174"),
        ('"spanId":"abcdefabcdef"', "span_id", "abcdefabcdef"),
        ('"spanId":"ABC"', "span_id", "abc"),
        ('"spanId":"Not an id"', "span_id", "Not an id"),
        ('"flags":"257"', "flags", 257),
        (f'"startTimeUnixNano":{TIME},"endTimeUnixNano":"{TIME + 5}"', "duration_ns", 5),
    ],
)  # fmt: skip
def test_fields_of_spans(fields: str, column: str, wanted: Any) -> None:
    row = only(decode(span(fields), signal=Signal.SPANS))
    assert row[column] == wanted


def test_ids_of_one_column_may_be_written_in_several_ways() -> None:
    ids = ["5B8EFFF798038103D269B633813FC60C", "W47/95gDgQPSabYzgT/GDA==", "", "x y", "!" * 24]
    found = decode(*(span(f'"traceId":"{each}"') for each in ids), signal=Signal.SPANS)
    assert found.table["trace_id"].to_pylist() == [TRACE, TRACE, None, "x y", "!" * 24]


@pytest.mark.parametrize(
    "line",
    [
        b"this is not json at all",
        b"{incomplete json",
        b'{"resourceLogs":[',
        b'{"resourceLogs":[]} {"resourceLogs":[]}',
        b"[]",
        b"7",
        b'"text"',
        b'{"resourceLogs":{}}',
        b'{"resourceLogs":[7]}',
        b'{"invalid": "not otlp json"}',
        b'{"resourceSpans":[]}',
        log('"body":{"stringValue":5}'),
        log('"body":{"boolValue":"true"}'),
        log('"body":{"intValue":"five"}'),
        log('"body":{"intValue":5.5}'),
        log('"body":{"intValue":"9223372036854775808"}'),
        log('"timeUnixNano":"18446744073709551616"'),
        log('"timeUnixNano":-1'),
        log('"severityNumber":"SEVERITY_NUMBER_LOUD"'),
        log('"body":{"bytesValue":"a"}'),
        log('"body":{"bytesValue":"a b c"}'),
        log('"body":{"arrayValue":[]}'),
        log('"attributes":{"key":"a"}'),
        b"[" * 100_000,
        b'{"x":' * 100_000,
        b"\x00\xff\xfe",
    ],
)  # fmt: skip
def test_one_bad_line_is_named_and_the_rest_land(line: bytes) -> None:
    good = log('"body":{"stringValue":"fine"}')
    found = decode(good, good, line, b"", good)
    (aside,) = found.set_aside
    assert (aside.payload, aside.lines, aside.rows) == (0, (3,), 1)
    assert aside.code == "corrupt_object"
    assert aside.reason
    assert found.table["body"].to_pylist() == ["fine"] * 3
    assert found.rows.tolist() == [3]


def test_many_lines_and_few_bad_ones() -> None:
    lines = [log(f'"timeUnixNano":"{TIME + number}"') for number in range(2000)]
    bad = {17: b"{oops", 1200: log('"body":{"stringValue":5}'), 1999: b'{"resourceMetrics":[]}'}
    for number, line in bad.items():
        lines[number] = line
    lines[500] = attribute('{"stringValue":"x","stringValue":"y"}')
    found = decode(*lines)
    assert {(each.lines, each.rows) for each in found.set_aside} == {
        ((number + 1,), 1) for number in bad
    }
    times = found.table["timestamp"].cast("int64").to_pylist()
    assert times == [
        7 if number == 500 else TIME + number for number in range(2000) if number not in bad
    ]


def test_only_bad_lines() -> None:
    found = OtlpJson().decode([b"a\nb\n", b"\n\n{}\nc"], Signal.LOGS, [1, 2])
    assert found.table.num_rows == 0
    assert [(each.payload, each.lines, each.rows) for each in found.set_aside] == [
        (0, (1, 2), 2),
        (1, (4,), 1),
    ]


def test_a_document_with_two_signals_gives_one_and_says_so() -> None:
    line = log('"body":{"stringValue":"fine"}')[:-1] + b',"resourceSpans":[{}]}'
    found = decode(line)
    assert found.table["body"].to_pylist() == ["fine"]
    assert [each.reason for each in found.set_aside] == [
        "it also carries spans, which were left out"
    ]


@pytest.mark.parametrize("payload", [b"", b"\n", b"{}", b'{"resourceLogs":null}', b" {} \r\n"])
def test_no_records(payload: bytes) -> None:
    found = OtlpJson().decode([payload], Signal.LOGS, [7])
    assert (found.table.num_rows, found.rows.tolist(), found.set_aside) == (0, [0], ())


@pytest.mark.parametrize("kind", ["array", "map"])
@pytest.mark.parametrize("depth", [1, 2, 3, 5, 6, 20, NESTING_DEPTH, NESTING_DEPTH + 1, 500])
def test_deep_values(depth: int, kind: str) -> None:
    value = '{"stringValue":"leaf"}'
    for _ in range(depth):
        if kind == "array":
            value = f'{{"arrayValue":{{"values":[{value}]}}}}'
        else:
            value = f'{{"kvlistValue":{{"values":[{{"key":"k","value":{value}}}]}}}}'
    found = decode(attribute(value), log(""))
    if depth > NESTING_DEPTH:
        assert [each.lines for each in found.set_aside] == [(1,)]
        assert found.table.num_rows == 1
        return
    assert found.set_aside == ()
    read, levels = json.loads(found.table["attr_a"][0].as_py()), 0
    while read != "leaf":
        read, levels = read[0 if kind == "array" else "k"], levels + 1
    assert levels == depth


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\xc3\x28", "\ufffd("),
        (b"a\\ud83e", "a\ufffd"),
        (b"\\udd9cb", "\ufffdb"),
        (b"\\\\ud83e", "\\ud83e"),
        (b"\\ud83e\\udd9c\\ud83e", "🦜\ufffd"),
    ],
)
def test_broken_text_is_repaired(written: bytes, read: str) -> None:
    line = attribute('{"stringValue":"MARK"}').replace(b"MARK", written)
    assert only(decode(line))["attr_a"] == read


@pytest.mark.parametrize(
    "text",
    [
        '\\"intValue\\":5',
        '"kind":"SPAN_KIND_SERVER"',
        '"trace_id":"x"',
        '"doubleValue":5',
        '_id" : 1',
    ],
)
def test_texts_that_look_like_fields_are_left_alone(text: str) -> None:
    body = json.dumps({"stringValue": text})
    odd = '"attributes":[{"key":"n","value":{"doubleValue":"NaN"}}],"trace_id":"ab"'
    assert only(decode(log(f'"body":{body},{odd}')))["body"] == text


@given(st.binary(max_size=80))
def test_any_bytes_decode_or_are_set_aside(payload: bytes) -> None:
    found = OtlpJson().decode([payload], Signal.LOGS, [7])
    assert found.table.num_rows == found.rows.sum() == 0
    lines = [line for line in payload.split(b"\n") if line.strip()]
    assert sum(each.rows for each in found.set_aside) <= len(lines)


GOOD = log('"timeUnixNano":"5","body":{"stringValue":"é\\n"},"traceId":"ab","severityNumber":9')


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_changed_byte_never_takes_the_neighbour(position: int, byte: int) -> None:
    changed = GOOD[:position] + bytes([byte]) + GOOD[position + 1 :]
    found = decode(GOOD, changed, GOOD)
    bodies = found.table["body"].to_pylist()
    assert bodies[:1] + bodies[-1:] == ["é\n", "é\n"]
    assert 2 <= len(bodies) <= 3


POINT = (
    '{"timeUnixNano":"1767225600000000000","count":"1","bucketCounts":["1"],%s,"exemplars":['
    '{"asDouble":1.0,"filteredAttributes":[{"key":"e"}]}],'
    '"attributes":[{"key":"a"},{"key":"b","value":{"stringValue":"x"}}]}'
)
METRIC = (
    '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","histogram":'
    '{"aggregationTemporality":2,"dataPoints":[%s]}}]}]}]}\n'
)
LOG = (
    '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{%s"body":{"kvlistValue":{"values":[{"key":"n"}]}},'
    '"attributes":[{"key":"a"},{"key":"b","value":{"stringValue":"x"}}]}]}]}]}\n'
)


def test_a_point_that_is_read_patiently_changes_no_neighbour() -> None:
    usual = (METRIC % (POINT % '"explicitBounds":[1.5]')).encode()
    odd = (METRIC % (POINT % '"explicitBounds":[0.0,"Infinity"]')).encode()
    alone = OtlpJson().decode([usual], Signal.METRICS, [0]).table
    both = OtlpJson().decode([usual + odd], Signal.METRICS, [0]).table
    assert both.column_names == alone.column_names
    assert both.slice(0, 1).to_pylist() == alone.to_pylist()
    same = [name for name in alone.column_names if name != "explicit_bounds"]
    assert both.select(same).slice(1).to_pylist() == alone.select(same).to_pylist()


def test_a_key_that_stands_twice_changes_no_neighbour() -> None:
    usual, odd = ((LOG % text).encode() for text in ("", '"severityText":"a","severityText":"b",'))
    alone = OtlpJson().decode([usual], Signal.LOGS, [0]).table
    both = OtlpJson().decode([usual, odd], Signal.LOGS, [0, 0]).table
    assert both.slice(0, 1).to_pylist() == alone.to_pylist()
    assert "attr_a" not in both.column_names


@pytest.mark.parametrize(
    "line", [b"null", b" null", b"\tnull null", b"null{}", b"[null]", b"{} null"]
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_null_for_a_document_ends_no_process(line: bytes, place: int) -> None:
    lines = [log('"body":{"stringValue":"a"}')]
    lines.insert(place, line)
    found = decode(*lines)
    assert found.rows.tolist() == [1]
    assert [each.lines for each in found.set_aside] == [(place + 1,)]


def test_an_unknown_field_that_is_nested_without_end_takes_no_neighbour() -> None:
    deep = b'{"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}"
    found = decode(log('"body":{"stringValue":"a"}'), deep)
    assert found.rows.tolist() == [1]
    assert [each.reason for each in found.set_aside] == ["it is nested too deep"]
