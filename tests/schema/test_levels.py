"""Levels from severity text and number."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakerunner.schema.levels import LEVELS, derive_levels


@pytest.mark.parametrize("number", range(25))
def test_four_numbers_for_each_level(number: int) -> None:
    levels = derive_levels(pa.array([None], pa.string()), pa.array([number], pa.int32()))
    assert levels.to_pylist() == [LEVELS[(number - 1) // 4] if number else None]


@pytest.mark.parametrize(
    ("text", "number", "level"),
    [
        ("warning", 17, "WARN"),
        ("[Error]", 0, "ERROR"),
        ("info3", 0, "INFO"),
        ("CRITICAL", 1, "FATAL"),
        ("banana", 9, "INFO"),
        ("banana", 0, None),
        ("", None, None),
        (None, -1, None),
        (None, 25, None),
        (None, 24, "FATAL"),
    ],
)
def test_text_counts_before_the_number(
    text: str | None, number: int | None, level: str | None
) -> None:
    found = derive_levels(pa.array([text], pa.string()), pa.array([number], pa.int32()))
    assert found.to_pylist() == [level]


def test_an_empty_batch() -> None:
    assert len(derive_levels(pa.array([], pa.string()), pa.array([], pa.int32()))) == 0
