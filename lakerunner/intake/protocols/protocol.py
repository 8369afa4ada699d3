"""What is common to protocols that come as one request and go as one answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from lakerunner.errors import CorruptObjectError
from lakerunner.intake.payloads import arrow_payload
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lakerunner.intake.payloads import Payload

JSON = "application/json"


class Sent(NamedTuple):
    """A request.

    Attributes:
        body: Decompressed.
        kind: The whole media type, in lower case: `application/json; charset=utf-8`.
        headers: By name in lower case, or in a mapping that does not mind.
        query: Parameters of the address.
        path: What the variable parts of its path are.
    """

    body: bytes
    kind: str = ""
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    path: Mapping[str, str] = {}


class Answer(NamedTuple):
    """What the client gets.

    Attributes:
        status: Of HTTP.
        body: Its bytes.
        kind: Their media type.
        headers: Further ones.
    """

    status: int = 200
    body: bytes = b""
    kind: str = JSON
    headers: Mapping[str, str] = {}


class Taken(NamedTuple):
    """What is in a request.

    Attributes:
        payloads: For the writer.
        answer: Once they are as safe as they have to be.
        rejected: Records that cannot be taken, beside those that are.
        reasons: Why not, without repetitions.
    """

    payloads: tuple[Payload, ...]
    answer: Answer
    rejected: int = 0
    reasons: tuple[str, ...] = ()


class Protocol(NamedTuple):
    """One protocol over HTTP.

    Attributes:
        name: For people.
        paths: Where it is asked, as Starlette writes them.
        take: Reads a request.
        failure: The answer to a failure, of a status and a message.
        encoding: How a body is compressed, by the headers; None for what `Content-Encoding` says.
        methods: Of HTTP.
    """

    name: str
    paths: tuple[str, ...]
    take: Callable[[Sent], Taken]
    failure: Callable[[int, str], Answer]
    encoding: Callable[[Mapping[str, str]], str] | None = None
    methods: tuple[str, ...] = ("POST",)


def plain_failure(status: int, message: str) -> Answer:
    """A failure as a line of text."""
    return Answer(status, message.encode() + b"\n", "text/plain; charset=utf-8")


def json_answer(content: object, status: int = 200) -> Answer:
    """An answer in JSON.

    Example:
        >>> json_answer({"ok": True}).body
        b'{"ok":true}'
    """
    return Answer(status, msgspec.json.encode(content))


class Objects(NamedTuple):
    """JSON objects of a body.

    Attributes:
        texts: Each without a line end in it.
        fields: The members of each, as their texts; of as many objects.
    """

    texts: list[msgspec.Raw]
    fields: list[dict[str, msgspec.Raw]]

    def lines(self) -> bytes:
        """The objects as lines."""
        return b"\n".join(map(bytes, self.texts))


_TEXTS = msgspec.json.Decoder(list[msgspec.Raw])
_FIELDS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")  # a string of JSON has none in it


def read_objects(body: bytes) -> Objects:
    r"""The JSON objects of a body: a list, or one after the other with or without line ends.

    Raises:
        CorruptObjectError: It is no JSON, or something in it is no object.

    Example:
        >>> read_objects(b'[{"a":1}, {"b":2}]').lines()
        b'{"a":1}\n{"b":2}'
        >>> read_objects(b'{"a":"}{"}{"b":2}\n{"c":3}').lines()
        b'{"a":"}{"}\n{"b":2}\n{"c":3}'
    """
    text = body.translate(_LINE_ENDS).strip()
    if text[:1] != b"[":
        text = _listed(text)
    try:
        return Objects(_TEXTS.decode(text), _FIELDS.decode(text))
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptObjectError(f"the body is not JSON objects: {error}") from error


def _listed(text: bytes) -> bytes:
    """JSON objects that follow one another as one list."""
    plain = _ESCAPED.sub(b"__", text) if b"\\" in text else text
    marks = np.frombuffer(plain, np.uint8)
    outside = np.cumsum(marks == ord('"'), dtype=np.uint8) % 2 == 0
    opened = ((marks == ord("{")) & outside).astype(np.int8)
    closed = (marks == ord("}")) & outside
    depth = np.cumsum(opened - closed, dtype=np.int32)
    ends = np.flatnonzero(closed & (depth == 0)) + 1
    between = ends[:-1] if len(ends) and not text[ends[-1] :].strip() else ends
    commas = np.insert(np.frombuffer(text, np.uint8), between, ord(","))
    return b"[" + commas.tobytes() + b"]"


def with_members(lines: bytes, members: Mapping[str, str]) -> bytes:
    r"""Add the same members to each of some JSON objects, before its own.

    Args:
        lines: Objects as `Objects.lines` gives them.
        members: Texts by name.

    Example:
        >>> with_members(b'{"a":1}\n{}', {"index": "x"})
        b'{"index":"x","a":1}\n{"index":"x"}'
    """
    if not members or not lines:
        return lines
    head = b"\n" + msgspec.json.encode(dict(members))[:-1]
    added = (b"\n" + _EMPTY.sub(b"{}", lines)).replace(b"\n{", head + b",")
    return added.replace(head + b",}", head + b"}")[1:]


_EMPTY = re.compile(rb"^\{\s*\}", re.MULTILINE)


def texts_payload(
    texts: Sequence[str | bytes], members: Mapping[str, str], signal: Signal = Signal.LOGS
) -> Payload:
    """Make a payload of lines of text, each a record.

    Args:
        texts: The bodies; bytes that are not UTF-8 are mended when they are read.
        members: The same further fields of all of them.
        signal: What they are.
    """
    bodies = pa.array(texts, pa.binary()).view(pa.string())
    zeros = pa.array(np.zeros(len(texts), np.int8))
    columns = {
        name: pa.DictionaryArray.from_arrays(zeros, pa.array([value]))
        for name, value in members.items()
    }
    return arrow_payload(pa.table({**columns, "body": bodies}), signal)


def offsets_of(lengths: Any) -> pa.Array:
    """Where lists of these lengths begin and end, as Arrow's lists and maps want it.

    Example:
        >>> offsets_of([2, 0, 1]).to_pylist()
        [0, 2, 2, 3]
    """
    counts = np.asarray(lengths, np.int64)
    return pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
