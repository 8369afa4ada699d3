"""Text on its way to a person: nothing in it can steer a terminal, hide a secret or pose as more.

Telemetry, file names and queries are written by strangers. Everything that shows some of it, on a
terminal, on a page or in an error, passes it through here; what is written to files stays exact.
"""

from __future__ import annotations

import re

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LAYOUT = frozenset("\n\t")
_CREDENTIALS = re.compile(r"([A-Za-z][\w+.-]*://)[^\s/'\"<>@]*:[^\s'\"<>]*@")
_SECRETS = re.compile(
    r"([?&;](?:password|passwd|pwd|secret|secret_?key|access_?key(?:_?id)?|token|sig|signature"
    r"|sas|x-amz-(?:signature|credential|security-token)|awsaccesskeyid)=)[^&;\s'\"]+",
    re.IGNORECASE,
)
_HIDDEN = "***"


def printable(text: str, *, lines: bool = False) -> str:
    r"""Text in which every character that cannot be seen is written as an escape.

    These are control characters, escape sequences, bidirectional overrides, characters of no width,
    spaces other than the plain one, and halves of surrogate pairs.

    Args:
        text: What somebody wrote.
        lines: Leave newlines and tabs as they are.

    Example:
        >>> print(printable("a\x1b[31mb\u202ec\n"))
        a\x1b[31mb\u202ec\n
        >>> print(printable("one\ntwo\r", lines=True))
        one
        two\r
    """
    if text.isprintable():
        return text
    kept = _LAYOUT if lines else frozenset[str]()
    return "".join(each if each.isprintable() or each in kept else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return _ESCAPES.get(character) or character.encode("unicode_escape").decode()


def holds_credentials(url: str) -> bool:
    """Whether a URL has a user and a password in it.

    Example:
        >>> holds_credentials("s3://KEY:SECRET@bucket/lake"), holds_credentials("s3://b/a:b@c")
        (True, False)
    """
    return _CREDENTIALS.match(url) is not None


def without_secrets(text: str) -> str:
    """Text in which no URL shows its password, its key or its signature.

    Example:
        >>> without_secrets("cannot reach postgresql://user:secret@host/db?password=x&a=1")
        'cannot reach postgresql://***@host/db?password=***&a=1'
    """
    if "://" not in text:
        return text
    return _SECRETS.sub(rf"\1{_HIDDEN}", _CREDENTIALS.sub(rf"\1{_HIDDEN}@", text))


def counted(count: int, noun: str) -> str:
    """A number and what is counted, in the plural where there is not one of them.

    Example:
        >>> counted(1, "segment"), counted(2000, "object"), counted(0, "query")
        ('1 segment', '2,000 objects', '0 queries')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") else f"{count:,} {noun}s"
