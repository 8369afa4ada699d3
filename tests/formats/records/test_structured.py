"""Structured data of syslog as attributes, and durations with their unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakerunner.formats.records.adopt import adopt
from lakerunner.formats.records.lines import Records
from lakerunner.formats.table import FORMATS
from lakerunner.model.signal import Signal

HEAD = "<165>1 2003-10-11T22:14:15.003Z web-1 events - ID47"


def _rows(*lines: str) -> list[dict[str, Any]]:
    data = "\n".join(lines).encode()
    table = FORMATS["text"].decode([data], Signal.LOGS, [1]).table
    wanted = [name for name in table.column_names if "structured" in name] + ["body"]
    return [
        {
            name.removeprefix("attr_structured_data_"): row[name]
            for name in wanted
            if row[name] is not None
        }
        for row in table.to_pylist()
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("- it is up", {"body": "it is up"}),
        ('[a@1 x="1" y="two words"] it is up', {"a_1_x": "1", "a_1_y": "two words"}),
        ('[a@1 x="1"][b z="3"] it is up', {"a_1_x": "1", "b_z": "3"}),
        (r'[a x="\"q\" \] \\ \n"] it is up', {"a_x": '"q" ] \\ \\n'}),
        ('[a x="1" x="2"] it is up', {"a_x": "1", "a_x_2": "2"}),
        ("[a@1] it is up", {"a_1": ""}),
        ('[a x="1" it is up', {"body": '[a x="1" it is up'}),
        ("[a x=1] it is up", {"body": "[a x=1] it is up"}),
    ],
)
def test_structured_data_becomes_attributes(said: str, expected: dict[str, str]) -> None:
    assert _rows(f"{HEAD} {said}") == [{"body": "it is up"} | expected]


def test_structured_data_without_a_message() -> None:
    assert _rows(f'{HEAD} [a x="1"]', f'{HEAD} [a x="2"] up') == [
        {"a_x": "1"},
        {"a_x": "2", "body": "up"},
    ]


def test_very_many_parameters_stay_text() -> None:
    names = "".join(f' k{number}="1"' for number in range(300))
    (row,) = _rows(f"{HEAD} [a{names}] up")
    assert row == {"body": "up", "attr_structured_data": f"[a{names}]"}


def test_what_one_object_says_does_not_change_another() -> None:
    names = "".join(f' k{number}="1"' for number in range(300))
    payloads = [f'{HEAD} [a x="1"] up'.encode(), f"{HEAD} [a{names}] up".encode()]
    both = FORMATS["text"].decode(payloads, Signal.LOGS, [1, 1]).table
    assert both["attr_structured_data_a_x"].to_pylist() == ["1", None]
    assert both["attr_structured_data"].to_pylist() == [None, f"[a{names}]"]


@pytest.mark.parametrize(
    ("unit", "count", "name", "value"),
    [
        ("ms", 1500, "attr_took_ns", 1_500_000_000),
        ("ns", -7, "attr_took_ns", -7),
        ("s", 2**40, "attr_took", "1099511627776s"),
    ],
)
def test_a_duration_says_its_unit(unit: str, count: int, name: str, value: object) -> None:
    took = pa.array([count, None], pa.duration(unit))
    records = Records(pa.table({"message": ["a", "b"], "took": took}), np.zeros(2, np.int32))
    table = adopt([records], Signal.LOGS, [1]).table
    assert table[name].to_pylist() == [value, None]
