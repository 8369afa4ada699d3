"""Cut JSON of any layout into JSON lines: arrays of objects, and objects printed over many lines.

Elements of a top-level array, and top-level objects, each get a line of their own. Nothing but
white space and the commas and brackets between records is changed, and one scan over each block
finds them, so an array of any size streams.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from lakerunner.formats.base import Part, too_long
from lakerunner.formats.json_scan import NEWLINE, scan
from lakerunner.formats.records.lines import BOM, last_newline, split_lines, valid_text
from lakerunner.limits import OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakerunner.schema.tables import SetAside

_HEAD = 64 * 1024
_LINES_LOOKED_AT = 20
_PIECE = 4 * 1024 * 1024  # a scan needs some ten times what it looks at
_SPACE, _COMMA = ord(" "), ord(",")
_BLANK = re.compile(rb"\s*")
_LIST, _END_OF_LIST, _OBJECT, _END_OF_OBJECT = b"[]{}"
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def split_json(blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES) -> Iterator[Part]:
    r"""Cut JSON into parts that are JSON lines.

    JSON lines are handed on as they are. Otherwise the elements of top-level arrays and top-level
    objects are put on lines of their own.

    Args:
        blocks: The object's bytes, in order.
        limit: Bytes a part should not exceed. A longer record stays whole.
        longest: Bytes that a record may have; longer ones are set aside.

    Yields:
        Parts; at least one. `line` is where the first record of the part began.

    Example:
        >>> [tuple(part)[:2] for part in split_json([b'[{"a":\n1},\n{"a": [2,', b'3]}]'], 12)]
        [(b' {"a": 1} \n', 1), (b'{"a": [2,3]}\n', 3)]
    """
    source = iter(blocks)
    head, block = bytearray(), b""
    for block in source:
        head += block
        if len(head) >= _HEAD and not _first_line_is_open(head, longest):
            break
    lines = _is_lines(bytes(head[: max(_HEAD, head.find(b"\n") + 1)].removeprefix(BOM)))
    rest = _handed_on(head, source)
    del head, block
    if lines:
        yield from split_lines(rest, limit, longest)
    else:
        yield from _split_documents(rest, limit, longest)


def _handed_on(head: bytearray, source: Iterator[bytes]) -> Iterator[bytes]:
    """What was read already, then the rest; nothing of it stays behind."""
    read = bytes(head)
    head.clear()
    yield read
    del read
    yield from source


def _first_line_is_open(head: bytearray, longest: int) -> bool:
    """Whether more has to be read to see a first line that may be a long object."""
    return (
        len(head) <= longest
        and head[: len(BOM) + 1].removeprefix(BOM)[:1] == b"{"
        and b"\n" not in head
    )


def _is_lines(head: bytes) -> bool:
    """Whether text is one record per line: a first line is an object, and none only opens one."""
    if head.lstrip()[:1] not in {b"{", b"["}:
        return True  # no JSON document; its lines are judged one by one
    lines = head.split(b"\n", _LINES_LOOKED_AT)[:_LINES_LOOKED_AT]
    if any(line.strip() in {b"{", b"["} for line in lines):
        return False
    return any(_is_object(line) for line in lines if line.startswith(b"{"))


def _is_object(line: bytes) -> bool:
    try:
        _object.decode(line.decode(errors="replace"))  # what is no UTF-8 is repaired later on
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _split_documents(blocks: Iterable[bytes], limit: int, longest: int) -> Iterator[Part]:
    text, begun, dropping = _Text(), False, False
    dropped: list[int] = []  # lines where records begin that are too long
    limit = min(limit, longest)
    for piece in _rewritten(blocks):
        text.add(piece)
        if dropping:
            dropping = not text.drop_record()
        while not dropping and len(text.buffer) > limit:
            cut = text.cut(limit)
            if (cut or len(text.buffer)) > longest + 1:
                dropped.append(text.first_line())
                dropping = not text.drop_record()
            elif not cut:
                break
            else:
                if not text.is_blank(cut):
                    begun = True
                    yield text.part(cut, too_long(dropped, longest))
                    dropped = []
                text.drop(cut)
    rest = len(text.buffer)
    if dropped or not begun or not text.is_blank(rest):
        yield text.part(rest, too_long(dropped, longest))


class _Text:
    """Records on lines of their own that have arrived and were not handed on.

    Attributes:
        buffer: Their text.
    """

    def __init__(self) -> None:
        self.buffer = bytearray()
        self._newlines = np.zeros(0, np.int64)  # of the original, by their place in the buffer
        self._line = 1
        self._searched = 0  # no newline lies between the limit and here

    def add(self, piece: _Piece) -> None:
        self._newlines = np.concatenate([self._newlines, piece.newlines + len(self.buffer)])
        self.buffer += piece.text

    def cut(self, limit: int) -> int:
        """End of the last record within the limit, or of the first; 0 if that is not here yet."""
        found = last_newline(self.buffer, limit)
        found = found or self.buffer.find(b"\n", max(limit, self._searched)) + 1
        self._searched = 0 if found else len(self.buffer)
        return found

    def is_blank(self, end: int) -> bool:
        blank = _BLANK.match(self.buffer)
        return blank is not None and blank.end() >= end

    def first_line(self) -> int:
        """Where the first record in the buffer begins in the original."""
        blank = _BLANK.match(self.buffer)
        return self._line + (int(np.searchsorted(self._newlines, blank.end())) if blank else 0)

    def part(self, end: int, set_aside: tuple[SetAside, ...]) -> Part:
        return Part(valid_text(bytes(memoryview(self.buffer)[:end])), self.first_line(), set_aside)

    def drop(self, end: int) -> None:
        passed = int(np.searchsorted(self._newlines, end))
        self._line += passed
        self._newlines = self._newlines[passed:] - end
        del self.buffer[:end]
        self._searched = 0

    def drop_record(self) -> bool:
        """Drop the first record, and say whether all of it was here."""
        end = self.buffer.find(b"\n") + 1
        self.drop(end or len(self.buffer))
        return end > 0


class _Piece(NamedTuple):
    text: bytes
    newlines: Any
    """Places of the original's newlines in the text."""


class _State(NamedTuple):
    """What a scan has to know of what came before."""

    depth: int = 0
    in_string: bool = False
    in_list: bool = False
    """Whether the outermost bracket is that of an array."""
    closed: bool = False
    """Whether the last character closed an object outside of any array."""


def _rewritten(blocks: Iterable[bytes]) -> Iterator[_Piece]:
    state, held = _State(), b""
    for block in _pieces(blocks):
        whole = held + block
        kept = whole.rstrip(b"\\")  # so that no piece begins behind a backslash
        held = whole[len(kept) :]
        if kept:
            piece, state = _rewrite(np.frombuffer(kept, np.uint8), state)
            yield piece
    if held:
        yield _Piece(held, np.zeros(0, np.int64))


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    first = True
    for block in blocks:
        whole = block.removeprefix(BOM) if first else block
        first = False
        for start in range(0, len(whole), _PIECE):
            yield whole[start : start + _PIECE]


def _rewrite(values: Any, state: _State) -> tuple[_Piece, _State]:
    found = scan(values, depth=state.depth, in_string=state.in_string)
    # A bracket too many must not put everything behind it on a wrong level.
    depth = found.depth - np.minimum(np.minimum.accumulate(found.depth), 0)
    opens = (found.kinds == _LIST) | (found.kinds == _OBJECT)
    before = np.concatenate([[state.depth], depth[:-1]])
    outermost = np.flatnonzero(opens & (before == 0))
    # For each structural character, the kind of the outermost bracket around it.
    last_opened = np.searchsorted(outermost, np.arange(len(depth)), "right") - 1
    lists = np.concatenate([found.kinds[outermost] == _LIST, [state.in_list]])
    in_list = lists[last_opened]  # -1 is what was open before
    level = depth - in_list
    closes_list = (depth == 0) & (found.kinds == _END_OF_LIST) & in_list
    level[closes_list] = 0
    text = values.copy()
    newlines = np.flatnonzero(values == NEWLINE)
    around = np.searchsorted(found.places, newlines) - 1
    levels = np.concatenate([level, [state.depth - (state.in_list and state.depth > 0)]])
    inside = (np.searchsorted(found.quotes, newlines) % 2 == 1) ^ state.in_string
    text[newlines[~inside & (levels[around] > 0)]] = _SPACE
    text[found.places[outermost[found.kinds[outermost] == _LIST]]] = _SPACE
    commas = (found.kinds == _COMMA) & (level == 0)
    _separate(values, text, found.places[commas | closes_list])
    closes = found.places[(depth == 0) & (found.kinds == _END_OF_OBJECT) & ~in_list]
    after = closes[closes + 1 < len(values)] + 1
    blank = (values[after] == _SPACE) | (values[after] == ord("\t")) | (values[after] == ord("\r"))
    followed = np.append(values, NEWLINE)[after + 1] == NEWLINE
    text[after[blank & ~followed]] = NEWLINE
    glued = after[(values[after] == _OBJECT) | (values[after] == _LIST)]
    if state.closed and values[0] in (_OBJECT, _LIST):
        glued = np.concatenate([[0], glued])
    if len(glued):
        text = np.insert(text, glued, NEWLINE)
        newlines = newlines + np.searchsorted(glued, newlines, "right")
    ends_closed = bool(len(closes) and closes[-1] == len(values) - 1)
    last = int(depth[-1]) if len(depth) else state.depth
    kind = bool(in_list[-1]) if len(in_list) else state.in_list
    return _Piece(text.tobytes(), newlines), _State(last, found.in_string, kind, ends_closed)


def _separate(values: Any, text: Any, places: Any) -> None:
    """Put newlines in some places, or spaces where a newline follows anyway."""
    following = np.append(values, 0)[places + 1]
    text[places] = np.where(following == NEWLINE, _SPACE, NEWLINE)
