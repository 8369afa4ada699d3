"""Log lines with a known truth: what the logging calls of installed packages would write.

The statements of programs say which lines are one message, and nobody wrote the rules of
fingerprints while looking at them. Each statement is filled several times, as its arguments are
named: `port` gets numbers, `host` gets hosts. Packages are halved by the hash of their name. Rules
may be written while looking at one half; the other one is for measuring alone.
"""

from __future__ import annotations

import ast
import random
import re
import sysconfig
import warnings
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINES = 12
"""Lines of each statement."""

_LEVELS = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical"})
_HOLE = re.compile(r"%(?:\(\w+\))?[-+ #0]*\d*(?:\.\d+)?([sdrifx])")
_LEAST_WORDS = 2
_NAMES = ("ann", "bob", "carol", "dave", "erin", "frank", "orders", "mail", "cart", "ready", "stop")


def _host(chance: random.Random) -> str:
    name = chance.choice(_NAMES)
    return chance.choice(
        [
            f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}",
            f"{name}.example.com",
            f"{name}-{chance.randrange(20)}.{chance.choice(_NAMES)}.svc.cluster.local",
            f"{name}.{chance.choice(_NAMES)}.co.uk",
            f"{name}.example.de",
            "localhost",
            f"2001:db8::{chance.randrange(65536):x}",
            "::1",
        ]
    )


def _number(chance: random.Random) -> str:
    return str(chance.choice([chance.randrange(10), chance.randrange(10**6), chance.random()]))


def _path(chance: random.Random) -> str:
    one, two = chance.choice(_NAMES), chance.choice(_NAMES)
    paths = [f"/var/lib/{one}/{two}.log", f"./{one}/{two}", f"/{one}", f"~/{one}.toml"]
    return chance.choice(paths)


def _url(chance: random.Random) -> str:
    host = chance.choice(["shop.example.com", "localhost:8080", "10.1.2.3"])
    return f"{chance.choice(['http', 'https', 's3'])}://{host}{_path(chance).strip('.~')}"


def _token(chance: random.Random) -> str:
    return f"{chance.randrange(2**64):016x}-{chance.randrange(99)}"


def _quoted(chance: random.Random) -> str:
    return chance.choice(["'{}'", "'{}'", '"{}"', "'{} of {}'"]).format(
        *(chance.choice(_NAMES) for _ in range(2))
    )


def _word(chance: random.Random) -> str:
    return chance.choice(_NAMES)


_KINDS = (
    ("url|uri|endpoint", _url),
    ("host|addr|peer|server|domain|hostname|ip|node|broker", _host),
    ("path|file|filename|dir|directory|folder|cwd|fname|dest|src", _path),
    ("id|uuid|token|key|etag|digest|hash|checksum|request_id|session", _token),
    ("n|i|num|count|size|len|length|port|pid|code|status|seconds|timeout|time|delay", _number),
    ("attempt|retries|offset|total|fd|signum|version|elapsed|bytes|limit|level|line", _number),
    ("lineno|errno|number", _number),
)


class Statements(NamedTuple):
    """Lines in a shuffled order.

    Attributes:
        lines: The lines.
        events: Of each, the statement that writes it.
    """

    lines: list[str]
    events: list[str]


def log_lines(*, held_out: bool, words: bool = False) -> Statements:
    """What the statements of half of the installed packages write; the same for a seed for ever.

    Args:
        held_out: The half that no rule was written for.
        words: Also statements with arguments that may be any word, as the name of a queue.
    """
    found = []
    root = Path(sysconfig.get_paths()["purelib"])
    formats = {
        each: None
        for package in sorted(root.iterdir())
        if sha256(package.stem.encode()).digest()[0] % 2 == held_out
        for each in _statements(package)
    }
    chance = random.Random(9)
    for text, names in formats:
        fillers = [_filler(*each) for each in zip(_HOLE.findall(text), names, strict=False)]
        if len(fillers) < len(_HOLE.findall(text)) or (_word in fillers and not words):
            continue
        for _ in range(LINES):
            pieces = _HOLE.split(text)[::2]  # between them are the kinds of the arguments
            values = [*(fill(chance) for fill in fillers), ""]
            line = "".join(piece + value for piece, value in zip(pieces, values, strict=True))
            found.append((line.replace("%%", "%"), text))
    chance.shuffle(found)
    return Statements([line for line, _ in found], [event for _, event in found])


def _filler(kind: str, name: str) -> Callable[[random.Random], str]:
    if kind in "dfix":
        return _number
    if kind == "r":
        return _quoted
    parts = set(re.split("[^a-z]+", name.lower()))
    return next((fill for words, fill in _KINDS if parts & set(words.split("|"))), _word)


def _statements(package: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Format strings with arguments, and what these are called."""
    files = sorted(package.rglob("*.py")) if package.is_dir() else [package]
    for path in files:
        if path.suffix != ".py":
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (found := _statement(node)):
                yield found


def _statement(call: ast.Call) -> tuple[str, tuple[str, ...]] | None:
    match call:
        case ast.Call(
            func=ast.Attribute(attr=level, value=logger),
            args=[ast.Constant(value=str() as text), first, *others],
        ) if level in _LEVELS and "log" in ast.unparse(logger).lower():
            constant = _HOLE.sub(" ", text)
            if len(re.findall("[A-Za-z]{2,}", constant)) < _LEAST_WORDS or "%(" in text:
                return None
            return text.strip(), tuple(ast.unparse(each) for each in (first, *others))
    return None
