"""Prometheus itself, to ask the same question twice."""

from __future__ import annotations

import json
import struct
import time
import urllib.parse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pyarrow as pa

from lakerunner.testing.servers.process import HOST, free_ports, running, send

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


@contextmanager
def prometheus() -> Iterator[str]:
    """Run Prometheus, Debian's package of that name, until the context ends; gives its URL."""
    (port,) = free_ports(1)
    endpoint = f"http://{HOST}:{port}"

    def command(folder: Path) -> list[str]:
        config = folder / "prometheus.yml"
        config.write_text("global: {}\n")
        return [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{port}",
            "--web.enable-remote-write-receiver",
            "--log.level=error",
        ]

    with running(command, f"{endpoint}/-/ready"):
        # It answers from the start that it is not ready yet.
        for _ in range(600):
            try:
                send("GET", f"{endpoint}/-/ready")
                break
            except HTTPError as error:
                error.close()
                time.sleep(0.05)
        yield endpoint


def write_series(
    endpoint: str, series: Sequence[tuple[Mapping[str, str], Sequence[tuple[int, float]]]]
) -> None:
    """Give Prometheus series by remote write: labels, and samples of milliseconds and value."""
    send("POST", f"{endpoint}/api/v1/write", write_request(series))


def write_request(
    series: Iterable[tuple[Mapping[str, str], Sequence[tuple[int, float]]]],
) -> bytes:
    """The body of a remote write of series, as `write_series` sends it."""
    body = b"".join(_field(1, _series(labels, samples)) for labels, samples in series)
    packed: bytes = pa.Codec("snappy").compress(body, asbytes=True)
    return packed


def ask(endpoint: str, path: str, **arguments: str) -> dict[str, Any]:
    """An answer of Prometheus' HTTP API, also if it is an error."""
    query = urllib.parse.urlencode(arguments)
    try:
        found = send("GET", f"{endpoint}/api/v1/{path}?{query}")
    except HTTPError as error:
        with error:
            found = error.read()
    answer: dict[str, Any] = json.loads(found)
    return answer


def _series(labels: Mapping[str, str], samples: Sequence[tuple[int, float]]) -> bytes:
    pairs = sorted(labels.items())
    described = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, text.encode())) for name, text in pairs
    )
    points = b"".join(
        _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(at))
        for at, value in samples
    )
    return described + points


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
