"""Bodies that are JSON objects: a template of their keys, behind the text of their message."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from lakerunner.schema.fingerprints.masking import VARIABLE, Rule, masked, rewrite

_STRING = r'"(?:[^"\\]|\\.)*"'
_MESSAGE = r'"(?:message|msg)"\s*:\s*"(?P<message>(?:[^"\\]|\\.)*)"'

_KEYS = (
    Rule(rf"({_STRING}\s*:)|{_STRING}|[^\"{{}}\[\],:\s]+|\s+", r"\1"),  # keys and structure remain
    Rule(r'"\s*:', '":'),
    *[Rule(r"\[[^\[\]]*\]", "")] * 4,  # an array is a value, whatever it holds
    Rule(r":([,}])", rf": {VARIABLE}\1"),
    Rule(r":\{", ": {"),
    Rule(r",", ", "),
    # Keys that are ids, as many as there are.
    Rule(r'"\x01": \x01(?:, "\x01": \x01)+', f'"{VARIABLE}": {VARIABLE}'),
)


def is_document(texts: Any) -> Any:
    """Which texts are JSON objects, by how they begin.

    Example:
        >>> import pyarrow as pa
        >>> is_document(pa.array(['{"a": 1}', "{} replaced"])).to_pylist()
        [True, False]
    """
    return pc.match_substring_regex(texts, r'^\s*\{\s*"')


def masked_documents(texts: Any) -> Any:
    r"""Put `VARIABLE` for the values of JSON objects in which digits are masked already.

    The keys stay, in their order. The value of `message` or `msg` is masked like plain text and
    put in front: documents of one shape that say different things are different messages.

    Args:
        texts: `pa.StringArray`.

    Example:
        >>> import pyarrow as pa
        >>> masked_documents(pa.array(['{"level": "info", "msg": "disk full"}'])).to_pylist()
        ['disk full {"level": \x01, "msg": \x01}']
    """
    message = pc.struct_field(pc.extract_regex(texts, _MESSAGE), "message")
    first_line = pc.replace_substring_regex(message, r"(?s)\\[rn].*$", "")
    said = pc.if_else(pc.equal(first_line, ""), None, masked(first_line))
    return pc.binary_join_element_wise(said, rewrite(texts, _KEYS), " ", null_handling="skip")
