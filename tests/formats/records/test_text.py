"""Plain text: lines are records, stack traces stay whole, nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.formats.records.lines import split_lines
from lakerunner.formats.records.text import read_text, split_text
from lakerunner.formats.table import FORMATS
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from pathlib import Path

JAVA = """\
ERROR it failed
java.lang.IllegalStateException: no
\tat com.acme.Shop.pay(Shop.java:12)
\tat com.acme.Shop.main(Shop.java:3)
Caused by: java.io.IOException: disk
\tat com.acme.Disk.write(Disk.java:7)
\t... 2 more"""

PYTHON = """\
ERROR it failed
Traceback (most recent call last):
  File "shop.py", line 1, in <module>
    pay()
KeyError: 'id'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "shop.py", line 3, in <module>
acme.PayError: no"""


def messages(*payloads: bytes) -> list[str]:
    found: list[str] = read_text(payloads).table["message"].to_pylist()
    return found


def test_traces_stay_with_what_was_logged() -> None:
    text = f"INFO one\n{PYTHON}\nINFO two\n\n{JAVA}\nINFO three\n".encode()
    assert messages(text) == ["INFO one", PYTHON, "INFO two", JAVA, "INFO three"]


def test_one_trace_after_another() -> None:
    trace = "Traceback (most recent call last):\n  File 'a'\nValueError: x"
    assert messages(f"{trace}\n{trace}\nINFO z".encode()) == [trace, trace, "INFO z"]
    trace = JAVA.split("\n", 1)[1]
    assert messages(f"{trace}\n{trace}\nINFO z".encode()) == [trace, trace, "INFO z"]
    cut_off = "Traceback (most recent call last):\n  File 'a'\n2024-01-01 INFO next"
    assert messages(cut_off.encode()) == cut_off.rsplit("\n", 1)


def test_payloads_are_not_joined() -> None:
    records = read_text([b"a\n", b"", b"\tb\nc\n\td"])
    assert records.table["message"].to_pylist() == ["a", "b", "c\n\td"]
    assert records.payload.tolist() == [0, 2, 2]


def test_text_that_is_indented_throughout() -> None:
    assert messages(b"  a\n  b\n", b"c\n  d") == ["a", "b", "c\n  d"]


@pytest.mark.parametrize("payloads", [[], [b""], [b"\r\n\n"]])
def test_no_lines(payloads: list[bytes]) -> None:
    assert messages(*payloads) == []


TEXTS = st.lists(
    st.sampled_from(["a", "  b", "", "\tc", "Caused by: d", "Traceback", "é\xa0", " "])
)


@given(TEXTS)
def test_no_character_is_lost(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert "".join("".join(messages(text.encode())).split()) == "".join(text.split())


@given(TEXTS, st.integers(1, 30), st.integers(1, 9))
@pytest.mark.parametrize("split", [split_lines, split_text])
def test_parts_hold_the_same_lines(split: object, lines: list[str], limit: int, size: int) -> None:
    splitter = split_lines if split is split_lines else split_text
    data = "\n".join(lines).encode()
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    parts = list(splitter(iter(blocks), limit))
    assert parts
    assert b"".join(part.data for part in parts) == data
    line = 1
    for part in parts:
        assert part.line == line
        line += part.data.count(b"\n")
        assert len(part.data) <= limit or b"\n" not in part.data[:-1]
    assert all(part.data.endswith(b"\n") for part in parts[:-1])


def test_bytes_that_are_no_text_are_repaired_and_a_mark_is_dropped() -> None:
    (part,) = split_lines([b"\xef\xbb", b"\xbfa\xff\n\xc3", b"\xa9"], 100)
    assert part.data.decode() == "a\ufffd\né"


def test_traces_are_not_cut() -> None:
    text = "\n".join([JAVA, "INFO x"] * 50).encode()
    parts = list(split_text([text], 1000))
    assert len(parts) > 5
    assert messages(*(part.data for part in parts)) == messages(text)


def test_captured_lines(telemetry: Path) -> None:
    path = telemetry / "loghub" / "Zookeeper" / "Zookeeper_2k.log"
    lines = path.read_text().splitlines()
    assert messages(path.read_bytes()) == [line.strip() for line in lines]


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("2026-01-01T00:00:00.5Z stdout F     indented", "    indented"),
        ("2026-01-01T00:00:00.5Z stderr P   at a.b(c.java:1)", "  at a.b(c.java:1)"),
        ("2026-01-01T00:00:00.5Z stdout F ", None),
        ("2026-01-01T00:00:00.5Z stdout F", None),
        ("Jan  1 00:00:01 web-1 app[7]:   indented", "  indented"),
        ("<165>1 2026-01-01T00:00:00Z web-1 app 7 id -   indented", "  indented"),
        ("2026-01-01T00:00:00Z  INFO 7 --- [main] up", "INFO 7 --- [main] up"),
    ],
)
def test_the_indentation_of_a_wrapped_line_is_kept(line: str, body: str | None) -> None:
    data = f"{line}\n2026-01-01T00:00:00Z stdout F next\n".encode()
    table = FORMATS["text"].decode([data], Signal.LOGS, [0]).table
    assert table["body"].to_pylist() == [body, "next"]


def test_pieces_of_a_long_line_are_that_line_together() -> None:
    pieces = ["  one ", "two  ", "", " ", "three"]
    tags = "PPPPF"
    lines = [
        f"2026-01-01T00:00:0{n}Z stdout {tag} {piece}"
        for n, (tag, piece) in enumerate(zip(tags, pieces, strict=True))
    ]
    payload = "\n".join([*lines, "2026-01-01T00:00:09Z stdout F other  "]).encode()
    decoded = FORMATS["text"].decode([payload], Signal.LOGS, [0])
    bodies = decoded.table["body"].to_pylist()
    assert "".join(body or "" for body in bodies[:5]) == "".join(pieces)
    assert bodies[5] == "other"
