"""The files of a directory tree in the order of their keys, found lazily."""

from __future__ import annotations

import errno
import logging
import os
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.store.checks import is_utf8, split_prefix
from lakerunner.store.durable import is_temporary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LOG = logging.getLogger(__name__)


class _Node(NamedTuple):
    key: str
    entry: os.DirEntry[str]


class _Wanted(NamedTuple):
    """What of a tree is wanted, and where its symbolic links may lead."""

    prefix: str
    start_after: str
    tree: str | None


def walk(
    root: Path, prefix: str, start_after: str, *, follow: bool = True
) -> Iterator[tuple[str, os.stat_result]]:
    """Keys and states of the files whose key starts with `prefix` and lies after `start_after`.

    A directory is read when its turn comes; one whose keys are all unwanted is never read. Its
    names are held, sorted, until all in it has been handed out. Symbolic links are followed, but
    never back into a directory that they lie in, and unless `follow` is set not out of the
    directory that the prefix names: those are left out, with a warning in the log. What vanishes
    meanwhile is left out; so are pipes and devices, writes in progress, and names that are not
    UTF-8 (with a warning in the log: no
    catalog could hold such a key).
    """
    split = split_prefix(prefix)
    if split is not None:
        directory, start = split
        tree = None if follow else os.path.realpath(root / directory)
        yield from _walk(
            root / directory, directory, _Wanted(directory + start, start_after, tree), ()
        )


def _walk(
    path: Path, key: str, wanted: _Wanted, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result]]:
    prefix, start_after, tree = wanted
    try:
        status = path.stat()
        nodes = _read(path, key)
    except (FileNotFoundError, NotADirectoryError):
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for node in nodes:
        if not node.key.startswith(prefix) or not _stays(node.entry, tree):
            continue
        if node.key.endswith("/"):
            if node.key > start_after or start_after.startswith(node.key):
                inside = path / node.entry.name
                yield from _walk(inside, node.key, wanted._replace(prefix=""), (*above, identity))
        elif node.key > start_after:
            found = _state(node.entry)
            if found is not None and S_ISREG(found.st_mode):
                yield node.key, found


def _read(path: Path, key: str) -> Sequence[_Node]:
    """What lies in a directory, by key; the key of a directory in it ends at a `/`.

    All keys beneath a directory start with its name and a `/`: sorted among the files as that text,
    `a-b` comes before `a/b` and that before `a0`. Texts compare by code point, and so do their
    UTF-8 bytes.
    """
    nodes = []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_temporary(entry.name):
                continue
            if not is_utf8(entry.name):
                _LOG.warning("left out, its name is not UTF-8: %r", os.fsencode(entry.path))
                continue
            nodes.append(_Node(f"{key}{entry.name}{'/' if _is_directory(entry) else ''}", entry))
    return sorted(nodes, key=lambda node: node.key)


def _stays(entry: os.DirEntry[str], tree: str | None) -> bool:
    """Whether an entry, if it is a symbolic link, leads to something within the tree."""
    if tree is None or not entry.is_symlink():
        return True
    target = os.path.realpath(entry.path)
    if target == tree or target.startswith(f"{tree.rstrip('/')}/"):
        return True
    _LOG.warning("left out, the link leads out of %r: %r", tree, entry.path)
    return False


def _is_directory(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False)  # the listing told: no further request
    status = _state(entry)
    return status is not None and S_ISDIR(status.st_mode)


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What lies there; None for what is gone, and for links to nothing or in a circle."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
