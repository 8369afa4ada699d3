"""Syslog, GELF and Fluent over sockets: every message lands once, however it comes."""

from __future__ import annotations

import gzip
import json
import logging
import logging.handlers
import shutil
import socket
import ssl
import subprocess
import time
import zlib
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import lakerunner
from lakerunner.errors import ConfigurationError
from lakerunner.gateway.listeners import (
    fluent_listener,
    gelf_listener,
    read_listener_url,
    syslog_listener,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake

T = 1767225600  # 2026-01-01


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with lakerunner.open(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def writer(lake: Lake) -> Iterator[Writer]:
    with lake.writer(acknowledge="buffered", flush_seconds=0.1) as made:
        yield made


def until(done: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    for _ in range(600):
        if done():
            return
        time.sleep(0.05)
    pytest.fail("it was waited for half a minute")


def bodies(lake: Lake) -> list[str]:
    found: list[str] = (
        lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
    )
    return found


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30)


def test_urls() -> None:
    for text in ("udp://", "http://:1", "udp://:5514/x", "tcp://:99999", "5514"):
        with pytest.raises(ConfigurationError, match="listener"):
            read_listener_url(text)
    with pytest.raises(ConfigurationError):
        read_listener_url("udp://:5514?organization=../x")


def test_syslog_datagrams(lake: Lake, writer: Writer) -> None:
    listener = syslog_listener("udp://127.0.0.1:0", writer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(500):
            line = f"<165>1 2026-01-01T00:00:00Z web shop {number} ID47 - number {number:04}"
            sender.sendto(line.encode(), ("127.0.0.1", listener.port))
        sender.sendto(b"\xff\xfe no syslog at all", ("127.0.0.1", listener.port))
    until(lambda: listener.counts().written == 501)
    listener.close()
    writer.flush()
    assert bodies(lake) == [
        *(f"number {n:04}" for n in range(500)),
        "\ufffd\ufffd no syslog at all",
    ]
    found = lake.sql(
        "SELECT DISTINCT resource_host_name AS host, level FROM logs WHERE body LIKE 'n%'"
    )
    assert found.to_pylist() == [{"host": "web", "level": "INFO"}]
    assert listener.counts()._replace(dropped=0) == (501, 501, 0, 0)


def test_syslog_connections(lake: Lake, writer: Writer) -> None:
    listener = syslog_listener("tcp://127.0.0.1:0", writer)
    lines = [b"<13>Jan  1 00:00:00 web app: line %d" % n for n in range(100)]
    with connected(listener.port) as counted, connected(listener.port) as lined:
        counted.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines)[:1777])
        for line in lines:
            lined.sendall(line + b"\n")
        counted.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines)[1777:])
        lined.sendall(b"<13>Jan  1 00:00:00 web app: the last has no end")
    with connected(listener.port) as wrong:
        wrong.sendall(b"99999999999 x" + bytes(100))
        assert wrong.recv(1) == b""  # it is hung up on
    until(lambda: listener.counts().written == 201)
    until(lambda: listener.connections() == 0)
    listener.close()
    writer.flush()
    wanted = {f"line {number}" for number in range(100)} | {"the last has no end"}
    assert set(bodies(lake)) == wanted
    assert len(bodies(lake)) == 201


def test_syslog_over_tls_for_an_organization(lake: Lake, writer: Writer, tmp_path: Path) -> None:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-keyout", key, "-out", chain],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with pytest.raises(ConfigurationError, match="certificate"):
        syslog_listener("tls://127.0.0.1:0", writer)
    listener = syslog_listener("tls://127.0.0.1:0?organization=acme", writer, context)
    trusting = ssl.create_default_context(cafile=str(chain))
    with trusting.wrap_socket(connected(listener.port), server_hostname="localhost") as sender:
        sender.sendall(b"<13>1 - - - - - - secret\n")
        until(lambda: listener.counts().written == 1)
    listener.close()
    writer.flush()
    assert bodies(lake.for_organization("acme")) == ["secret"]


def test_clients_of_syslog(lake: Lake, writer: Writer) -> None:
    udp, tcp = (syslog_listener(f"{kind}://127.0.0.1:0", writer) for kind in ("udp", "tcp"))
    handler = logging.handlers.SysLogHandler(("127.0.0.1", udp.port))
    log = logging.getLogger("test.syslog")
    log.addHandler(handler)
    log.error("from logging")
    log.removeHandler(handler)
    handler.close()
    expected = 1
    logger = shutil.which("logger")
    if logger is not None:
        for kind, port in (("--udp", udp.port), ("--tcp", tcp.port)):
            for form in ("--rfc5424", "--rfc3164"):
                address = ["-n", "127.0.0.1", "-P", str(port), kind, form]
                subprocess.run([logger, *address, "-t", "tool", f"from logger {form}"], check=True)
                expected += 1
    until(lambda: udp.counts().written + tcp.counts().written == expected)
    for one in (udp, tcp):
        one.close()
    writer.flush()
    assert len(bodies(lake)) == expected
    assert "from logging" in {body.rstrip("\0") for body in bodies(lake)}


def gelf(number: int) -> bytes:
    sent = {"version": "1.1", "host": "web", "short_message": f"number {number}", "timestamp": T}
    return json.dumps(sent).encode()


def chunks(message: bytes, name: bytes, size: int = 40) -> list[bytes]:
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return [b"\x1e\x0f" + name + bytes([at, len(parts)]) + part for at, part in enumerate(parts)]


def test_gelf_datagrams_and_connections(lake: Lake, writer: Writer) -> None:
    udp, tcp = (gelf_listener(f"{kind}://127.0.0.1:0", writer) for kind in ("udp", "tcp"))
    datagrams = [gelf(0), gzip.compress(gelf(1)), zlib.compress(gelf(2))]
    datagrams += reversed(chunks(gelf(3), b"abcdefgh"))
    datagrams += chunks(gzip.compress(gelf(4)), b"ijklmnop")
    datagrams += [b"\x1e\x0fcut", b"\x78\x9cbroken", *chunks(gelf(9), b"never123")[1:]]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, ("127.0.0.1", udp.port))
    with connected(tcp.port) as sender:
        sender.sendall(b"\0".join(gelf(number) for number in (5, 6)) + b"\0")
    until(lambda: udp.counts().written + tcp.counts().written == 7)
    for one in (udp, tcp):
        one.close()
    writer.flush()
    assert bodies(lake) == [f"number {number}" for number in range(7)]


def event_time(nanos: int) -> Any:
    return msgpack.ExtType(0, T.to_bytes(4, "big") + nanos.to_bytes(4, "big"))


def test_fluent_forward(lake: Lake, writer: Writer) -> None:
    def entry(number: int) -> list[Any]:
        return [event_time(number), {"message": f"event {number}", "stream": "stdout"}]

    packed = b"".join(msgpack.packb(entry(number)) for number in (3, 4))
    sent = [
        ["app.web", [entry(1), entry(2)], {"chunk": "c1"}],
        ["app.web", packed, {"chunk": "c2", "size": 2}],
        ["app.db", gzip.compress(packed), {"chunk": "c3", "compressed": "gzip"}],
        ["app.one", T, {"message": "alone"}, {"chunk": "c4"}],
        ["app.one", [[T, {}]]],
    ]
    listener = fluent_listener("tcp://127.0.0.1:0", writer)
    with connected(listener.port) as client:
        whole = b"".join(map(msgpack.packb, sent))
        client.sendall(whole[:100])
        client.sendall(whole[100:])
        acknowledged, machine = list[Any](), msgpack.Unpacker()
        while len(acknowledged) < 4:
            data = client.recv(1000)
            assert data, "it was hung up on"
            machine.feed(data)
            acknowledged += machine
    assert sorted(one["ack"] for one in acknowledged) == ["c1", "c2", "c3", "c4"]
    until(lambda: writer.report().payloads == 5)
    listener.close()
    writer.flush()
    found = lake.sql(
        'SELECT body, "fluent.tag" AS tag, CAST(timestamp AS BIGINT) % 10 AS t FROM logs '
        "ORDER BY tag, body"
    ).to_pylist()
    events = [(one["tag"], one["body"], one["t"]) for one in found]
    assert events == [
        ("app.db", "event 3", 3), ("app.db", "event 4", 4), ("app.one", "alone", 0),
        ("app.one", None, 0), ("app.web", "event 1", 1), ("app.web", "event 2", 2),
        ("app.web", "event 3", 3), ("app.web", "event 4", 4),
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [b"\xc1", b"\x93\x01\x02\x03", b"\xa3abc", b"\x92\xa1t\x91\x01"])
def test_fluent_that_is_none_is_hung_up_on(lake: Lake, writer: Writer, wrong: bytes) -> None:
    listener = fluent_listener("tcp://127.0.0.1:0", writer)
    with connected(listener.port) as client:
        client.sendall(wrong)
        assert client.recv(1) == b""
    listener.close()
    assert writer.report().payloads == 0
