"""The error tree: drawn as it is, one code a class, builtin parents, and errors that travel."""

from __future__ import annotations

import builtins
import copy
import pickle
import re
from collections import Counter

import pytest

from lakerunner import errors
from lakerunner.errors import ErrorCode, LakerunnerError


def below(kind: type[LakerunnerError]) -> list[type[LakerunnerError]]:
    found = [kind]
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            found += below(child)
    return found


TREE = below(LakerunnerError)


def drawn() -> dict[str, tuple[str, list[str]]]:
    """Class name to (its parent, builtin parents), as the module's docstring draws them."""
    tree: dict[str, tuple[str, list[str]]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").split("```")[1].splitlines():
        match = re.match(r"^([│├└─ ]*)(\w+Error)\b(?: \(([\w, ]+)\))?", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            tree[match[2]] = (path[depth - 1] if depth else "", (match[3] or "").split(", "))
    return tree


def test_the_docstring_draws_the_tree() -> None:
    actual = {}
    for kind in TREE:
        ours = [base.__name__ for base in kind.__bases__ if issubclass(base, LakerunnerError)]
        others = [base.__name__ for base in kind.__bases__ if not issubclass(base, LakerunnerError)]
        root = kind is LakerunnerError
        actual[kind.__name__] = ("" if root else ours[0], [""] if root else others or [""])
    assert drawn() == actual


def test_codes_belong_to_one_class_each() -> None:
    codes = Counter(kind.code for kind in TREE if kind is not LakerunnerError)
    assert codes == Counter(dict.fromkeys(ErrorCode, 1))


def test_codes_are_never_removed_or_renamed() -> None:
    # Append only: callers and catalogs keep these texts.
    assert [code.value for code in ErrorCode] == [
        *("configuration", "unknown_scheme", "missing_extra", "invalid_time", "read_only"),
        *("store", "object_not_found", "object_exists", "object_denied", "object_range"),
        *("store_unavailable", "catalog", "commit_conflict", "commit_unknown"),
        *("catalog_version", "catalog_unavailable", "input", "unknown_format"),
        *("corrupt_object", "object_too_large", "segment", "query", "query_syntax"),
        *("unsupported_query", "query_execution", "events_unavailable"),
        *("snapshot_expired", "unknown_owner", "decoder_failed"),
        *("forked_process", "query_limit", "query_timeout", "query_busy"),
        *("catalog_mismatch", "segment_damaged"),
        *("intake_full", "lease_lost", "cursor", "query_stopped"),
    ]


@pytest.mark.parametrize("kind", TREE)
def test_errors_travel_and_tell(kind: type[LakerunnerError]) -> None:
    error = kind("no object at 'a'", key="a", line=3)
    for other in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - own bytes
        assert type(other) is kind
        assert str(other) == other.message == "no object at 'a'"
        assert other.context == {"key": "a", "line": 3}
        assert other.code is kind.code


@pytest.mark.parametrize("kind", TREE)
def test_errors_can_be_caught_as_their_builtin(kind: type[LakerunnerError]) -> None:
    for base in kind.__mro__:
        if base.__module__ == "builtins" and base is not object:
            with pytest.raises(getattr(builtins, base.__name__), match="why"):
                raise kind("why")


def test_errors_are_named_so() -> None:
    assert all(kind.__name__.endswith("Error") for kind in TREE)
