"""Tell whether a payload is OTLP JSON, and of which signal, by its first top-level field."""

from __future__ import annotations

import re
from itertools import islice

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.json_scan import Scanner
from lakerunner.limits import MIB
from lakerunner.model.signal import Signal

_ROOT = re.compile(rb'"resource(?:_l|L)ogs"|"resource(?:_s|S)pans"|"resource(?:_m|M)etrics"')
_ROOTS = {
    Signal.LOGS: re.compile(rb'"resource(?:_l|L)ogs"'),
    Signal.SPANS: re.compile(rb'"resource(?:_s|S)pans"'),
    Signal.METRICS: re.compile(rb'"resource(?:_m|M)etrics"'),
}
_COLON = re.compile(rb"\s*:")
_SIGNALS = {b"l": Signal.LOGS, b"s": Signal.SPANS, b"m": Signal.METRICS}
_LETTER = len(b'"resource')
_CANDIDATES = 100
_SCANNED = MIB


def recognise_signal(data: bytes) -> Signal | None:
    """Find the first field that only the export request of one signal has.

    It must be a field of a document, not of something inside one: other formats may carry OTLP.

    Returns:
        The signal; None if the data begins with an object and no such field was found.

    Raises:
        CorruptObjectError: It does not begin with an object, and no such field was found.

    Example:
        >>> recognise_signal(b'{"resourceSpans":[]}'), recognise_signal(b'{"message":"hi"}')
        (<Signal.SPANS: 'spans'>, None)
    """
    for count, match in enumerate(_ROOT.finditer(data)):
        if count >= _CANDIDATES:
            break
        if _COLON.match(data, match.end()) and _is_top_level(data, match.start()):
            return _SIGNALS[match[0][_LETTER:].lstrip(b"_")[:1].lower()]
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        raise CorruptObjectError("not OTLP JSON: it does not begin with an object")
    return None


def signals_in(data: bytes) -> frozenset[Signal]:
    r"""All signals of which some document has the field.

    Example:
        >>> sorted(signals_in(b'{"resourceSpans":[]}\n{"resourceLogs":[]}\n'))
        [<Signal.LOGS: 'logs'>, <Signal.SPANS: 'spans'>]
    """
    return frozenset(signal for signal, root in _ROOTS.items() if _has_document(data, root))


def _has_document(data: bytes, root: re.Pattern[bytes]) -> bool:
    found = islice(root.finditer(data), _CANDIDATES)
    return any(_COLON.match(data, one.end()) and _is_top_level(data, one.start()) for one in found)


def _is_top_level(data: bytes, position: int) -> bool:
    """Whether one object is open here, counted from the line's begin or from the very first byte.

    The line comes first: lines before it may be broken.
    """
    line = data.rfind(b"\n", 0, position) + 1
    if Scanner().feed(data[line:position]).depth == 1:
        return True
    return position < _SCANNED and Scanner().feed(data[:position]).depth == 1
