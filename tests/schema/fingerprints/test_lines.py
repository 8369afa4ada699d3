"""Of several lines, the first counts, and the exception that the others name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from lakerunner.limits import FINGERPRINT_CHARS, TEMPLATE_CHARS
from lakerunner.schema.fingerprints.lines import counted_text

if TYPE_CHECKING:
    from collections.abc import Callable

JVM = "charge of order 5 failed\njava.io.IOException: x\n\tat com.acme.Pay(Pay.java:7)\n"
PYTHON = 'Traceback (most recent call last):\n  File "a.py", line 3\n    f()\npkg.ValueError: bad 7'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (JVM, "charge of order <*> failed java.io.IOException"),
        (PYTHON, "Traceback (most recent call last): pkg.ValueError"),
        ("failed\n\tat x\nCaused by: a.BError: y", "failed a.BError"),
        ("Timeout: 5\n\tat a.b(C.java:1)\n\tat d", "Timeout: <*>"),
        ("one\n", "one"),
        ("\n \r\n one\r\ntwo", "one"),
        ("\n\n\n", ""),
        ('{\n  "a": "x",\n  "b": 2\n}', '{"a": <*>, "b": <*>}'),
    ],
)
def test_examples(template: Callable[[str], str], body: str, expected: str) -> None:
    assert template(body) == expected


def test_rows_keep_their_places() -> None:
    bodies = pa.array(["a", "b\nc", None, "", "d\n", "e\nf"]).slice(1)
    assert counted_text(bodies).to_pylist() == ["b", "", "", "d\n", "e"]


def test_rows_of_nothing_but_breaks() -> None:
    assert counted_text(pa.array(["\n\n", "\n \n"])).to_pylist() == ["", ""]


def test_the_rest_of_a_long_body_does_not_count(template: Callable[[str], str]) -> None:
    long = "é " * FINGERPRINT_CHARS
    assert template(long + "x") == template(long + "y")
    assert len(template(long)) <= TEMPLATE_CHARS


def test_digits_do_not_move_the_end_of_a_template(template: Callable[[str], str]) -> None:
    words = "word " * TEMPLATE_CHARS
    assert template("1 " + words) == template("1" * 500 + " " + words)
