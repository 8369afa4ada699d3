"""A trace as a person reads it: a line a span, with a bar from its start to its end."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.model.times import MAX_NS, isoformat
from lakerunner.printable import printable
from lakerunner.schema.tables import SERVICE

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN_SPANS = 200
"""Spans that are drawn; of longer traces the rest is counted."""

_BAR, _NAME, _SERVICE, _MESSAGE, _INDENTED = 32, 48, 24, 60, 12
_UNITS = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))


class Line(NamedTuple):
    """One span as it is drawn.

    Attributes:
        name: Of the span, behind a blank or two for each span above it.
        service: Which sent it.
        begin: Where it begins, as a share of the whole trace.
        width: How long it is, likewise.
        duration: The same as text.
        status: What went wrong; mostly nothing.
    """

    name: str
    service: str
    begin: float
    width: float
    duration: str
    status: str


def duration_text(nanoseconds: int | None) -> str:
    """A duration with three digits.

    Example:
        >>> duration_text(1_234_567), duration_text(90_000_000_000), duration_text(None)
        ('1.23 ms', '90 s', '')
    """
    if nanoseconds is None:
        return ""
    size, unit = next((one for one in _UNITS if abs(nanoseconds) >= one[0]), _UNITS[-1])
    value = nanoseconds / size
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - three digits
    return f"{text} {unit}"


def headline(trace_id: str, spans: Any) -> str:
    """What a trace is, in a line.

    Args:
        trace_id: Its id.
        spans: Its spans, as a table.
    """
    if not spans.num_rows:
        return f"no span of trace {printable(trace_id)}"
    first, last = extent(spans)
    services = len(spans[SERVICE].unique().drop_null())
    errors = pc.sum(pc.equal(spans["status_code"], "ERROR")).as_py() or 0
    said = [
        _counted(spans.num_rows, "span"),
        _counted(services, "service"),
        duration_text(last - first),
        f"from {isoformat(first)}",
        _counted(errors, "error") if errors else "",
    ]
    return f"trace {printable(trace_id)}: {', '.join(filter(None, said))}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def extent(spans: Any) -> tuple[int, int]:
    """When a trace begins and ends, in nanoseconds since the epoch."""
    starts = spans["timestamp"].cast(pa.int64()).to_numpy()
    lengths = spans["duration_ns"].fill_null(0).to_numpy()
    # A span may say that it ends after all time; a start before 1970 leaves room for any length.
    room = MAX_NS - np.maximum(starts, 0)
    ends = starts + np.clip(lengths, 0, room)
    return int(starts.min()), int(ends.max())


def lines(spans: Any) -> list[Line]:
    """The first spans of a trace, ready to be drawn.

    Args:
        spans: Its spans in tree order, with their `depth`.
    """
    first, last = extent(spans)
    whole = max(last - first, 1)
    shown = spans.slice(0, SHOWN_SPANS)
    starts = shown["timestamp"].cast(pa.int64()).to_pylist()
    named = ("name", SERVICE, "duration_ns", "depth", "status_code", "status_message")
    rows = zip(starts, *(shown[name].to_pylist() for name in named), strict=True)
    return [
        Line(
            "  " * min(depth, _INDENTED) + _shown(name, _NAME),
            _shown(service, _SERVICE),
            (start - first) / whole,
            max(duration or 0, 0) / whole,
            duration_text(duration),
            _shown(f"ERROR {message or ''}".strip(), _MESSAGE) if status == "ERROR" else "",
        )
        for start, name, service, duration, depth, status, message in rows
    ]


def _shown(text: str | None, length: int) -> str:
    said = printable("" if text is None else text)
    return said if len(said) <= length else f"{said[: length - 1]}…"


def waterfall_text(trace_id: str, spans: Any) -> str:
    """A trace for a terminal; see `lines`."""
    said = [headline(trace_id, spans)]
    if spans.num_rows:
        drawn = lines(spans)
        names, services = _width(one.name for one in drawn), _width(one.service for one in drawn)
        durations = _width(one.duration for one in drawn)
        said += [
            f"{one.name:<{names}}  {one.service:<{services}}  {_bar(one)}  "
            f"{one.duration:>{durations}}  {one.status}".rstrip()
            for one in drawn
        ]
    return "\n".join([*said, *_rest(spans)])


def _width(texts: Any) -> int:
    return max(map(len, texts), default=0)


def _bar(line: Line) -> str:
    begin = min(round(line.begin * _BAR), _BAR - 1)
    filled = min(max(round(line.width * _BAR), 1), _BAR - begin)
    return f"▕{' ' * begin}{'█' * filled}{' ' * (_BAR - begin - filled)}▏"


def _rest(spans: Any) -> Sequence[str]:
    more = spans.num_rows - SHOWN_SPANS
    return [f"and {more:,} more"] if more > 0 else []


_CELL = (
    '<div style="margin-left:{begin:.2f}%;width:{width:.2f}%;min-width:2px;height:0.8em;'
    'background:{colour}"></div>'
)


def waterfall_html(trace_id: str, spans: Any) -> str:
    """A trace for a notebook; every name is escaped, also what no browser shows."""
    if not spans.num_rows:
        return f"<p>{escape(headline(trace_id, spans))}</p>"
    rows = "".join(
        f'<tr><td style="text-align:left;white-space:pre">{escape(one.name)}</td>'
        f'<td style="text-align:left">{escape(one.service)}</td>'
        f'<td style="width:20em">{_html_bar(one)}</td>'
        f"<td>{escape(one.duration)}</td>"
        f'<td style="text-align:left">{escape(one.status)}</td></tr>'
        for one in lines(spans)
    )
    head = "".join(f"<th>{name}</th>" for name in ("span", "service", "", "duration", "status"))
    rest = "".join(f"<p>{one}</p>" for one in _rest(spans))
    return (
        f"<table><caption>{escape(headline(trace_id, spans))}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{rest}"
    )


def _html_bar(line: Line) -> str:
    begin = min(100 * line.begin, 99.5)
    width = min(100 * line.width, 100 - begin)
    colour = "#c33" if line.status else "#48c"
    return _CELL.format(begin=begin, width=width, colour=colour)
