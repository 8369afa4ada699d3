"""Make a delivery of a message's body, whatever it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.errors import InputError
from lakerunner.events.base import Delivery
from lakerunner.events.notices import Notice
from lakerunner.events.parsing import read_notice

if TYPE_CHECKING:
    from collections.abc import Callable


def deliver(
    handle: str, body: bytes, label: str, read: Callable[[bytes], Notice] = read_notice
) -> Delivery:
    """Read a body into a delivery; one that cannot be read is a delivery with a problem.

    Example:
        >>> deliver("h", b"no JSON", "m1").problems
        ("an event is not JSON: JSON is malformed: invalid character (byte 4): b'no JSON'",)
    """
    try:
        notice = read(body)
    except InputError as error:
        notice = Notice(problems=(error,))
    return Delivery(handle, notice.events, tuple(map(str, notice.problems)), label)
