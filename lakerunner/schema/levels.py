"""The level of a log row: from its severity text or, without one, from its severity number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""Levels in rising order. Four severity numbers belong to each, from 1 for TRACE to 24 for FATAL:
https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber"""

_PER_LEVEL = 4

_WORDS = {
    "TRACE": ("TRACE", "TRC", "FINEST", "FINER", "VERBOSE", "SILLY", "T"),
    "DEBUG": ("DEBUG", "DBG", "FINE", "CONFIG", "D"),
    "INFO": ("INFO", "INF", "INFORMATION", "INFORMATIONAL", "NOTICE", "NOTE", "LOG", "I", "N"),
    "WARN": ("WARN", "WARNING", "WRN", "W"),
    "ERROR": ("ERROR", "ERR", "SEVERE", "E"),
    "FATAL": (
        "FATAL",
        "CRITICAL",
        "CRIT",
        "ALERT",
        "EMERGENCY",
        "EMERG",
        "PANIC",
        "DPANIC",
        "FTL",
        "F",
        "C",
    ),
}
_LEVEL_OF = {word: LEVELS.index(level) for level, words in _WORDS.items() for word in words}


def level_of_text(text: str) -> int:
    """Position in `LEVELS` of what a severity text says, or -1 when it says nothing known.

    Case, surrounding punctuation and a trailing digit (`INFO2`) do not matter.

    Example:
        >>> [level_of_text(word) for word in ("warning", " Error ", "INFO2", "banana")]
        [3, 4, 2, -1]
    """
    word = text.strip(" \t[]<>():;.,\"'").upper()
    return _LEVEL_OF.get(word, _LEVEL_OF.get(word.rstrip("1234"), -1))


def derive_levels(severity_text: Any, severity_number: Any) -> Any:
    """Level of each row.

    Args:
        severity_text: String array, NULL or empty where absent.
        severity_number: Integer array, NULL or 0 where absent.

    Returns:
        Dictionary array over `LEVELS`; NULL where neither says anything.

    Example:
        >>> derive_levels(pa.array(["warning", None]), pa.array([0, 17], pa.int32())).to_pylist()
        ['WARN', 'ERROR']
    """
    encoded = severity_text.dictionary_encode()
    # One Python step per distinct text of the batch, of which there are a handful.
    known = [level_of_text(text) for text in encoded.dictionary.to_pylist()]
    by_text = np.array([*known, -1], np.int32)  # the last entry stands for NULL
    from_text = by_text[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]
    number = pc.fill_null(severity_number, 0).to_numpy(zero_copy_only=False)
    in_range = (number >= 1) & (number <= _PER_LEVEL * len(LEVELS))
    from_number = np.where(in_range, (number - 1) // _PER_LEVEL, -1)
    level = np.where(from_text >= 0, from_text, from_number).astype(np.int32)
    indices = pa.array(level, mask=level < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(LEVELS))


# Enumerations of OpenTelemetry: their names by number, and columns of them.

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
"""`SpanKind` by number; another number stands in the column as it was sent."""

STATUS_CODES = ("UNSET", "OK", "ERROR")
"""`Status.StatusCode` by number; another number stands in the column as it was sent."""

TEMPORALITIES = ("unspecified", "delta", "cumulative")
"""`AggregationTemporality` by number."""


def enum_names(numbers: Any, names: tuple[str, ...]) -> Any:
    """Write the numbers of an enumeration as names; a number without a name as itself.

    Args:
        numbers: int32 array; a NULL reads as 0.
        names: By number, from 0 on.

    Returns:
        Dictionary array of text without NULLs.

    Example:
        >>> enum_names(pa.array([1, 7, None], pa.int32()), STATUS_CODES).to_pylist()
        ['OK', '7', 'UNSET']
    """
    sent = pc.fill_null(numbers, 0).to_numpy()
    known = (sent >= 0) & (sent < len(names))
    if known.all():
        return pa.DictionaryArray.from_arrays(pa.array(sent), pa.array(names))
    strange, places = np.unique(sent[~known], return_inverse=True)
    indices = sent.copy()
    indices[~known] = len(names) + places
    texts = pa.concat_arrays([pa.array(names), pa.array(strange).cast(pa.string())])
    return pa.DictionaryArray.from_arrays(pa.array(indices), texts)
