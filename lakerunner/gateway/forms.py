"""The parameters of a request, from its address and from a form in its body.

What an endpoint reads it has declared, and as what: the OpenAPI document is made of the same
declarations, and a parameter that is not declared cannot be read.
"""

from __future__ import annotations

import io
import math
import time
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

import pyarrow as pa
import zstandard
from starlette.exceptions import HTTPException

from lakerunner.errors import ConfigurationError, InvalidTimeError
from lakerunner.model.times import MAX_NS, MIN_NS, NANOS, isoformat, parse_duration, to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import HTTPConnection, Request

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 1000


class Kind(StrEnum):
    """What a parameter is; for a parameter that may come several times, what each of them is."""

    TEXT = "text"
    TIME = "time"
    SECONDS = "seconds"
    NUMBER = "number"


class Parameter(NamedTuple):
    """A parameter that an endpoint reads.

    Attributes:
        name: As clients write it.
        kind: What it is.
        about: What it says, for people.
        required: Whether it has to be there.
        several: Whether it may come several times.
    """

    name: str
    kind: Kind = Kind.TEXT
    about: str = ""
    required: bool = False
    several: bool = False

    def needed(self) -> Parameter:
        """The same, where it has to be there."""
        return self._replace(required=True)


START = Parameter("start", Kind.TIME, "From when on: seconds, RFC 3339, or now-1h.")
END = Parameter("end", Kind.TIME, "Until when.")
SPAN = (START, END)
LIMIT = Parameter("limit", Kind.NUMBER, "How many at most; 0 for all.")
FORMAT = Parameter("format", about="arrow, json, csv or parquet; else Accept says which.")


class Form:
    """Parameters by name; each may come several times.

    Args:
        pairs: Names and values, in the order in which they came.
        declared: What may be read of them; what else came is left alone.

    Example:
        >>> form = Form(
        ...     [("start", "1.5"), ("step", "1m"), ("limit", "10")],
        ...     (START, Parameter("step", Kind.SECONDS), LIMIT),
        ... )
        >>> form.time("start"), form.seconds("step"), form.limit()
        ('1970-01-01T00:00:01.500000000Z', 60.0, 10)
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], declared: Sequence[Parameter]) -> None:
        self._pairs = pairs
        self._kinds = {one.name: one.kind for one in declared}

    def texts(self, name: str) -> list[str]:
        """All values of a parameter."""
        return self._read(name, Kind.TEXT)

    def text(self, name: str) -> str:
        """The first value of a parameter; empty if there is none."""
        return self._first(name, Kind.TEXT)

    def _read(self, name: str, kind: Kind) -> list[str]:
        if self._kinds.get(name) != kind:  # a fault of ours, which every request would show
            raise LookupError(f"the endpoint declares no parameter {name!r} that is a {kind}")
        return [value for key, value in self._pairs if key == name]

    def _first(self, name: str, kind: Kind) -> str:
        return next(iter(self._read(name, kind)), "")

    def needed(self, name: str) -> str:
        """The value of a parameter that has to be there.

        Raises:
            ConfigurationError: It is not.
        """
        found = self._first(name, self._kinds.get(name, Kind.TEXT))
        if not found:
            raise ConfigurationError(f'invalid parameter "{name}": it is missing', parameter=name)
        return found

    def time(self, name: str) -> str | None:
        """A time as Prometheus' API takes it, seconds or RFC 3339, in words that leave no doubt."""
        text = self._first(name, Kind.TIME)
        if not text:
            return None
        try:
            seconds = float(text)
        except ValueError:
            try:
                to_nanoseconds(text, now_ns=time.time_ns())
            except InvalidTimeError as error:
                raise self._bad(name, str(error)) from error
            return text
        if not math.isfinite(seconds):
            raise self._bad(name, f"cannot parse {text!r} to a valid timestamp")
        nanoseconds = round(seconds * 1000) * (NANOS // 1000)
        # What clients mean by the beginning and the end of all times.
        nanoseconds = min(max(nanoseconds, MIN_NS + NANOS), MAX_NS - NANOS)
        return isoformat(nanoseconds)

    def span(self) -> tuple[str | None, str | None]:
        """The parameters `start` and `end`."""
        return self.time("start"), self.time("end")

    def needed_time(self, name: str) -> str:
        """A time that has to be there."""
        self.needed(name)
        return self.time(name) or ""

    def seconds(self, name: str) -> float | None:
        """A length of time: seconds, or text such as `5m`."""
        text = self._first(name, Kind.SECONDS)
        if not text:
            return None
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = parse_duration(text) / NANOS
            except InvalidTimeError as error:
                raise self._bad(name, str(error)) from error
        if not (math.isfinite(seconds) and seconds > 0):
            raise self._bad(name, "zero or less is not accepted, only a positive number")
        return seconds

    def needed_seconds(self, name: str) -> float:
        """A length of time that has to be there."""
        self.needed(name)
        return self.seconds(name) or 0.0

    def limit(self, name: str = "limit") -> int:
        """How many at most; 0 for all."""
        text = self._first(name, Kind.NUMBER)
        if not text:
            return 0
        if not text.isascii() or not text.isdigit():
            raise self._bad(name, f"{text!r} is not a number from 0 on")
        return int(text)

    @staticmethod
    def _bad(name: str, why: str) -> ConfigurationError:
        return ConfigurationError(f'invalid parameter "{name}": {why}', parameter=name)


def form_of(connection: HTTPConnection, declared: Sequence[Parameter]) -> Form:
    """The parameters that the address of a request names."""
    return Form(connection.query_params.multi_items(), declared)


async def sent_form_of(request: Request, declared: Sequence[Parameter], most_bytes: int) -> Form:
    """The parameters of a request, from its address and from a form in its body.

    Raises:
        HTTPException: Its body is too long, or no form.
        ConfigurationError: It has too many fields.
    """
    pairs = list(request.query_params.multi_items())
    if request.method == "POST":
        kind = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
        body = await body_of(request, most_bytes)
        if kind != _FORM and body:
            raise HTTPException(415, f"the body must be {_FORM}")
        try:
            pairs += parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError as error:
            raise ConfigurationError(f"the body is not a form: {error}") from error
    return Form(pairs, declared)


async def body_of(request: Request, most_bytes: int) -> bytes:
    """The body of a request, if it is no longer than it may be.

    Raises:
        HTTPException: It is longer; what is beyond is not read.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise HTTPException(413, f"the body is longer than {most_bytes:,} bytes")
        parts.append(part)
    return b"".join(parts)


# Bodies of requests decompressed, as far as they may be long.

# Frames say how large a window they need; one of 8 MiB is what RFC 8878 asks of everybody.
_ZSTD = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
_SNAPPY = pa.Codec("snappy")
_LENGTH_BYTES = 5


def inflated(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """The body of a request decompressed, as far as it may be long.

    Args:
        body: As it was sent.
        encoding: `identity`, `gzip`, `deflate`, `zstd`, or `snappy`, which is one block without
            frames.
        most_bytes: How long it may become. No more than that is ever decompressed.

    Raises:
        HTTPException: It is longer, compressed in a way that is not known, or broken.

    Example:
        >>> inflated(zlib.compress(b"hello"), "deflate", 100)
        b'hello'
    """
    try:
        match encoding:
            case "identity" | "":
                found = body
            case "gzip" | "x-gzip" | "deflate":
                found = _unzipped(body, encoding, most_bytes + 1)
            case "zstd":
                with _ZSTD.stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
                    found = reader.read(most_bytes + 1)
            case "snappy":
                found = _unsnapped(body, most_bytes)
            case _:
                raise HTTPException(
                    415,
                    f"Content-Encoding {encoding!r} is not known; "
                    "gzip, deflate, zstd and snappy are",
                )
    except (zlib.error, zstandard.ZstdError, EOFError, OSError) as error:
        raise HTTPException(400, f"the body is no {encoding}: {error}") from error
    if len(found) > most_bytes:
        raise HTTPException(413, f"the body inflates to more than {most_bytes:,} bytes")
    return found


def _unzipped(body: bytes, encoding: str, most_bytes: int) -> bytes:
    bits = zlib.MAX_WBITS if encoding == "deflate" else zlib.MAX_WBITS | 16
    parts: list[bytes] = []
    left = most_bytes
    while body and left > 0:  # one after the other, as gzip may have several members
        machine = zlib.decompressobj(bits)
        parts.append(machine.decompress(body, left))
        left -= len(parts[-1])
        if not machine.eof and left > 0:
            raise EOFError("it ends too early")
        body = machine.unused_data
    return b"".join(parts)


def _unsnapped(body: bytes, most_bytes: int) -> bytes:
    """A block, which says at its beginning how long it becomes, and becomes no longer."""
    length = shift = 0
    for byte in body[:_LENGTH_BYTES]:
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:  # noqa: PLR2004 - seven bits at a time
            break
    else:
        raise EOFError("it does not say how long it is")
    if length > most_bytes:
        raise HTTPException(413, f"the body inflates to more than {most_bytes:,} bytes")
    return bytes(_SNAPPY.decompress(body, length, asbytes=True)) if length else b""
