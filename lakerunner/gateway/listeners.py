"""Sockets of protocols that are not HTTP: syslog, GELF, and Fluent's forward protocol.

A listener has a thread of its own. What comes without being answered is collected across
connections, decoded many messages at a time, and written. A connection is not read while the writer
is behind; datagrams that come then are dropped and counted, as are those that the kernel drops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from lakerunner.errors import (
    ConfigurationError,
    CorruptObjectError,
    LakerunnerError,
    MissingExtraError,
)
from lakerunner.gateway.batches import Batches, Counts
from lakerunner.intake.payloads import arrow_payload, lines_payload
from lakerunner.intake.protocols.gelf_datagrams import Chunks
from lakerunner.intake.protocols.json_logs import gelf_payload, good_lines
from lakerunner.intake.protocols.syslog import cut_messages, read_messages
from lakerunner.limits import MIB
from lakerunner.model.profile import check_organization
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from lakerunner.intake.payloads import Payload
    from lakerunner.intake.writer import Writer

_LOG = logging.getLogger("lakerunner.gateway")
_MESSAGE_BYTES = 256 * 1024
_DATAGRAM_BYTES = 65_536
_RECEIVE_BUFFER = 32 * MIB
_AT_ONCE = 20_000
_LOOK_SECONDS = 0.1
_CONNECTIONS = 20_000
_READ_BYTES = 256 * 1024
_FLUENT_BYTES = 64 * MIB


class ListenerUrl(NamedTuple):
    """Where a listener is, and for whom.

    Attributes:
        transport: `udp`, `tcp` or `tls`.
        host: Address.
        port: Number; 0 for any that is free.
        organization: Whose messages come there; None for the writer's own.
    """

    transport: str
    host: str
    port: int
    organization: str | None


def read_listener_url(text: str) -> ListenerUrl:
    """Read `udp://HOST:PORT`, `tcp://…` or `tls://…`, perhaps with `?organization=NAME`.

    Raises:
        ConfigurationError: It is none.

    Example:
        >>> read_listener_url("udp://:5514?organization=acme")
        ListenerUrl(transport='udp', host='0.0.0.0', port=5514, organization='acme')
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        port = None
    if port is None or parts.scheme not in ("udp", "tcp", "tls") or parts.path.strip("/"):
        raise ConfigurationError(
            f"{text!r} is no listener: write udp://HOST:PORT, tcp:// or tls://"
        )
    asked = parse_qs(parts.query).get("organization", [""])[0]
    organization = check_organization(asked) if asked else None
    return ListenerUrl(parts.scheme, parts.hostname or "0.0.0.0", port, organization)  # noqa: S104 - as asked for


class Read(NamedTuple):
    """Messages, read.

    Attributes:
        payload: For the writer.
        rejected: How many could not be read.
    """

    payload: Payload
    rejected: int


def syslog_read(messages: list[bytes]) -> Read:
    """Messages of syslog as a payload; see `read_messages`."""
    return Read(arrow_payload(read_messages(messages), Signal.LOGS), 0)


def gelf_read(messages: list[bytes]) -> Read:
    """Messages of GELF as a payload; one that is broken harms no other."""
    try:
        return Read(gelf_payload(b"\n".join(messages)), 0)
    except CorruptObjectError:
        flat = (message.replace(b"\n", b" ") for message in messages)
        lines, count, reasons = good_lines(b"\n".join(flat))
        _LOG.warning("%d messages could not be read: %s", len(reasons), reasons[0])
        return Read(lines_payload(lines, Signal.LOGS, count), len(reasons))


class UdpListener:
    """Receives datagrams, each a message, until it is closed.

    Args:
        url: Where; `udp`.
        decode: Makes a payload of messages.
        writer: Takes it.
        assemble: Makes messages of datagrams, at a time; None where each is one.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """

    def __init__(
        self,
        url: ListenerUrl,
        decode: Callable[[list[bytes]], Read],
        writer: Writer,
        assemble: Callable[[Sequence[bytes], float], list[bytes]] | None = None,
    ) -> None:
        self.url = url
        self._assemble = assemble
        self._socket = _bound(url, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        with suppress(OSError, AttributeError):  # beyond the system's limit, if we may
            self._socket.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BUFFER)  # SO_RCVBUFFORCE
        self._socket.settimeout(_LOOK_SECONDS)
        self._batches = Batches(_writing(decode, writer, url.organization))
        self._closing = self._closed = False
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="lakerunner-udp", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def connections(self) -> int:
        """None: there are none with datagrams."""
        return 0

    def counts(self) -> Counts:
        """What came until now."""
        one = self._batches
        lost = self._lost if self._closed else _kernel_drops(self._socket)
        return Counts(one.received + lost, one.written, one.rejected, one.dropped + lost)

    def close(self) -> None:
        """Write what has come, and end."""
        self._closing = True
        self._thread.join()
        self._batches.close()
        self._lost, self._closed = _kernel_drops(self._socket), True
        self._socket.close()

    def _run(self) -> None:
        receive = self._socket.recv
        while True:
            try:
                datagrams = [receive(_DATAGRAM_BYTES)]
            except TimeoutError:
                if self._closing:
                    return
                continue
            self._socket.setblocking(False)  # noqa: FBT003 - its only argument
            with suppress(BlockingIOError):
                while len(datagrams) < _AT_ONCE:  # the kernel hands them out one by one
                    datagrams.append(receive(_DATAGRAM_BYTES))
            self._socket.settimeout(_LOOK_SECONDS)
            if self._assemble is not None:
                datagrams = self._assemble(datagrams, time.monotonic())
            self._batches.offer(datagrams, drop=True)


def _kernel_drops(sock: socket.socket) -> int:
    """Datagrams for which the kernel had no room, as far as it says so."""
    inode = str(os.fstat(sock.fileno()).st_ino)
    name = "udp6" if sock.family == socket.AF_INET6 else "udp"
    with suppress(OSError):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] == inode:
                return int(fields[-1])
    return 0


class TcpListener:
    """Receives messages over connections until it is closed, in an event loop of its own.

    Args:
        url: Where; `tcp` or `tls`.
        serve: Makes what serves one connection.
        tls: The context of `tls`.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """

    def __init__(
        self,
        url: ListenerUrl,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self._serve = serve
        self._tls = tls
        self._socket = _bound(url, socket.SOCK_STREAM)
        self._loop = asyncio.new_event_loop()
        self._ending: asyncio.Event | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.refused = 0
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lakerunner-tcp", daemon=True)
        self._thread.start()
        self._listening.wait()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def close(self) -> None:
        """Read no more, and end."""
        if self._ending is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._ending = asyncio.Event()
        server = await asyncio.start_server(
            self._connected, sock=self._socket, ssl=self._tls, backlog=2048, limit=_READ_BYTES
        )
        self._port = int(server.sockets[0].getsockname()[1])
        self._listening.set()
        await self._ending.wait()
        server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= _CONNECTIONS:
            self.refused += 1
            writer.close()
            return
        self._open.add(task)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # finds half-open ones
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # it has gone, or we are going
        except LakerunnerError as error:
            _LOG.warning("a connection from %s: %s", writer.get_extra_info("peername"), error)
        finally:
            self._open.discard(task)
            writer.close()


class StreamListener(TcpListener):
    """Receives messages that are told apart by a function, and are not answered.

    Args:
        url: Where; `tcp` or `tls`.
        cut: Tells messages apart.
        decode: Makes a payload of them.
        writer: Takes it.
        tls: The context of `tls`.
    """

    def __init__(
        self,
        url: ListenerUrl,
        cut: Callable[[bytes, int], tuple[list[bytes], bytes]],
        decode: Callable[[list[bytes]], Read],
        writer: Writer,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._cut = cut
        self._batches = Batches(_writing(decode, writer, url.organization))
        super().__init__(url, self._read, tls)

    def counts(self) -> Counts:
        """What came until now."""
        one = self._batches
        return Counts(one.received, one.written, one.rejected, one.dropped)

    def close(self) -> None:
        """Read no more, write what has come, and end."""
        super().close()
        self._batches.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        rest = b""
        try:
            while data := await reader.read(_READ_BYTES):
                messages, rest = self._cut(rest + data, _MESSAGE_BYTES)
                if messages and not self._batches.offer(messages, drop=False):
                    # It waits for room, and so the client waits, too.
                    await asyncio.to_thread(self._batches.put, messages)
        finally:
            if rest.strip(b"\r\n\0 ") and not rest[:1].isdigit():  # a last line without an end
                self._batches.offer([rest], drop=True)


def cut_at_zeros(data: bytes, most_bytes: int) -> tuple[list[bytes], bytes]:
    """Tell messages apart that end with a byte of zero, as GELF over TCP has them.

    Raises:
        CorruptObjectError: One is longer than `most_bytes`.
    """
    *messages, rest = data.split(b"\0")
    if len(rest) > most_bytes:
        raise CorruptObjectError(f"a message of more than {most_bytes:,} bytes")
    return list(filter(bytes.strip, messages)), rest


def syslog_listener(text: str, writer: Writer, tls: ssl.SSLContext | None = None) -> Listener:
    """Listen for syslog.

    Args:
        text: See `read_listener_url`.
        writer: Takes what comes.
        tls: Needed for `tls://`.

    Raises:
        ConfigurationError: The URL is none, the address cannot be had, or there is no certificate.
    """
    url = read_listener_url(text)
    if url.transport == "udp":
        return UdpListener(url, syslog_read, writer)
    return StreamListener(url, cut_messages, syslog_read, writer, _context(url, tls))


def gelf_listener(text: str, writer: Writer, tls: ssl.SSLContext | None = None) -> Listener:
    """Listen for GELF; see `syslog_listener`."""
    url = read_listener_url(text)
    if url.transport == "udp":
        return UdpListener(url, gelf_read, writer, Chunks(_MESSAGE_BYTES * 4).whole)
    return StreamListener(url, cut_at_zeros, gelf_read, writer, _context(url, tls))


def fluent_listener(text: str, writer: Writer, tls: ssl.SSLContext | None = None) -> TcpListener:
    """Listen for Fluent's forward protocol; see `syslog_listener`.

    A chunk is acknowledged when it is as safe as the writer's `acknowledge` says.

    Raises:
        MissingExtraError: msgpack is not installed.
    """
    url = read_listener_url(text)
    if url.transport == "udp":
        raise ConfigurationError("Fluent's forward protocol needs tcp:// or tls://")
    try:
        from lakerunner.intake.protocols import fluent  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise MissingExtraError(
            "Fluent needs msgpack; run: pip install 'lakerunner[gateway]'", missing="msgpack"
        ) from error

    async def serve(reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        machine = fluent.unpacker(_FLUENT_BYTES)
        while data := await reader.read(_READ_BYTES):
            try:
                machine.feed(data)
                messages = list(machine)
            except ValueError as error:
                raise CorruptObjectError(f"this is no MessagePack: {error}") from error
            if not messages:
                continue
            found = await asyncio.to_thread(fluent.read_forwarded, messages, _FLUENT_BYTES)
            for payload in found.payloads:
                await writer.write_async(payload, organization=url.organization)
            out.write(found.acknowledge)
            await out.drain()

    return TcpListener(url, serve, _context(url, tls))


def _context(url: ListenerUrl, tls: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if url.transport == "tls" and tls is None:
        raise ConfigurationError("tls:// needs a certificate and its key")
    return tls if url.transport == "tls" else None


def _writing(
    decode: Callable[[list[bytes]], Read], writer: Writer, organization: str | None
) -> Callable[[list[bytes]], int]:
    def write(messages: list[bytes]) -> int:
        found = decode(messages)
        writer.write(found.payload, organization=organization)
        return found.rejected

    return write


def _bound(url: ListenerUrl, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in url.host else socket.AF_INET
    made = socket.socket(family, kind)
    if kind is socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((url.host, url.port))
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"cannot listen on {url.host}:{url.port}: {error.strerror}"
        ) from error
    return made


Listener = UdpListener | StreamListener
