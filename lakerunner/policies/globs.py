"""Match object keys with shell patterns."""

from __future__ import annotations

import re

from lakerunner.errors import ConfigurationError

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?+\]?+[^\]]*\]|.", re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")
_FIXED = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def literal_prefix(pattern: str) -> str:
    """The part of a pattern before its first wildcard; the whole text if it has none.

    Example:
        >>> literal_prefix("raw/2026-*/logs_?.binpb"), literal_prefix("raw/a")
        ('raw/2026-', 'raw/a')
    """
    match = _MAGIC.search(pattern)
    return pattern[: match.start()] if match else pattern


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Compile a pattern; use `fullmatch`.

    `*` and `?` stay within one part of a key, `**` crosses parts, `[abc]` and `[!abc]` are one
    character. A bracket without its partner stands for itself.

    Raises:
        ConfigurationError: A range in brackets runs backwards.

    Example:
        >>> bool(compile_glob("raw/**/logs_*.gz").fullmatch("raw/a/b/logs_1.gz"))
        True
        >>> bool(compile_glob("raw/*.gz").fullmatch("raw/a/logs_1.gz"))
        False
    """
    parts = []
    for token in _TOKEN.findall(pattern):
        if token in _FIXED:
            parts.append(_FIXED[token])
        elif token.startswith("[") and len(token) > 1:
            inside = re.sub(r"([\\\[&~|])", r"\\\1", token[1:-1])
            parts.append(f"(?!/)[{'^' + inside[1:] if inside[:1] in ('!', '^') else inside}]")
        else:
            parts.append(re.escape(token))
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ConfigurationError(
            f"{pattern!r} is not a pattern: {error}", pattern=pattern
        ) from None
