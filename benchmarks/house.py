"""Measures of the house: how much code there is, and through how much of it things pass.

`python benchmarks/house.py` prints the table of docs/architecture.md. Ways are measured by a trace
of the second run of each, so that what happens once a process is not counted.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import threading
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lakerunner
from lakerunner.generate import logs_request

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(lakerunner.__file__).parent
_NOTHING = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}


def code_lines(text: str) -> int:
    r"""Lines that hold code: no blanks, comments or docstrings.

    Example:
        >>> code_lines('"Doc."\\n\\nx = 1  # why\\n# more\\n')
        1
    """
    lines: set[int] = set()
    begins = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _NOTHING:
            begins = begins or token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            continue
        if not (begins and token.type == tokenize.STRING):  # a text that is a statement
            lines.update(range(token.start[0], token.end[0] + 1))
        begins = False
    return len(lines)


def passed_through(action: Callable[[], object]) -> tuple[int, int]:
    """Modules and functions of the package that an action calls, in all of its threads."""
    seen: set[tuple[str, str]] = set()

    def note(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            seen.add((code.co_filename, code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return len({file for file, _ in seen}), len(seen)


def ways() -> dict[str, tuple[int, int]]:
    """Modules and functions on the way of one object to its commit, and of one query."""
    first, second = (logs_request(100, seed=seed) for seed in (1, 2))
    text = "SELECT level, count(*) FROM logs WHERE timestamp > '2020-01-01' GROUP BY 1"
    with tempfile.TemporaryDirectory() as place, lakerunner.open(Path(place) / "lake") as lake:
        raw = Path(place) / "raw"
        raw.mkdir()
        for number, data in enumerate((first, second)):
            (raw / f"{number}.binpb").write_bytes(data)
        lake.ingest(raw / "0.binpb")
        lake.sql(text).to_arrow()
        return {
            "an OTLP protobuf object to its commit": passed_through(
                lambda: lake.ingest(raw / "1.binpb")
            ),
            "a SQL text to its rows": passed_through(lambda: lake.sql(text).to_arrow()),
        }


def main() -> None:
    """Print the table."""
    counts = {path: code_lines(path.read_text()) for path in PACKAGE.rglob("*.py")}
    rows = {
        "modules": len(counts),
        "lines of code": sum(counts.values()),
        "lines of code, median module": int(statistics.median(counts.values())),
        "modules of at most 20 lines of code": sum(1 for one in counts.values() if one <= 20),
    }
    for way, (modules, functions) in ways().items():
        rows[f"modules that {way} passes through"] = modules
        rows[f"functions on the way of {way}"] = functions
    print("| measure | |\n|---|---:|")  # noqa: T201 - that is what it is for
    for name, value in rows.items():
        print(f"| {name} | {value:,} |")  # noqa: T201 - as above


if __name__ == "__main__":
    main()
