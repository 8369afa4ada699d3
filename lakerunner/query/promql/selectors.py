"""Selectors and lists of labels in a PromQL text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.query.promql.lexer import DurationParser
from lakerunner.query.promql.syntax import Matcher, Node, Place, Selector, quote

if TYPE_CHECKING:
    from lakerunner.query.promql.lexer import Token

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_MATCH_OPS = ("=", "!=", "=~", "!~")


class SelectorParser(DurationParser):
    """Reads selectors."""

    def _labels(self) -> tuple[str, ...]:
        self._expect("(", "grouping opts")
        labels: list[str] = []
        while self._next.kind != ")":
            token = self._next
            if token.kind == "name" and _LABEL.fullmatch(token.text):
                labels.append(token.text)
            elif token.kind == "string":
                if not _is_text(token.text) or not token.text:
                    self._fail(token.place, f"invalid label name for grouping: {quote(token.text)}")
                labels.append(token.text)
            elif token.kind == "name":
                self._fail(token.place, f"unexpected {quote(token.text)} in grouping opts")
            else:
                self._unexpected("grouping opts", "label")
            self._take()
            if not self._takes(","):
                break
        self._expect(")", "grouping opts")
        return tuple(labels)

    def _selector(self, name: str, start: int) -> Node:
        matchers = [Matcher("__name__", "=", name)] if name else []
        end = start + len(name)
        if self._takes("{"):
            while self._next.kind != "}":
                matchers.append(self._matcher(named=bool(name)))
                if not self._takes(","):
                    break
            closing = self._expect("}", "label matching")
            end = closing.place.end
        return Selector(place=Place(start, end), name=name, matchers=tuple(matchers))

    def _matcher(self, *, named: bool) -> Matcher:
        token = self._next
        if token.kind == "string":
            self._take()
            if self._next.kind not in _MATCH_OPS:
                if named:
                    message = f"metric name must not be set twice: {quote(token.text)}"
                    self._fail(token.place, message)
                self._check_text(token)
                return Matcher("__name__", "=", token.text)
            self._check_text(token)
        elif token.kind == "name" and _LABEL.fullmatch(token.text):
            self._take()
        else:
            self._unexpected("label matching", "identifier")
        op = self._next
        if op.kind not in _MATCH_OPS:
            self._unexpected("label matching", "label matching operator")
        self._take()
        value = self._expect("string", "label matching")
        if named and token.text == "__name__" and op.kind == "=":
            self._fail(token.place, f"metric name must not be set twice: {quote(value.text)}")
        if op.kind in ("=~", "!~"):
            self._check_regex(value)
        return Matcher(token.text, op.kind, value.text)

    def _check_text(self, token: Token) -> None:
        if not _is_text(token.text) or not token.text:
            self._fail(token.place, f"invalid label name {quote(token.text)}")

    def _check_regex(self, token: Token) -> None:
        fault = regex_fault(token.text)
        if fault:
            self._fail(token.place, f"error parsing regexp: {fault}")


def _is_text(value: str) -> bool:
    """Whether a string holds characters only, and no stray bytes."""
    return not any("\ud800" <= char < "\ue000" for char in value)


def regex_fault(pattern: str) -> str:
    """What RE2 has to say against a regular expression; empty if it is a good one."""
    try:
        pc.match_substring_regex(pa.array([""]), f"^(?s:{pattern})$")
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        return str(error).removeprefix("Invalid regular expression: ")
    return ""
