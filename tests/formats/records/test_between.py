"""Text between JSON lines: banners, stack traces and prints land as rows of their own."""

from __future__ import annotations

from typing import Any

import pytest

from lakerunner.formats.detect import choose_format
from lakerunner.formats.table import FORMATS
from lakerunner.model.profile import SourceMapping
from lakerunner.model.signal import Signal

OBJECT_NS = 10**18
MIXED = b"""Starting up v1.0
  with a banner
{"ts": "2026-01-01T00:00:00Z", "msg": "a"}
Traceback (most recent call last):
  File "x.py", line 3
    call({
ValueError: x

{"ts": "2026-01-01T00:00:05Z", "msg": "b"}
{"ts": "2026-01-01T00:00:06Z", "msg": "c"
[INFO] hello
bye
{"msg": "d"}
after it
"""


def rows(*payloads: bytes, mapping: SourceMapping | None = None) -> Any:
    chosen = FORMATS["json"]
    if mapping is not None:
        chosen = chosen.mapped(mapping)
    return chosen.decode(payloads, Signal.LOGS, [OBJECT_NS] * len(payloads))


def told(decoded: Any) -> list[tuple[str, str, str]]:
    table = decoded.table.select(["body", "timestamp", "timestamp_source"])
    return [
        (row["body"], f"{row['timestamp']:%Y-%m-%d %H:%M:%S}", row["timestamp_source"])
        for row in table.to_pylist()
    ]


def test_text_lands_between_its_neighbours() -> None:
    decoded = rows(b'{"msg": "before"}\n', MIXED)
    assert told(decoded) == [
        ("before", "2001-09-09 01:46:40", "object"),
        ("Starting up v1.0\n  with a banner", "2026-01-01 00:00:00", "neighbour"),
        ("a", "2026-01-01 00:00:00", "time"),
        (
            'Traceback (most recent call last):\n  File "x.py", line 3\n    call({\nValueError: x',
            "2026-01-01 00:00:00",
            "neighbour",
        ),
        ("b", "2026-01-01 00:00:05", "time"),
        ("[INFO] hello", "2026-01-01 00:00:05", "neighbour"),
        ("bye", "2026-01-01 00:00:05", "neighbour"),
        ("d", "2001-09-09 01:46:40", "object"),
        ("after it", "2001-09-09 01:46:40", "object"),
    ]
    assert decoded.rows.tolist() == [1, 8]
    (aside,) = decoded.set_aside
    assert (aside.payload, aside.lines) == (1, (10,))


def test_neighbours_of_other_kinds_change_nothing() -> None:
    """Also where objects disagree so that they are read apart."""
    alone = told(rows(MIXED))
    together = told(rows(b'{"msg": {"x": 1}, "ts": 5}\n', MIXED, b'{"msg": 7}\noh\n', MIXED))
    assert together[1:9] == alone
    assert together[-8:] == alone


def test_a_record_in_one_piece_across_lines_that_are_set_aside() -> None:
    decoded = rows(b'{"msg": "a"}\nfirst\n{"cut\nsecond\n\tat c.d(e.java:1)\n')
    assert [body for body, *_ in told(decoded)] == ["a", "first", "second\n\tat c.d(e.java:1)"]


@pytest.mark.parametrize(
    "line", ["5", "true", "null", '"x"', "[1]", "[true", '"b": 2}', "x}", "]", "}", 'lue": 3}']
)
def test_pieces_of_json_are_no_text(line: str) -> None:
    decoded = rows(b'{"msg": "a"}\n%b\n' % line.encode())
    assert decoded.rows.tolist() == [1]
    assert decoded.set_aside[0].lines == (2,)


def test_an_object_without_any_json_is_set_aside() -> None:
    decoded = rows(b"<html>\nnot found\n", b'{"msg": "a"}\n')
    assert decoded.rows.tolist() == [0, 1]
    assert decoded.set_aside[0].lines == (1, 2)


def test_a_mapping_means_the_records_and_its_constants_all_rows() -> None:
    said = SourceMapping(columns={"body": "what"}, constants={"resource.service.name": "shop"})
    decoded = rows(b'{"what": "a", "message": "m"}\nprinted\n', mapping=said)
    found = decoded.table.select(["body", "resource_service_name"]).to_pylist()
    assert found == [
        {"body": "a", "resource_service_name": "shop"},
        {"body": "printed", "resource_service_name": "shop"},
    ]


def test_metrics_are_no_text() -> None:
    payload = b'{"metric": "up", "value": 1}\nprinted\n'
    decoded = FORMATS["json"].decode([payload], Signal.METRICS, [OBJECT_NS])
    assert decoded.rows.tolist() == [1]
    assert decoded.set_aside[0].lines == (2,)


@pytest.mark.parametrize("name", ["a.log", "a.txt", "a.json", "a"])
def test_text_before_the_first_object_is_json(name: str) -> None:
    assert choose_format(name, MIXED).name == "json"


def test_text_with_an_object_in_it_is_no_json() -> None:
    text = b"one\n" * 30 + b'{"dump": 1}\n' + b"two\n" * 30
    assert choose_format("a.log", text).name == "text"


def test_text_with_a_time_of_its_own_keeps_it() -> None:
    payload = b'{"ts": "2026-01-01T00:00:00Z", "msg": "a"}\n2026-02-02T00:00:00Z WARN slow\n'
    decoded = rows(payload)
    (_, text) = decoded.table.select(["timestamp", "timestamp_source", "level"]).to_pylist()
    assert f"{text['timestamp']:%m-%d}" == "02-02"
    assert (text["timestamp_source"], text["level"]) == ("time", "WARN")
