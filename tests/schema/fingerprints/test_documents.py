"""JSON objects: their keys and their message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = {
    "values": ('{"a":1,"b":"x","c":true,"d":null}', '{"a": <*>, "b": <*>, "c": <*>, "d": <*>}'),
    "spaces": ('{ "a" : 1 , "b" : "x y" }', '{"a": <*>, "b": <*>}'),
    "nested": ('{"a":{"b":1},"c":[]}', '{"a": {"b": <*>}, "c": <*>}'),
    "arrays": ('{"a":[{"b":[1,[2]]},"x"],"c":2}', '{"a": <*>, "c": <*>}'),
    "keys in values": ('{"a":"{\\"b\\": 1}"}', '{"a": <*>}'),
    "message": ('{"msg":"user 7 left","n":1}', 'user <*> left {"msg": <*>, "n": <*>}'),
    "message of lines": ('{"message":"bad\\n at x"}', 'bad {"message": <*>}'),
    "message in brackets": ('{"msg":"[main] up"}', '[main] up {"msg": <*>}'),
    "empty message": ('{"msg":""}', '{"msg": <*>}'),
    "ids as keys": ('{"k1":1,"k2":2,"k3":3}', '{"<*>": <*>}'),
    "no object": ("{} replaced by {x}", "{} replaced by {x}"),
}


@pytest.mark.parametrize(("body", "expected"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples(template: Callable[[str], str], body: str, expected: str) -> None:
    assert template(body) == expected


def test_documents_that_say_different_things_differ(template: Callable[[str], str]) -> None:
    assert template('{"msg":"created"}') != template('{"msg":"deleted"}')
