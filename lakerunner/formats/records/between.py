"""Text between JSON lines, such as banners and stack traces: which of it is text, and its rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.formats.records.payload_lines import set_aside
from lakerunner.formats.records.read import Between, Records
from lakerunner.formats.records.text import traces_together

if TYPE_CHECKING:
    from lakerunner.formats.records.payload_lines import Lines

_NEWLINE = ord("\n")
_JSON_PIECE = re.compile(
    rb"""[{}\]",:]                     # how a piece of an object begins that is cut into lines
    |\[(?!\d+[-/:]|(?!true|false|null|NaN|Infinity)[A-Za-z])  # an array, but no `[INFO]`
    |(?:true|false|null|NaN|-?Infinity|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\Z
    |[^{]*":                          # a pair that no object opened
    |[^{\[]*[}\]],?\Z                 # an end of what was not opened
    """,
    re.VERBOSE,
)


class TextRows(NamedTuple):
    """Records made of text among others.

    Attributes:
        records: One column, `message`.
        after: int64 per record: how many others of its payload stand before it.
    """

    records: Records
    after: Any


def text_among(lines: Lines, wrong: dict[int, str]) -> tuple[Between | None, dict[int, str]]:
    """Tell text from broken JSON, among the lines of a batch that are no JSON object.

    A line is text if it does not look like a piece of JSON, or if it is indented and stands behind
    one that is. A payload without any object has no text.

    Args:
        lines: All lines of the batch.
        wrong: Why a line is no object, by its position in `lines`.

    Returns:
        The text, and the other lines with their reasons.
    """
    if not wrong:
        return None, wrong
    good = np.ones(len(lines.starts), bool)
    good[list(wrong)] = False
    having = np.zeros(int(lines.payload[-1]) + 1, bool)
    having[lines.payload[good]] = True
    text: list[int] = []
    for place in sorted(wrong):
        behind = bool(text) and text[-1] == place - 1 and _is_indented(lines, place)
        if having[lines.payload[place]] and (behind or _is_text(lines, place)):
            text.append(place)
    if not text:
        return None, wrong
    objects = np.cumsum(good)
    first = np.searchsorted(lines.payload, lines.payload[text])  # lines are in payload order
    after = objects[text] - np.where(first > 0, objects[first - 1], 0)
    picked = lines.pick(np.array(text))
    taken = set(text)
    rest = {place: reason for place, reason in wrong.items() if place not in taken}
    # Lines that do not follow one another are of different runs, as those of two payloads are.
    return Between(picked, tuple(wrong[place] for place in text), after), rest


def _is_text(lines: Lines, place: int) -> bool:
    line = lines.data[int(lines.starts[place]) : int(lines.ends[place])]
    return _JSON_PIECE.match(line) is None


def _is_indented(lines: Lines, place: int) -> bool:
    start = int(lines.starts[place])
    return start > 0 and lines.data[start - 1] != _NEWLINE


def rows_between(between: Between) -> TextRows:
    """Make records of text among records of another kind; traces are kept in one piece."""
    lines, _, after = between
    apart = np.ones(len(lines.starts), bool)
    apart[1:] = (np.diff(after) > 0) | (np.diff(lines.payload) > 0) | (_gaps(lines) > 0)
    runs = (np.cumsum(apart) - 1).astype(np.int32)
    message, firsts = traces_together(lines._replace(payload=runs))
    return TextRows(Records(pa.table({"message": message}), lines.payload[firsts]), after[firsts])


def _gaps(lines: Lines) -> Any:
    """Lines between each and the next that are not blank, as what was set aside is."""
    blank = np.frombuffer(lines.data, np.uint8)
    filled = np.concatenate([[0], np.cumsum(blank > ord(" "))])
    return filled[lines.starts[1:]] - filled[lines.ends[:-1]]


def without_text(records: Records) -> Records:
    """The same records, with the text among them set aside."""
    if records.between is None:
        return records
    lines, reasons, _ = records.between
    aside = set_aside(lines, enumerate(reasons))
    return records._replace(between=None, set_aside=(*records.set_aside, *aside))
