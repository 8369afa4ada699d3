"""Elasticsearch's `_bulk`, and what shippers ask first.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
"""

from __future__ import annotations

import re
from itertools import compress
from typing import Any

import msgspec

from lakerunner.errors import CorruptObjectError
from lakerunner.intake.payloads import lines_payload
from lakerunner.intake.protocols.protocol import (
    Answer,
    Protocol,
    Sent,
    Taken,
    json_answer,
    with_members,
)
from lakerunner.model.signal import Signal

VERSION = "8.17.0"
_PREFIX = "/elasticsearch"
_PRODUCT = {"x-elastic-product": "Elasticsearch"}
_ID = re.compile(rb'"_id"\s*:\s*"(?:[^"\\]|\\.)*"\s*,?\s*')
_CREATED, _BAD = 201, 400
_INDEX = "elasticsearch.index"


class _Target(msgspec.Struct):
    """What an action is about, and what became of it."""

    index: str | msgspec.UnsetType = msgspec.field(name="_index", default=msgspec.UNSET)
    id: str | msgspec.UnsetType = msgspec.field(name="_id", default=msgspec.UNSET)
    status: int = _CREATED


class _Action(msgspec.Struct, forbid_unknown_fields=True):
    index: _Target | msgspec.UnsetType = msgspec.UNSET
    create: _Target | msgspec.UnsetType = msgspec.UNSET


_ACTIONS = msgspec.json.Decoder(list[_Action])
_SOURCES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ONE_ACTION = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])
_ONE_SOURCE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_Items = list[_Action] | list[dict[str, Any]]


def take_bulk(sent: Sent) -> Taken:
    """Read a bulk: lines that say what to do, each with the document behind it.

    Documents are only ever added: what would change or delete others is refused, each by itself.

    Raises:
        CorruptObjectError: It is no bulk.
    """
    lines = list(filter(bytes.strip, sent.body.split(b"\n")))
    if not lines:
        raise CorruptObjectError("request body is required")
    heads, sources = lines[0::2], lines[1::2]
    try:
        items: _Items = _ACTIONS.decode(b"[" + b",".join(heads) + b"]")
        _SOURCES.decode(b"[" + b",".join(sources) + b"]")
        whole = len(heads) == len(sources)
    except (msgspec.DecodeError, RecursionError):
        whole = False
    rejected, reasons = 0, dict[str, None]()
    if not whole:
        heads, sources, items, reasons = _one_by_one(lines)
        rejected = len(items) - len(heads)
    written = {"took": 0, "errors": bool(rejected), "items": items}
    payload = lines_payload(
        _with_index(heads, sources, sent.path.get("index", "")), Signal.LOGS, len(sources)
    )
    answer = json_answer(written)._replace(headers=_PRODUCT)
    return Taken((payload,), answer, rejected, tuple(reasons))


def _one_by_one(
    lines: list[bytes],
) -> tuple[list[bytes], list[bytes], list[dict[str, Any]], dict[str, None]]:
    """The same for a bulk in which something is wrong: the one place that looks at each line."""
    heads, sources, items = list[bytes](), list[bytes](), list[dict[str, Any]]()
    reasons: dict[str, None] = {}
    at = 0
    while at < len(lines):
        try:
            ((operation, target),) = _ONE_ACTION.decode(lines[at]).items()
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            if not items:
                raise CorruptObjectError(
                    f"line {at + 1} is no action of a bulk: {error}"
                ) from error
            reason = f"line {at + 1} is no action, so nothing after it was read"
            items.append({"create": _refused({}, reason)})
            return heads, sources, items, {**reasons, reason: None}
        source = lines[at + 1] if operation != "delete" and at + 1 < len(lines) else b""
        reason = _why_not(operation, source)
        if reason:
            reasons[reason] = None
            items.append({operation: _refused(target, reason)})
        else:
            heads.append(lines[at])
            sources.append(source)
            items.append({operation: {**target, "status": _CREATED}})
        at += 1 if operation == "delete" else 2
    return heads, sources, items, reasons


def _why_not(operation: str, source: bytes) -> str:
    if operation not in ("index", "create"):
        return f"{operation} is not supported: logs are only ever added"
    try:
        _ONE_SOURCE.decode(source)
    except (msgspec.DecodeError, RecursionError) as error:
        return f"the document is no JSON object: {error}"
    return ""


def _refused(target: dict[str, msgspec.Raw], reason: str) -> dict[str, Any]:
    error = {"type": "document_parsing_exception", "reason": reason}
    return {**target, "status": _BAD, "error": error}


def _with_index(heads: list[bytes], sources: list[bytes], default: str) -> bytes:
    """The documents as lines, each with the index it is for; those of one index together."""
    heads = _ID.sub(b"", b"\n".join(heads)).split(b"\n") if heads else []
    kinds = dict.fromkeys(heads)
    parts = []
    for kind in kinds:
        ((_, target),) = _ONE_ACTION.decode(kind.replace(b",}", b"}")).items()
        index = msgspec.json.decode(target["_index"]) if "_index" in target else default
        own = sources if len(kinds) == 1 else list(compress(sources, map(kind.__eq__, heads)))
        lines = b"\n".join(map(bytes.strip, own))
        parts.append(with_members(lines, {_INDEX: index} if index else {}))
    return b"\n".join(parts)


def failure(status: int, message: str) -> Answer:
    """A failure as Elasticsearch says it."""
    error = {"type": "illegal_argument_exception", "reason": message}
    whole = {"error": {"root_cause": [error], **error}, "status": status}
    return json_answer(whole, status)._replace(headers=_PRODUCT)


_ROOT = {
    "name": "lakerunner",
    "cluster_name": "lakerunner",
    "cluster_uuid": "lakerunner",
    "version": {
        "number": VERSION,
        "build_flavor": "default",
        "lucene_version": "9.12.0",
        "minimum_wire_compatibility_version": "7.17.0",
        "minimum_index_compatibility_version": "7.0.0",
    },
    "tagline": "You Know, for Search",
}
_LICENCE = {"license": {"status": "active", "type": "basic", "uid": "lakerunner", "mode": "basic"}}
_HEALTH = {"cluster_name": "lakerunner", "status": "green", "timed_out": False}
_NODES = {"nodes": {"lakerunner": {"name": "lakerunner", "version": VERSION}}}


def take_probe(sent: Sent) -> Taken:
    """Answer what shippers ask before they send: who it is, and whether what they need is there.

    Templates, policies and pipelines are said to be there: a lake needs none of them.
    """
    known = {"": _ROOT, "_license": _LICENCE, "_xpack": _LICENCE, "_cluster/health": _HEALTH}
    what = sent.path.get("what", "").strip("/")
    content: Any = known.get(what, _NODES if what.startswith("_nodes") else {"acknowledged": True})
    return Taken((), json_answer(content)._replace(headers=_PRODUCT))


BULK = Protocol(
    "elasticsearch",
    ("/_bulk", "/{index}/_bulk", f"{_PREFIX}/_bulk", f"{_PREFIX}/{{index}}/_bulk"),
    take_bulk,
    failure,
    methods=("POST", "PUT"),
)
PROBES = Protocol(
    "elasticsearch probes",
    (_PREFIX, f"{_PREFIX}/", f"{_PREFIX}/{{what:path}}"),
    take_probe,
    failure,
    methods=("GET", "PUT"),
)
