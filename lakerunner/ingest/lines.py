"""Lines that were set aside, as rejections of the object they stand in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from lakerunner.ingest.aside import source_of_lines
from lakerunner.limits import REJECTIONS_OF_AN_OBJECT
from lakerunner.model.source import Rejection, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.schema.decoded import SetAside

_NAMED_LINES = 10


class Found(NamedTuple):
    """Lines of one part of an object that were set aside.

    Attributes:
        aside: The lines, numbered within the part.
        first_line: Number of the part's first line within the object.
        texts: `pa.BinaryArray` of the lines; None where they are not kept.
        head: What stands before them in their part and is needed to read them again.
    """

    aside: SetAside
    first_line: int
    texts: Any = None
    head: bytes = b""


def reject_lines(source: Source, found: Iterable[Found], batch: str) -> list[Rejection]:
    """One rejection for each reason, which names the first lines it holds for.

    Beyond `limits.REJECTIONS_OF_AN_OBJECT` reasons, the last rejection stands for all others.

    Args:
        source: The object.
        found: From all of its parts, in order.
        batch: Names the batch; empty for an object that is not recorded.
    """
    kinds = dict.fromkeys((True, False), source)
    if batch:
        kinds = {kept: source_of_lines(source, batch, kept=kept) for kept in (True, False)}
    lines: dict[tuple[bool, str, str], list[int]] = {}
    counts: dict[tuple[bool, str, str], int] = {}
    for aside, first_line, texts, _ in found:
        kept = texts is not None
        reason = (kept, aside.code, aside.reason)
        if reason not in counts and len(counts) >= REJECTIONS_OF_AN_OBJECT:
            reason = (kept, aside.code, "other reasons")
        counts[reason] = counts.get(reason, 0) + aside.rows
        named = lines.setdefault(reason, [])
        named += [first_line - 1 + line for line in aside.lines[: _NAMED_LINES - len(named)]]
    now_ns = time.time_ns()
    return [
        Rejection(
            kinds[reason[0]], reason[1], f"{_say(lines[reason], rows)}: {reason[2]}", now_ns, rows
        )
        for reason, rows in counts.items()
    ]


def _say(lines: list[int], rows: int) -> str:
    """Name lines, or count records where there are none.

    Example:
        >>> _say([3], 1), _say([3, 17], 40), _say([], 2)
        ('line 3', 'lines 3, 17 and 38 more', '2 records')
    """
    if not lines:
        return f"{rows:,} {'record' if rows == 1 else 'records'}"
    named = ", ".join(map(str, lines))
    rest = f" and {rows - len(lines):,} more" if rows > len(lines) else ""
    return f"{'line' if rows == 1 else 'lines'} {named}{rest}"
