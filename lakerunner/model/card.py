"""How values look in a notebook: a few lines of HTML; and as plain values, for JSON."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CHARACTERS = 120
_ITEMS = 5


def card(title: str, pairs: Iterable[tuple[str, object]]) -> str:
    r"""A title, and names with their values below it; everything is escaped.

    Example:
        >>> print(card("a < b", [("rows", 12000)]).replace("<tbody>", "\n<tbody>"))
        <table><caption>a &lt; b</caption>
        <tbody><tr><th>rows</th><td>12,000</td></tr></tbody></table>
    """
    rows = "".join(
        f"<tr><th>{_safe(name)}</th><td>{_safe(_said(value))}</td></tr>" for name, value in pairs
    )
    return f"<table><caption>{_safe(title)}</caption><tbody>{rows}</tbody></table>"


def listing(title: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A title, and a table below it; everything is escaped."""
    head = "".join(f"<th>{_safe(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{_safe(_said(value))}</td>' for value in row)}</tr>" for row in rows
    )
    caption = f"<caption>{_safe(title)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _safe(text: str) -> str:
    return escape(printable(text))


def _said(value: object) -> str:
    match value:
        case bool():
            text = str(value).lower()
        case int():
            text = f"{value:,}"
        case float():
            text = f"{value:,.3f}"
        case dict():
            text = ", ".join(f"{name}: {_said(one)}" for name, one in value.items())
        case tuple() | list():
            more = f", … ({len(value):,} in all)" if len(value) > _ITEMS else ""
            text = ", ".join(map(str, value[:_ITEMS])) + more
        case _:
            text = str(value)
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"


class Report(msgspec.Struct, frozen=True):
    """What a call did: a line as text, a card in a notebook, plain values for JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, all the way down: fit for `json.dumps`."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def _repr_html_(self) -> str:
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return card(
            type(self).__name__, ((name, value) for name, value in fields if value not in ((), {}))
        )
