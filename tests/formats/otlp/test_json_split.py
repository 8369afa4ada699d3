"""How OTLP JSON is cut: wherever the blocks end and however small the parts, nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.json_scan import Scanner
from lakerunner.formats.otlp.json import OtlpJson
from lakerunner.formats.otlp.json_signal import recognise_signal
from lakerunner.model.signal import Signal


def blocks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def brackets(text: bytes) -> list[tuple[int, int]]:
    """The reference: byte by byte."""
    found, depth, inside, escaped = [], 0, False, False
    for position, byte in enumerate(text):
        if byte == ord('"') and not escaped:
            inside = not inside
        elif not inside and byte in b"[]{}":
            depth += 1 if byte in b"[{" else -1
            found.append((position, depth))
        escaped = byte == ord("\\") and not escaped
    return found


@given(st.lists(st.sampled_from([*'[]{}"\\ab:,\n', "\\\\", '\\"'])), st.integers(1, 7))
def test_brackets_are_found_whatever_the_windows(pieces: list[str], size: int) -> None:
    text = "".join(pieces).encode()
    scanner, found = Scanner(), []
    for number, window in enumerate(blocks_of(text, size)):
        read = scanner.feed(window)
        places = (read.positions + number * size).tolist()
        found += list(zip(places, read.depths.tolist(), strict=True))
    assert found == brackets(text)


def record(number: int, text: str = "") -> dict[str, Any]:
    return {"timeUnixNano": str(number + 1), "body": {"stringValue": f"{number}{text}"}}


def document(counts: list[int], text: str) -> dict[str, Any]:
    """Resources with so many records each; bodies are numbered through."""
    resources, number = [], 0
    for count in counts:
        records = [record(number + each, text) for each in range(count)]
        number += count
        resources.append({"resource": {}, "scopeLogs": [{"logRecords": records}]})
    return {"unknown": [[1], {"a": []}], "resourceLogs": resources, "more": {"resourceLogs": [{}]}}


TEXTS = st.sampled_from(["", '"]}', "\\", '\\"', "[[{", "ä\n"])
DOCUMENTS = st.builds(document, st.lists(st.integers(0, 4), max_size=5), TEXTS)


def bodies(data: bytes, limit: int, size: int) -> tuple[list[str], int, list[int]]:
    """Bodies of all records, lines set aside, and the sizes of the parts."""
    parts = list(OtlpJson().split(blocks_of(data, size), limit))
    payloads = [part.data for part in parts]
    decoded = OtlpJson().decode(payloads, Signal.LOGS, [0] * len(parts))
    aside = sum(each.rows for each in decoded.set_aside)
    return decoded.table["body"].to_pylist(), aside, [len(payload) for payload in payloads]


@given(
    documents=st.lists(DOCUMENTS, min_size=1, max_size=4),
    indent=st.sampled_from([None, 0, 2]),
    limit=st.integers(1, 2000),
    size=st.integers(1, 3000),
)
def test_nothing_is_lost(documents: list[Any], indent: int | None, limit: int, size: int) -> None:
    data = "\n".join(json.dumps(each, indent=indent) for each in documents).encode()
    wanted = [
        record["body"]["stringValue"]
        for each in documents
        for resource in each["resourceLogs"]
        for record in resource["scopeLogs"][0]["logRecords"]
    ]
    found, aside, _ = bodies(data, limit, size)
    assert found == wanted
    assert aside == 0


@pytest.mark.parametrize("indent", [None, 1])
def test_a_large_document_is_cut_between_resources(indent: int | None) -> None:
    data = json.dumps(document([3] * 400, ""), indent=indent).encode()
    limit = 20_000
    found, aside, sizes = bodies(data, limit, 7777)
    assert found == [str(number) for number in range(1200)]
    assert aside == 0
    assert len(sizes) > 4
    assert max(sizes) <= limit + 50


def test_a_document_with_two_roots_loses_neither() -> None:
    both = {"resourceSpans": [{"scopeSpans": []}] * 50, **document([1] * 50, "")}
    parts = list(OtlpJson().split([json.dumps(both).encode()], 500))
    signals = [str(OtlpJson().signal(part.data)) for part in parts]
    assert signals == sorted(signals, reverse=True)
    assert set(signals) == {"spans", "logs"}


@pytest.mark.parametrize("limit", [300, 10**6])
@pytest.mark.parametrize("indent", [None, 1])
def test_what_is_complete_in_a_cut_off_document_is_taken_only_from_large_ones(
    limit: int, indent: int | None
) -> None:
    data = json.dumps(document([1] * 20, ""), indent=indent).encode()
    found, aside, _ = bodies(data[: len(data) // 2], limit, 100)
    assert aside == 1
    assert found == [str(number) for number in range(len(found))]
    assert bool(found) is (limit == 300)


@pytest.mark.parametrize("limit", [60, 10**6])
def test_lines_keep_their_numbers(limit: int) -> None:
    good = json.dumps({"resourceLogs": []}).encode()
    data = b"\xef\xbb\xbf" + b"\n".join(
        [good, b"", b"bad one", good, good, b"\r", b"bad two", good]
    )
    form = OtlpJson()
    found = []
    for part in form.split(blocks_of(data, 9), limit):
        decoded = form.decode([part.data], Signal.LOGS, [0])
        found += [part.line - 1 + line for each in decoded.set_aside for line in each.lines]
    assert found == [3, 7]


def test_documents_over_many_lines_keep_the_number_of_their_first() -> None:
    good = json.dumps({"resourceLogs": []}, indent=1)
    strange = json.dumps({"resourceSpans": [{}]}, indent=1)
    (part,) = OtlpJson().split([f"{good}\n\n{strange}\n{good}\n{strange}".encode()], 10**6)
    decoded = OtlpJson().decode([part.data], Signal.LOGS, [0])
    first = 1 + good.count("\n") + 2
    second = first + strange.count("\n") + 1 + good.count("\n") + 1
    assert [each.lines for each in decoded.set_aside] == [(first, second)]


def test_a_broken_first_line_does_not_swallow_the_others() -> None:
    good = json.dumps(document([1], "")).encode()
    found, aside, _ = bodies(b'{"resourceLogs":[{"x":\n' + good + b"\n" + good, 10**6, 50)
    assert (found, aside) == (["0", "0"], 1)


def test_a_broken_long_line_does_not_swallow_the_others() -> None:
    good = json.dumps(document([1], "")).encode()
    found, aside, _ = bodies(good + b'\n{"x":"' + b"y" * 5000 + b"\n" + good, 400, 50)
    assert found == ["0", "0"]
    assert aside >= 1


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b" "])
def test_there_is_always_a_part(data: bytes) -> None:
    parts = list(OtlpJson().split([data], 10))
    assert len(parts) == 1
    assert parts[0].data.strip() == b""


@given(st.binary(max_size=200), st.integers(1, 50), st.integers(1, 50))
def test_any_bytes_are_cut_and_decoded(data: bytes, limit: int, size: int) -> None:
    found, _, _ = bodies(data, limit, size)
    assert found == []


@pytest.mark.parametrize(
    ("data", "signal"),
    [
        (b'{"resourceLogs":[]}', Signal.LOGS),
        (b'\xef\xbb\xbf\n {"resource_spans" : []}', Signal.SPANS),
        (b'{\n  "a": {"b": "}"},\n  "resourceMetrics": [', Signal.METRICS),
        (b'not json\n{"resourceMetrics":[]}', Signal.METRICS),
        (b'{"a":{"resourceLogs":[]}}', None),
        (b'{"a":"resourceLogs"}', None),
        (b'{"a":"\\"resourceLogs\\":"}', None),
        (b"{}", None),
    ],
)
def test_the_first_telling_field_decides(data: bytes, signal: Signal | None) -> None:
    assert recognise_signal(data) is signal
    assert OtlpJson().recognises(data) is (signal is not None)


@pytest.mark.parametrize("data", [b"hello", b"[1]", b"\x0a\x00", b"a,b\n1,2\n"])
def test_other_content_is_not_this_format(data: bytes) -> None:
    assert not OtlpJson().recognises(data)
    with pytest.raises(CorruptObjectError):
        OtlpJson().signal(data)
